"""What a visitor of the explore dashboard as a web page can do with the server's files."""

from __future__ import annotations

import os

import pytest
from example_runs import run
from shown_widgets import control, press, words

from nbkit.app.dashboards.explore.prompts_panel import _FileSource
from nbkit.app.dashboards.explore.run_files import RunFiles

ENDINGS = {"JSON": ["{}.json"], "CSV": ["{}-runs.csv", "{}-outputs.csv"], "HTML": ["{}.html"]}


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """The folder of a notebook that Voila serves."""
    monkeypatch.setenv("SERVER_SOFTWARE", "voila/0.5.13")
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def saved_as(stem, button="JSON"):
    files = RunFiles(lambda: {"mine": run(prompts=2)}, lambda name, run: None)
    control(files, "save as").value = stem
    press(files, button)
    return words(files)


def everything(folder):
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


@pytest.mark.parametrize("button", ENDINGS)
def test_a_visitor_saves_below_results(notebook, button):
    assert "Saved results/a/mine" in saved_as("results/a/mine", button)
    names = sorted(each.format("mine") for each in ENDINGS[button])
    assert [path.relative_to(notebook).as_posix() for path in everything(notebook)] == [
        f"results/a/{name}" for name in names
    ]


@pytest.mark.parametrize("button", ENDINGS)
@pytest.mark.parametrize(
    "stem", ["mine", "../mine", "results/../mine", "results/../../mine", "{outside}/mine", "~/mine", "results", "./x"]
)
def test_a_visitor_saves_nowhere_else(notebook, tmp_path, stem, button):
    outside = tmp_path / "outside"
    outside.mkdir()
    assert "which saves below results/ only" in saved_as(stem.format(outside=outside), button)
    assert everything(tmp_path) == []


@pytest.mark.parametrize("stem", ["", ".", "..", "/", "results/..", "a\0b", "x" * 300 + "/y"])
def test_what_names_no_file_is_a_sentence(notebook, tmp_path, stem):
    said = saved_as(stem)
    assert "Saved" not in said
    assert len(said) > 20
    assert everything(tmp_path) == []


@pytest.mark.parametrize("button", ENDINGS)
def test_no_link_leads_a_visitor_out(notebook, tmp_path, button):
    outside = tmp_path / "outside"
    outside.mkdir()
    (notebook / "results").mkdir()
    (notebook / "results" / "link").symlink_to(outside)
    assert "saves below results/ only" in saved_as("results/link/mine", button)
    for name in ENDINGS[button]:
        (notebook / "results" / name.format("mine")).symlink_to(outside / "mine")
    assert "saves below results/ only" in saved_as("results/mine", button)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("button", ENDINGS)
def test_a_visitor_replaces_only_what_that_page_has_written(notebook, button):
    other = notebook / "results" / ENDINGS[button][-1].format("mine")
    other.parent.mkdir()
    other.write_text("of another visitor")
    assert "is there already, and not from this page" in saved_as("results/mine", button)
    assert other.read_text() == "of another visitor"

    files = RunFiles(lambda: {"mine": run(prompts=2)}, lambda name, run: None)
    control(files, "save as").value = "results/own"
    for _ in range(2):
        press(files, button)
        assert "Saved" in words(files)


def test_a_visitor_loads_runs_beside_the_notebook_only(notebook, tmp_path):
    loaded = []
    files = RunFiles(dict, lambda name, run: loaded.append(name))
    elsewhere = run(prompts=2).save(tmp_path / "secret.json")
    (notebook / "link.json").symlink_to(elsewhere)
    for path in (str(elsewhere), "../secret.json", "link.json"):
        control(files, "load").value = path
        press(files, "Load")
        assert "which reads files beside its notebook only" in words(files)
    run(prompts=2).save(notebook / "mine.json")
    control(files, "load").value = "mine.json"
    press(files, "Load")
    assert loaded == ["mine"]


def test_a_visitor_reads_prompts_beside_the_notebook_only(notebook, tmp_path):
    taken = []
    source = _FileSource(taken.append)
    (tmp_path / "secret.txt").write_text("a secret")
    for path in (str(tmp_path / "secret.txt"), "../secret.txt", "~/secret.txt", "~nobody-of-this-name/x.txt"):
        control(source, "file").value = path
        press(source, "Read")
        assert taken == []
    (notebook / "prompts.txt").write_text("a prompt")
    control(source, "file").value = "prompts.txt"
    press(source, "Read")
    assert taken == [["a prompt"]]


def test_in_a_notebook_of_ones_own_any_place_will_do(tmp_path, monkeypatch):
    monkeypatch.delenv("SERVER_SOFTWARE", raising=False)
    (tmp_path / "runs.json").write_text("old")
    assert "Saved" in saved_as(str(tmp_path / "runs"))
    assert os.listdir(tmp_path) == ["runs.json"]
