"""JSON with prompts: a value a line (``.jsonl``, ``.ndjson``), or one document (``.json``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nbkit.errors import InputError, shorten
from nbkit.prompts.files.choice import USUAL_COLUMN, Column, describe_column, is_bookkeeping, list_columns
from nbkit.prompts.files.endings import decode, numbered_lines
from nbkit.prompts.files.forms import CHATS, form_of, is_messages

# Under these names a list holds what the file is about, whatever text stands beside it.
NAMES_OF_ALL = ("prompts", "data", "rows", "items", "examples", "instances", "questions", "requests", "records")


@dataclass(frozen=True, slots=True)
class Entry:
    """A value that stands for one prompt or more, and where it stands, as messages say it."""

    where: str
    value: Any


@dataclass(frozen=True, slots=True)
class Entries:
    """The values of a file; under which key of the document they stand, and whether that key was asked for."""

    listed: list[Entry]
    under: str | None = None
    was_asked: bool = False

    def columns(self) -> list[Column]:
        """The keys of the objects among the values, in the order in which they come up."""
        values: dict[str, list[Any]] = {}
        for entry in self.listed:
            if isinstance(entry.value, dict):
                for key, value in entry.value.items():
                    values.setdefault(key, []).append(value)
        return [describe_column(key, found, list(values)) for key, found in values.items()]


def read_json_lines(name: str, data: bytes) -> Entries:
    """A value a line; blank lines are skipped.

    Raises
    ------
    InputError
        The bytes are not UTF-8, or which line is not JSON.
    """
    return Entries([parse_line(name, number, line) for number, line in numbered_lines(name, data)])


def parse_line(name: str, number: int, line: str) -> Entry:
    """The value of a line, which has this number.

    Raises
    ------
    InputError
        It is not JSON.
    """
    where = f"line {number}"
    try:
        return Entry(where, _parse(line))
    except (ValueError, RecursionError) as error:  # not JSON, a number too long, brackets too deep
        raise InputError(f"{name}, {where}: not JSON ({error}): {shorten(line)}.") from None


def read_json_document(name: str, data: bytes, column: str | None) -> Entries:
    """The values of one document: of its list, of the one list in its object, or the object itself.

    Raises
    ------
    InputError
        The bytes are not UTF-8 or no JSON, or hold lists of which none is plainly that of the prompts.
    """
    text = decode(name, data)
    if not text.strip():
        return Entries([])
    try:
        document = _parse(text)
    except (ValueError, RecursionError) as error:
        if _is_a_value_a_line(text):
            return read_json_lines(name, data)
        raise InputError(f"{name} is not JSON ({error}): {shorten(text)}.") from None
    if isinstance(document, dict):
        return _in_object(name, document, column)
    if is_messages(document):
        raise InputError(
            f"{name} is a list of messages, not of prompts: {shorten(document)}; "
            'write {"messages": [...]} for one conversation, [[...], [...]] for several.'
        )
    return Entries(_numbered(document) if isinstance(document, list) else [Entry("its value", document)])


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; of two values under one key Python's reader would drop the first without a word."""
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {shorten(twice)} comes twice in one object")
    return made


# json.loads would make one for every line.
_parse = json.JSONDecoder(object_pairs_hook=_without_repeats).decode


def _is_a_value_a_line(text: str) -> bool:
    """Whether a document that is none is lines of JSON under another ending, as its first line tells."""
    first, _, others = text.strip().partition("\n")
    if not others.strip():
        return False
    try:
        _parse(first)
    except (ValueError, RecursionError):
        return False
    return True


def _in_object(name: str, document: Mapping[str, Any], column: str | None) -> Entries:
    keys = list(document)
    lists = {key: value for key, value in document.items() if _is_list_of_prompts(key, value)}
    if column in lists and form_of(str(column), lists[str(column)], keys) is None:
        return Entries(_numbered(lists[str(column)], column), column, was_asked=True)
    if isinstance(document.get(USUAL_COLUMN), str) or any(form_of(*pair, keys) for pair in document.items()):
        return Entries([Entry("its object", document)])
    if len(lists) > 1 and (of_all := [key for key in lists if key in NAMES_OF_ALL]):
        lists = {key: lists[key] for key in of_all}
    if len(lists) > 1:
        columns = [describe_column(key, value, keys) for key, value in lists.items()]
        raise InputError(
            f"{name} is an object with several lists: {list_columns(columns)}; choose the one with the prompts, "
            f"as by column={shorten(columns[0].name)} (in a terminal --column), or keep only that one."
        )
    for key, value in lists.items():
        if key in NAMES_OF_ALL or not any(column.holds_text for column in _others(document, key)):
            return Entries(_numbered(value, key), key)
    return Entries([Entry("its object", document)])


def _is_list_of_prompts(key: str, value: object) -> bool:
    if not isinstance(value, list) or not value or is_bookkeeping(key):
        return False
    # Strings under these names would be the messages of one conversation without their roles.
    kinds = (dict, list) if key in CHATS else (str, dict, list)
    return all(isinstance(item, kinds) for item in value)


def _others(document: Mapping[str, Any], key: str) -> list[Column]:
    names = [name for name in document if name != key and not is_bookkeeping(name)]
    return [describe_column(name, [document[name]], names) for name in names]


def _numbered(values: list[Any], under: str | None = None) -> list[Entry]:
    of = "" if under is None else f" of {shorten(under)}"
    return [Entry(f"entry {number}{of}", value) for number, value in enumerate(values, 1)]
