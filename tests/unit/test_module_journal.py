from __future__ import annotations

import importlib
import os
import sys
import textwrap
import time

import pytest

from nbkit.runtime.surroundings import module_journal, own_modules
from nbkit.runtime.surroundings.module_journal import ModuleJournal


@pytest.fixture
def journal(monkeypatch):
    """A journal that has looked, and notes from now on."""
    journal = ModuleJournal()
    monkeypatch.setattr(sys, "meta_path", [journal, *sys.meta_path])
    journal.look()
    return journal


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a module, into a folder on the import path; modules of it are forgotten afterwards."""
    before, edits = set(sys.modules), 0
    monkeypatch.syspath_prepend(tmp_path)

    def write_source(name: str, source: str) -> None:
        nonlocal edits
        edits += 1
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        os.utime(tmp_path / f"{name}.py", (time.time() - 1000 + 2 * edits,) * 2)
        importlib.invalidate_caches()

    yield write_source
    for name in set(sys.modules) - before:
        if name.startswith("mj_"):
            del sys.modules[name]


def since(journal: ModuleJournal, start: int) -> list[tuple[str, str]]:
    return [(entry.name, entry.how) for entry in journal.entries(start, journal.look())]


def test_only_the_users_own_modules_are_entered(journal, write):
    start = journal.look()
    write("mj_own", "import colorsys, nbkit.app.durations")
    sys.modules.pop("colorsys", None)
    importlib.import_module("mj_own")
    importlib.util.find_spec("mj_not_there")
    assert since(journal, start) == [("mj_own", "imported")]
    assert own_modules.own_source("__main__", sys.modules["mj_own"]) is None
    assert own_modules.own_source("pytest", pytest) is None
    assert own_modules.own_source("none", None) is None


def test_reloads_are_entered_in_their_order_and_looks_without_a_load_are_not(journal, write):
    write("mj_first", "import mj_second")
    write("mj_second", "")
    first, second = importlib.import_module("mj_first"), sys.modules["mj_second"]
    start = journal.look()
    importlib.reload(second)
    importlib.reload(first)
    importlib.reload(second)
    importlib.util.find_spec("mj_first")
    assert since(journal, start) == [("mj_first", "reloaded"), ("mj_second", "reloaded")]
    assert since(journal, journal.look()) == []


def test_a_module_edited_after_it_was_loaded_has_no_stamp(journal, write, tmp_path):
    write("mj_edited", "")
    start = journal.look()
    module = importlib.import_module("mj_edited")
    os.utime(module.__file__, (time.time() + 5,) * 2)
    (entry,) = journal.entries(start, journal.look())
    assert entry.stamp is None


def test_what_autoreload_mends_in_place_is_entered_once(journal, write, monkeypatch):
    write("mj_mended", "LIST = [1]\ndef value(): return 1")
    module = importlib.import_module("mj_mended")
    journal.look()
    monkeypatch.setitem(sys.modules, module_journal.AUTORELOAD, object())
    start = journal.look()
    module.LIST.append(2)
    write("mj_mended", "LIST = [1]\ndef value(): return 2")
    assert since(journal, start) == [], "edited, but not mended"
    module.value.__code__ = (lambda: 2).__code__
    assert since(journal, start) == [("mj_mended", "upgraded")]
    assert since(journal, journal.look()) == []


def test_contents_tell_code_from_code_and_ask_strange_objects_nothing(write):
    source = """
        import functools
        from unittest.mock import call, MagicMock
        mock, same = MagicMock(), call
        class Thing:
            size = {size}
            def method(self): return {method}
            @property
            def prop(self): return {prop}
            @staticmethod
            def static(): return {static}
        Thing.itself, Alias = Thing, Thing
        @functools.lru_cache
        def cached(): return {cached}
        cached_in_itself = cached
        NAMES = ["a"]
    """
    values = dict.fromkeys(("size", "method", "prop", "static", "cached"), 1)

    def contents():
        module = importlib.import_module("mj_contents")
        importlib.reload(module)
        kept = vars(module).pop("NAMES")
        try:
            return module_journal._contents(module)
        finally:
            del kept

    write("mj_contents", source.format(**values))
    first = contents()
    assert contents() == first
    for name in values:
        write("mj_contents", source.format(**values | {name: 2}))
        assert contents() != first
