"""Module journal: which of the user's own modules the notebook has imported and reloaded, in which order.

Ranks import a module once, as the notebook does; what is reloaded here must be reloaded
there. A reload leaves no mark that says when it was, so a finder that finds nothing
stands before the others and notes what is looked for: that costs a job nothing.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import threading
import time
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nbkit.runtime import wire
from nbkit.runtime.surroundings.own_modules import Stamp, own_source, stamp_of

AUTORELOAD = "IPython.extensions.autoreload"
CONSTANTS = (bool, int, float, complex, str, bytes, type(None))
COLLECTIONS = (tuple, list, dict, set, frozenset)
FUNCTIONS: tuple[Any, ...] = (types.FunctionType, staticmethod, classmethod, functools._lru_cache_wrapper)


@dataclass(frozen=True, slots=True)
class _Known:
    """A module as the notebook had it when it was looked at."""

    file: str
    spec: object
    stamp: Stamp | None
    contents: dict[str, object]


class ModuleJournal:
    """Entries for what this process imports and reloads from now on, after one for each module it has."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sought: dict[str, int] = dict.fromkeys(list(sys.modules), time.time_ns())
        self._known: dict[str, _Known] = {}
        self._entries: list[wire.ModuleLoaded] = []

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        """Note that a module is about to be imported or reloaded, and leave the finding to others."""
        # Put anew: the order of the last time counts.
        self._sought.pop(name, None)
        self._sought[name] = time.time_ns()

    def look(self) -> int:
        """Enter what was loaded since the last look; how many entries there are now."""
        with self._lock:
            if self._sought:
                sought, self._sought = self._sought, {}
                for name, when in sought.items():
                    self._enter_if_loaded(name, when)
            if AUTORELOAD in sys.modules:
                self._enter_mended()
            return len(self._entries)

    def entries(self, start: int, end: int) -> tuple[wire.ModuleLoaded, ...]:
        """Those of a range."""
        return tuple(self._entries[start:end])

    def _enter_if_loaded(self, name: str, when: int) -> None:
        module = sys.modules.get(name)
        file = own_source(name, module)
        known = self._known.get(name)
        # Looked for but not loaded, or put back by autoreload because the new code failed.
        if file is None or (known is not None and known.spec is vars(module).get("__spec__")):
            return
        stamp = stamp_of(file)
        if stamp is not None and stamp[0] > when:
            stamp = None  # edited since: what was loaded is no longer to be had
        # autoreload also mends functions and classes that others hold.
        again: wire.HowLoaded = "upgraded" if AUTORELOAD in sys.modules else "reloaded"
        self._enter(name, module, file, stamp, "imported" if known is None else again)

    def _enter_mended(self) -> None:
        """Enter what autoreload has mended in place, function by function, without a reload."""
        for name, known in list(self._known.items()):
            stamp, module = stamp_of(known.file), sys.modules.get(name)
            if stamp != known.stamp and module is not None and _contents(module) != known.contents:
                self._enter(name, module, known.file, stamp, "upgraded")

    def _enter(self, name: str, module: Any, file: str, stamp: Stamp | None, how: wire.HowLoaded) -> None:
        self._known[name] = _Known(file, vars(module).get("__spec__"), stamp, _contents(module))
        self._entries.append(wire.ModuleLoaded(name, stamp, how))


def _contents(module: types.ModuleType) -> dict[str, object]:
    """A module's constants, and the code of its functions and methods."""
    return dict(_contents_of(vars(module), module.__name__, ""))


def _contents_of(names: Any, module: str, prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in list(names.items()):
        qualified = prefix + name
        if isinstance(value, CONSTANTS) and not name.startswith("__"):
            yield qualified, value
        elif isinstance(value, COLLECTIONS) and not name.startswith("__"):
            yield qualified, id(value)  # what is in it may change without an edit
        elif isinstance(value, type):
            # Not what was imported, nor a class under another name: it may be its own.
            if value.__module__ == module and value.__qualname__ == qualified:
                yield from _contents_of(vars(value), module, f"{qualified}.")
        elif isinstance(value, property):
            yield from _contents_of({"get": value.fget, "set": value.fset}, module, f"{qualified}.")
        # No other objects are asked for attributes, which may do anything.
        elif isinstance(value, FUNCTIONS):
            with contextlib.suppress(ValueError):  # wrapped in itself
                yield qualified, getattr(inspect.unwrap(value), "__code__", None)


_JOURNAL: ModuleJournal | None = None


def module_journal() -> ModuleJournal:
    """This process's journal, begun at the first call."""
    global _JOURNAL
    if _JOURNAL is None:
        _JOURNAL = ModuleJournal()
        sys.meta_path.insert(0, _JOURNAL)
    return _JOURNAL
