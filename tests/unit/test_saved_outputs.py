"""Outputs that ``nbkit generate`` keeps: never fewer in the place of more, and somewhere in any case."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

import pytest
from example_runs import run
from test_cli_options import FakeWorkers, nbkit

from nbkit.app.cli import generate
from nbkit.app.cli.saved_outputs import kept_outputs, save, save_somewhere
from nbkit.app.cli.terminal import EXIT_BAD_INPUT, EXIT_FAILED
from nbkit.records.run import Run


def finished(count, of):
    """A run of so many prompts, of which some are finished."""
    made = run(prompts=of)
    outputs = [text if index < count else None for index, text in enumerate(made.outputs)]
    return dataclasses.replace(made, outputs=outputs)


def count_in(path):
    if path.suffix == ".json":
        return Run.load(path).finished_prompts
    return len(path.read_text().splitlines())


@pytest.fixture(params=[".jsonl", ".json"])
def out(request, tmp_path):
    """A file with 7 of 10 outputs."""
    path = tmp_path / f"o{request.param}"
    save(finished(7, of=10), path)
    return path


def test_what_a_file_holds_is_counted(out, tmp_path):
    assert kept_outputs(out) == 7
    assert kept_outputs(tmp_path / "gone.jsonl") == 0
    (tmp_path / "empty.jsonl").touch()
    assert kept_outputs(tmp_path / "empty.jsonl") == 0


@pytest.mark.parametrize(("count", "kept"), [(6, 7), (7, 7), (9, 9)])
def test_fewer_outputs_go_beside_more(out, capsys, count, kept):
    assert save_somewhere(finished(count, of=10), out, force=False) == (count >= 7)
    assert count_in(out) == kept
    beside = out.with_name(f"o-2{out.suffix}")
    assert beside.exists() == (count < 7)
    if count < 7:
        assert count_in(beside) == count
        assert str(beside) in capsys.readouterr().out.replace("\n", "")
        save_somewhere(finished(1, of=10), out, force=False)
        assert (count_in(beside), count_in(out.with_name(f"o-3{out.suffix}"))) == (count, 1)


def test_force_replaces_more_by_fewer(out):
    assert save_somewhere(finished(1, of=10), out, force=True)
    assert count_in(out) == 1


@pytest.mark.parametrize("name", ["o.jsonl", "o.json"])
def test_what_cannot_be_written_is_kept_elsewhere_and_the_place_is_said(name, capsys, monkeypatch, tmp_path):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "gone").touch()  # a folder that is none any more: as good as a disk that has filled
    out = tmp_path / "gone" / name
    assert not save_somewhere(finished(9, of=10), out, force=False)
    [kept] = (tmp_path / "temporary").glob("nbkit-outputs-*/*")
    assert (kept.name, count_in(kept)) == (out.name, 9)
    said = capsys.readouterr().out
    assert "cannot write" in said
    assert f"saved 9 of 10 outputs in {kept}" in said


def test_without_a_temporary_folder_the_home_will_do(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    (tmp_path / "o.jsonl").mkdir()
    assert not save_somewhere(finished(9, of=10), tmp_path / "o.jsonl", force=True)
    assert [count_in(path) for path in tmp_path.glob("nbkit-outputs-*/*")] == [9]


@pytest.fixture
def two_prompts(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("one\ntwo\n")
    asked = []
    monkeypatch.setattr(generate, "Workers", lambda workers: FakeWorkers(asked))
    return asked


def test_a_shorter_run_is_refused_before_work_starts(out, two_prompts, capsys):
    before = out.read_bytes()
    code, _, said = nbkit(capsys, "generate", "prompts.txt", "--out", out)
    assert (code, two_prompts, out.read_bytes()) == (EXIT_BAD_INPUT, [], before)
    assert "holds 7 outputs, and this run brings 2 at most: name another file, or replace it by --force" in said
    assert nbkit(capsys, "generate", "prompts.txt", "--out", out, "--force")[0] == 0
    assert count_in(out) == 2


@pytest.mark.parametrize("content", ["one\n", '{"prompt": "one"}\n', "[]", "{", "1\n", "\x00"])
@pytest.mark.parametrize("name", ["o.jsonl", "o.json"])
def test_another_file_is_not_replaced(two_prompts, tmp_path, capsys, content, name):
    (tmp_path / name).write_text(content)
    code, _, said = nbkit(capsys, "generate", "prompts.txt", "--out", name)
    assert (code, two_prompts, (tmp_path / name).read_text()) == (EXIT_BAD_INPUT, [], content)
    assert "something other than outputs of nbkit generate" in said


def test_a_save_that_fails_at_the_end_is_a_failure_and_loses_nothing(two_prompts, tmp_path, capsys, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    class Filling(FakeWorkers):
        def result(self):
            (tmp_path / "out").rmdir()
            (tmp_path / "out").touch()
            return super().result()

    monkeypatch.setattr(generate, "Workers", lambda workers: Filling(two_prompts))
    assert nbkit(capsys, "generate", "prompts.txt", "--out", "out/o.jsonl")[0] == EXIT_FAILED
    [kept] = (tmp_path / "temporary").glob("nbkit-outputs-*/*")
    assert [json.loads(line)["index"] for line in kept.read_text().splitlines()] == [0, 1]
