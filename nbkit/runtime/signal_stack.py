"""Signal stack: the memory that the main thread takes signals on.

faulthandler has one set up. So has OpenVINO's CPU plugin, which unmaps it again in
whichever thread drops the model last, without a word to the thread that has it in use: the
next signal, such as the one that aborts a job, then kills the process (SIGSEGV).
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

_IS_LINUX = sys.platform == "linux"


class _Stack(ctypes.Structure):
    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


class SignalStack:
    """What this thread has now; elsewhere than on Linux nothing is kept and nothing restored."""

    def __init__(self) -> None:
        self._kept = _Stack()
        if _IS_LINUX:
            _sigaltstack(None, ctypes.byref(self._kept))

    def restore(self) -> None:
        """Have it again, in the thread that had it."""
        if _IS_LINUX:
            _sigaltstack(ctypes.byref(self._kept), None)


def _sigaltstack(new: Any, old: Any) -> None:
    ctypes.CDLL(None).sigaltstack(new, old)
