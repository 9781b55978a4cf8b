"""Stored: what a file tells of a record made the record again, every value checked to be of its field's type.

A value of another type would pass unseen, and fail in a figure or a report long after.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from nbkit.errors import InputError, is_text, shorten
from nbkit.records.request import Conversation

MOST = 2**63 - 1
"""No count, size or time is larger."""

ROUNDING_S = 1e-6
"""A difference of two readings of a clock may be below zero by as little as this."""

BELOW_ZERO = ("temperature_c",)
"""Fields that may hold any number."""

Record = TypeVar("Record")


class Damaged(InputError):
    """A value in a file is not what its field holds; the message names its place."""


def record_of(kind: type[Record], data: object, where: str = "") -> Record:
    """A dataclass from what a file tells of it.

    Parameters
    ----------
    kind : type
        The dataclass. Numbers in it are at least 0 and finite.
    data : object
        As JSON has it: a dict of its fields, lists for tuples.
    where : str
        What the data are in the file, for messages: ``batches[3]``; empty: the whole of it.

    Raises
    ------
    InputError
        A field is missing, there is one that ``kind`` has not, or a value is not what the field holds.
    """
    if not isinstance(data, Mapping):
        raise Damaged(f"{where or 'it'} should be an object, not {shorten(data)}")
    hints = _hints(kind)  # type: ignore[arg-type]
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in data:
        if name not in fields:
            raise Damaged(f"{where or 'it'} has no field {shorten(name)}")
    for name, field in fields.items():
        if name not in data and field.default is field.default_factory is dataclasses.MISSING:
            raise Damaged(f"{_at(where, name)} is missing")
    return kind(**{name: value_of(hints[name], value, _at(where, name)) for name, value in data.items()})


def value_of(kind: Any, value: object, where: str) -> Any:
    """A value of a field from what a file tells of it; see ``record_of``."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _of_either(parts, value, where)
    if origin in (list, tuple, Sequence):
        if not isinstance(value, list | tuple):
            raise Damaged(f"{where} should be a list, not {shorten(value)}")
        made = tuple if origin is tuple else list
        return made(value_of(parts[0], each, f"{where}[{number}]") for number, each in enumerate(value))
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return record_of(kind, value, where)
    if kind in (int, float):
        return _number(kind, value, where)
    if kind is bool and not isinstance(value, bool):
        raise Damaged(f"{where} should be true or false, not {shorten(value)}")
    if kind is str:
        return _text(value, where)
    if origin is dict:
        return _plain_dict(value, where)
    return value


def _of_either(kinds: tuple[Any, ...], value: object, where: str) -> Any:
    """A value that may be None, or a prompt: a text, or a list of messages."""
    if value is None and types.NoneType in kinds:
        return None
    others = [kind for kind in kinds if kind is not types.NoneType]
    if Conversation not in others:
        return value_of(others[0], value, where)
    if isinstance(value, str):
        return _text(value, where)
    if not isinstance(value, list | tuple):
        raise Damaged(f"{where} should be text or a list of messages, not {shorten(value)}")
    try:
        conversation = Conversation.of(value)
    except InputError as error:
        raise Damaged(f"{where}: {str(error).removesuffix('.')}") from None
    _text(str(conversation), where)
    return conversation


def _number(kind: type, value: object, where: str) -> int | float:
    allowed = int if kind is int else int | float
    if not isinstance(value, allowed) or isinstance(value, bool):
        what = "a whole number" if kind is int else "a number"
        raise Damaged(f"{where} should be {what}, not {shorten(value)}")
    if where.endswith(BELOW_ZERO):
        least: float = -MOST
    else:
        least = 0 if kind is int else -ROUNDING_S
    if not least <= value <= MOST:  # nor for a NaN
        raise Damaged(f"{where} should be at least 0 and finite, not {shorten(value)}")
    return value


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise Damaged(f"{where} should be text, not {shorten(value)}")
    if not is_text(value):
        raise Damaged(f"{where} holds a lone surrogate, which is no text: {shorten(value)}")
    return value


def _plain_dict(value: object, where: str) -> dict[str, Any]:
    """An object of whatever is JSON, if all of its texts and numbers are such."""
    if not isinstance(value, Mapping):
        raise Damaged(f"{where} should be an object, not {shorten(value)}")
    for name, each in value.items():
        _check_plain(_text(name, where), where)
        _check_plain(each, _at(where, name))
    return dict(value)


def _check_plain(value: object, where: str) -> None:
    if isinstance(value, str):
        _text(value, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise Damaged(f"{where} should be finite, not {value}")
    elif isinstance(value, Mapping):
        _plain_dict(value, where)
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            _check_plain(each, f"{where}[{number}]")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _at(where: str, name: object) -> str:
    return f"{where}.{name}" if where else f"{name}"
