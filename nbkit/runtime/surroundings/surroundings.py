"""Surroundings: the notebook's working directory, import path and reloaded modules, and how a rank follows them."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
import types

from nbkit.files.machine import speaks_for_all
from nbkit.runtime import wire
from nbkit.runtime.surroundings.own_modules import Stamp, own_source, stamp_of

_OF_THE_IMPORT = ("__spec__", "__file__", "__cached__", "__package__", "__path__")


def surroundings_here() -> wire.Surroundings:
    """What a job finds around it in this process."""
    folder = None
    with contextlib.suppress(OSError):  # it was deleted
        folder = os.getcwd()
    # Python itself overlooks entries of other kinds.
    return wire.Surroundings(folder, tuple(entry for entry in sys.path if isinstance(entry, str)))


class Follower:
    """On a rank: takes on the notebook's surroundings before a job."""

    def __init__(self) -> None:
        self._path = list(sys.path)
        self._pending: dict[str, wire.ModuleLoaded] = {}
        self._in_notebook: dict[str, Stamp | None] = {}
        self._here: dict[str, Stamp | None] = {}
        self._seen: set[str] = set()
        self._count = 0
        self._old_objects: dict[object, object] = {}
        self._said: set[str] = set()
        self.look_at_new_modules()

    def hear(self, loaded: tuple[wire.ModuleLoaded, ...]) -> None:
        """Keep in mind what the notebook has loaded, for the next ``follow``."""
        for entry in loaded:
            # Put anew: reloaded again, it comes after what was reloaded in between.
            self._pending.pop(entry.name, None)
            self._pending[entry.name] = entry

    def follow(self, surroundings: wire.Surroundings) -> None:
        """Have the notebook's surroundings here, as far as that is possible; what is not is printed.

        Raises
        ------
        ImportError
            A module that the notebook has reloaded raises here. It is tried again the next time.
        """
        self._go_to(surroundings.folder)
        self._take_path(list(surroundings.path))
        if self._pending:
            self._load_pending()

    def look_at_new_modules(self) -> None:
        """After a job: see what it has imported, and say which of it the notebook has in an older form."""
        if len(sys.modules) == self._count:
            return
        new = set(sys.modules) - self._seen
        self._seen |= new
        self._count = len(sys.modules)
        for name in new:
            if (file := own_source(name, sys.modules.get(name))) is not None:
                self._note(name, stamp_of(file))

    def _go_to(self, folder: str | None) -> None:
        try:
            here = os.getcwd()
        except OSError:
            here = None
        if folder is None:
            self._say(f"the notebook's working directory is gone; the workers stay in {here or 'theirs'}.")
        elif folder != here:
            try:
                os.chdir(folder)
            except OSError as error:
                self._say(f"the workers cannot go to the notebook's working directory {folder}: {error.strerror}.")

    def _take_path(self, path: list[str]) -> None:
        if path == self._path:
            return
        own = [entry for entry in sys.path if entry not in self._path and entry not in path]
        sys.path[:] = path + own
        self._path = path
        importlib.invalidate_caches()

    def _load_pending(self) -> None:
        importlib.invalidate_caches()
        for name, entry in list(self._pending.items()):
            module = sys.modules.get(name)
            self._in_notebook[name] = entry.stamp
            if module is not None and self._is_older(entry):
                self._reload(module, entry)
            del self._pending[name]

    def _is_older(self, entry: wire.ModuleLoaded) -> bool:
        """Whether the notebook's module is another than the one of this name here."""
        return entry.how != "imported" or entry.stamp not in (None, self._here.get(entry.name))

    def _reload(self, module: types.ModuleType, entry: wire.ModuleLoaded) -> None:
        file = own_source(entry.name, module)
        if file is None:
            return
        stamp = stamp_of(file)
        try:
            if entry.how == "upgraded":
                self._upgrade(module, file)
            else:
                importlib.reload(module)
        except Exception as error:
            why = "".join(traceback.format_exception_only(error)).strip()
            raise ImportError(
                f"module {entry.name!r} was loaded anew in the notebook, but raises so on this rank: {why}"
            ) from error
        self._note(entry.name, stamp)

    def _upgrade(self, module: types.ModuleType, file: str) -> None:
        """As IPython's autoreload does, which mends functions and classes that others hold, too."""
        from IPython.extensions.autoreload import superreload

        kept = {name: vars(module)[name] for name in _OF_THE_IMPORT if name in vars(module)}

        def from_source(module: types.ModuleType) -> types.ModuleType:
            # Not from Python's cache: autoreload sees edits that follow each other faster than it can tell.
            vars(module).update(kept)
            with open(file, "rb") as source:
                exec(compile(source.read(), file, "exec", dont_inherit=True), vars(module))
            return module

        superreload(module, from_source, self._old_objects)

    def _note(self, name: str, stamp: Stamp | None) -> None:
        """Note of which state of its file a module here is; say if the notebook's is of another."""
        self._here[name] = stamp
        if name in self._in_notebook and self._in_notebook[name] != stamp:
            print(
                f"{name} was edited after the notebook had imported it: the code here is newer than the notebook's, "
                f"until it is reloaded there."
            )

    def _say(self, sentence: str) -> None:
        """Print a sentence once, on one rank of a job."""
        if sentence not in self._said and speaks_for_all():
            print(sentence)
        self._said.add(sentence)
