"""Pickling: calls and values as bytes, functions from cells and tensors from devices among them."""

from __future__ import annotations

import io
import marshal
import pickle
import sys
import traceback
import types
from typing import Any

import cloudpickle


class _ByValue(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles functions from cells so that a traceback still knows their cell, and tensors without their device."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.CodeType):
            # cloudpickle drops the file name, by which the notebook finds the source.
            return marshal.loads, (marshal.dumps(obj),)
        # The notebook must touch no device: tensors arrive there on the CPU.
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(obj, torch.Tensor) and obj.device.type != "cpu":
            return obj.detach().cpu().__reduce_ex__(5)
        return super().reducer_override(obj)


def dump(value: object) -> bytes:
    """Pickle a rank's value, or a call (function, args, kwargs), whose function may come from a cell."""
    buffer = io.BytesIO()
    _ByValue(buffer, protocol=5).dump(value)
    return buffer.getvalue()


def load(payload: bytes) -> Any:
    """What ``dump`` pickled."""
    return pickle.loads(payload)


class Unreadable(Exception):
    """A value came over the wire that cannot be made again here; the message says why."""


def load_safely(payload: bytes) -> Any:
    """What ``dump`` pickled elsewhere.

    Raises
    ------
    Unreadable
        Whatever it was that making it anew raised.
    """
    try:
        return load(payload)
    except BaseException as error:  # a user's class may raise anything, and must not end the thread that reads
        raise Unreadable("".join(traceback.format_exception_only(error)).strip()) from error
