"""A job finds the notebook's own surroundings: working directory, import path, reloaded modules."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import textwrap
import time

import pytest

import nbkit
from nbkit import models
from nbkit.runtime import Log
from nbkit.runtime.pool import Pool


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a module's source into a folder on the import path; modules of it are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    edits = 0

    def write_source(name: str, source: str) -> None:
        nonlocal edits
        edits += 1
        file = tmp_path / f"{name}.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(textwrap.dedent(source))
        # Python tells one edit from the next by seconds.
        os.utime(file, (time.time() - 1000 + 2 * edits,) * 2)
        importlib.invalidate_caches()

    yield write_source
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def said(job: nbkit.Job) -> list[str]:
    return [event.text for event in job.events() if isinstance(event, Log)]


def test_a_module_edited_and_reloaded_twice_is_new_on_the_ranks(workers, write):
    write("sur_twice", "def value(): return 1")
    module = importlib.import_module("sur_twice")
    assert workers.run(module.value) == [1, 1]
    for number in (22, 333):
        write("sur_twice", f"def value(): return {number}")
        importlib.reload(module)
        assert workers.run(module.value) == [number] * 2
    assert workers.run(module.value) == [333, 333]


def test_modules_are_reloaded_in_the_notebooks_order(workers, write):
    write("sur_base", "def value(): return 1")
    write("sur_user", "from sur_base import value\ndef doubled(): return 2 * value()")
    user, base = importlib.import_module("sur_user"), sys.modules["sur_base"]
    assert workers.run(user.doubled) == [2, 2]
    write("sur_base", "def value(): return 50")
    importlib.reload(base)
    assert workers.run(user.doubled) == [2, 2] == [user.doubled()] * 2, "it holds the old function, here as there"
    write("sur_base", "def value(): return 700")
    importlib.reload(base)
    importlib.reload(user)
    assert workers.run(user.doubled) == [1400, 1400]


def test_a_reloaded_submodule_is_new_and_its_package_keeps_what_it_holds(workers, write):
    write("sur_package/__init__", "from sur_package.part import value as held")
    write("sur_package/part", "def value(): return 1")
    part, package = importlib.import_module("sur_package.part"), sys.modules["sur_package"]

    def both():
        import sur_package.part

        return sur_package.part.value(), sur_package.held()

    assert workers.run(both) == [(1, 1)] * 2
    write("sur_package/part", "def value(): return 20")
    importlib.reload(part)
    assert workers.run(both) == [(20, 1)] * 2 == [(part.value(), package.held())] * 2


def test_objects_of_a_class_from_before_the_reload_keep_its_code(workers, write):
    write("sur_class", "class Thing:\n    def value(self): return 1")
    module = importlib.import_module("sur_class")
    old = module.Thing()
    assert workers.run(lambda thing: thing.value(), old) == [1, 1]
    write("sur_class", "class Thing:\n    def value(self): return 20")
    importlib.reload(module)
    assert workers.run(lambda thing: thing.value(), old) == [1, 1]
    assert workers.run(lambda thing: thing.value(), module.Thing()) == [20, 20]


def test_an_edit_without_a_reload_changes_nothing_on_ranks_that_have_the_module(workers, write):
    write("sur_unloaded", "def value(): return 1")
    module = importlib.import_module("sur_unloaded")
    assert workers.run(module.value) == [1, 1]
    write("sur_unloaded", "def value(): return 20")
    job = workers.submit(module.value)
    assert job.result() == [1, 1]
    assert said(job) == []


def test_a_rank_says_when_it_has_newer_code_than_the_notebook(workers, write):
    write("sur_newer", "def value(): return 1")
    module = importlib.import_module("sur_newer")
    workers.run(int)
    write("sur_newer", "def value(): return 20")
    job = workers.submit(module.value)
    assert job.result() == [20, 20]
    assert len(said(job)) == 2
    assert all("sur_newer was edited after the notebook had imported it" in line for line in said(job))


def test_a_module_that_ranks_imported_before_an_edit_and_the_notebook_after_it_is_new_everywhere(workers, write):
    write("sur_late", "def value(): return 1")

    def value():
        import sur_late

        return sur_late.value()

    assert workers.run(value) == [1, 1]
    write("sur_late", "def value(): return 20")
    assert value() == 20
    assert workers.run(value) == [20, 20]


def test_a_module_that_ranks_have_in_the_same_state_keeps_what_it_holds(workers, write):
    write("sur_state", "held = []")

    def hold():
        import sur_state

        sur_state.held.append(1)
        return len(sur_state.held)

    assert workers.run(hold) == [1, 1]
    importlib.import_module("sur_state")
    assert workers.run(hold) == [2, 2]


def test_a_module_imported_anew_instead_of_reloaded_is_new_on_the_ranks(workers, write):
    write("sur_anew", "def value(): return 1")
    assert workers.run(importlib.import_module("sur_anew").value) == [1, 1]
    write("sur_anew", "def value(): return 20")
    del sys.modules["sur_anew"]
    assert workers.run(importlib.import_module("sur_anew").value) == [20, 20]


def test_a_reload_that_raises_on_a_rank_is_the_jobs_error_until_it_works(workers, write):
    write("sur_raises", "def value(): return 1")
    module = importlib.import_module("sur_raises")
    assert workers.run(module.value) == [1, 1]
    write("sur_raises", "import os\nif 'RANK' in os.environ: raise ValueError('not on ranks')\ndef value(): return 2")
    importlib.reload(module)
    for _ in range(2):
        with pytest.raises(nbkit.RankError, match=r"(?s)'sur_raises' was loaded anew .*ValueError: not on ranks"):
            workers.run(int)
    write("sur_raises", "def value(): return 300")
    importlib.reload(module)
    assert workers.run(module.value) == [300, 300]


def test_the_import_path_grows_and_shrinks_with_the_notebooks(workers, tmp_path, monkeypatch):
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "sur_found.py").write_text("def value(): return 7")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)

    def look():
        importlib.invalidate_caches()
        return importlib.util.find_spec("sur_found") is not None

    import importlib.util

    assert workers.run(look) == [False, False]
    sys.path.insert(0, "later")
    assert workers.run(look) == [True, True]
    sys.path.append(tmp_path)  # not a string: Python overlooks it, and so do ranks
    assert workers.run(look) == [True, True]
    sys.path.remove("later")
    assert workers.run(look) == [False, False]


def test_what_a_job_adds_to_a_ranks_path_stays(workers, tmp_path, monkeypatch):
    workers.run(lambda: sys.path.append("/of/the/job"))
    monkeypatch.syspath_prepend(tmp_path)
    assert workers.run(lambda: (sys.path[0], "/of/the/job" in sys.path)) == [(str(tmp_path), True)] * 2
    workers.run(lambda: sys.path.remove("/of/the/job"))


def test_ranks_go_where_the_notebook_goes(workers, tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        assert workers.run(os.getcwd) == [os.getcwd()] * 2
    workers.run(os.chdir, "..")
    assert workers.run(os.getcwd) == [os.getcwd()] * 2


def test_a_deleted_working_directory_is_said_once(workers, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    assert workers.run(os.getcwd) == [str(tmp_path / "gone")] * 2
    (tmp_path / "gone").rmdir()
    first, second = workers.submit(int), workers.submit(int)
    assert first.result() == second.result() == [0, 0]
    assert ["working directory is gone" in line for line in said(first)] == [True]
    assert said(second) == []


def test_workers_start_in_a_deleted_working_directory(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with Pool(1) as own:
        assert own.run(int) == [0]


def test_a_relative_model_is_the_one_of_the_working_directory(workers, tmp_path, monkeypatch):
    from safetensors.torch import load_file, save_file

    models.locate("tiny-random", "float32")
    for name in ("one", "two"):
        shutil.copytree(models.local_folder("tiny-random"), tmp_path / name / "model")
    file = next((tmp_path / "two" / "model").glob("*.safetensors"))
    save_file({name: -weight.flip(0) for name, weight in load_file(file).items()}, file, {"format": "pt"})

    def outputs(model: str) -> list[str]:
        return workers.generate(["abc"], model=model, max_new_tokens=8).outputs

    one, two = outputs(str(tmp_path / "one" / "model")), outputs(str(tmp_path / "two" / "model"))
    assert one != two
    for name, expected in (("one", one), ("two", two), ("one", one)):
        monkeypatch.chdir(tmp_path / name)
        assert outputs("./model") == expected
