from __future__ import annotations

import json
import os

import pytest
from example_runs import MACHINE, batch, finished, outputs, rank_record, run
from hypothesis import given
from hypothesis import strategies as st

from nbkit.errors import InputError
from nbkit.records import PARTS, Run, check_writable, write_atomically
from nbkit.settings import Settings


@given(
    prompts=st.integers(1, 60), world_size=st.integers(1, 8), batch_size=st.integers(1, 20), seed=st.integers(0, 99)
)
def test_outputs_stand_in_the_prompts_order_however_they_came(prompts, world_size, batch_size, seed):
    made = Run.assemble(
        Settings(),
        [f"prompt {i}" for i in range(prompts)],
        finished(prompts, world_size, batch_size, seed),
        [rank_record(rank, world_size, prompts) for rank in range(world_size)],
        world_size,
        MACHINE,
    )

    assert made.outputs == [f"output {i} é🙂" for i in range(prompts)]
    assert sorted(i for b in made.batches for i in b.indices) == list(range(prompts))
    assert made.is_complete
    assert made.total_new_tokens == 7 * prompts
    assert made.total_computed_tokens == 10 * prompts
    for rank in range(world_size):
        parts = made.time_parts(rank)
        assert tuple(parts) == PARTS
        assert sum(parts.values()) == pytest.approx(made.wall_s)


def test_derived_figures_have_their_definitions():
    made = run(prompts=4, world_size=1, batch_size=2)

    assert made.wall_s == pytest.approx(8.0)
    assert made.tokens_per_second == pytest.approx(28 / 8)
    assert made.computed_tokens_per_second == pytest.approx(40 / 8)
    assert made.padding_share == pytest.approx(3 / 8)
    assert made.mean_ttft_s == pytest.approx(0.3)
    assert made.mean_tpot_s == pytest.approx(0.9 / 9)
    assert made.batches[0].steps == 10
    assert made.peak_memory_bytes == 1000


def test_a_stopped_run_has_gaps_and_says_so():
    partial = Run.assemble(Settings(), list("abcd"), [(batch(1, (3, 1)), outputs((3, 1)))], [], 2, MACHINE)

    assert partial.outputs == [None, "output 1 é🙂", None, "output 3 é🙂"]
    assert partial.new_tokens == [0, 7, 0, 7]
    assert partial.finished_prompts == 2
    assert not partial.is_complete
    assert partial.summary()["prompts"] == "2 of 4"
    assert partial.wall_s == pytest.approx(1.3)


def test_an_empty_run_divides_by_nothing():
    empty = Run.assemble(Settings(), ["a"], [], [], 0, MACHINE)
    assert empty.summary()["tokens/s"] == 0
    assert empty.summary()["TTFT ms"] == 0


def test_a_run_saves_and_loads(tmp_path):
    made = run()
    assert Run.load(made.save(tmp_path / "deep" / "run.json")) == made
    assert json.loads((tmp_path / "deep" / "run.json").read_text())["schema_version"] == 1


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    run(prompts=2).save(path)
    before = path.read_text()

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(InputError, match="No space left"):
        run(prompts=3).save(path)
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a saved Run"),
        ("[]", "schema version"),
        ('{"schema_version": 99}', "schema version 1 .found 99"),
        ('{"schema_version": 1}', "damaged"),
        ('{"schema_version": 1, "settings": {"engine": "warp"}}', "engine"),
    ],
)
def test_a_file_that_is_no_run_is_named(tmp_path, content, message):
    path = tmp_path / "junk.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        Run.load(path)
    assert "junk.json" in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json: No such file"):
        Run.load(tmp_path / "gone.json")


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a folder"):
        check_writable(tmp_path)
    with pytest.raises(InputError, match="cannot write"):
        check_writable(tmp_path / "file" / "run.json")
    with pytest.raises(InputError, match="cannot write"):
        write_atomically(tmp_path / "file" / "run.json", "")


@pytest.mark.parametrize(("of", "rows"), [("outputs", 10), ("batches", 4), ("ranks", 2)])
def test_tables_have_a_row_for_each(of, rows):
    table = run().table(of)
    assert len(table) == rows
    if of == "outputs":
        assert list(table.columns) == ["prompt", "output", "new_tokens", "finish_reason"]


def test_there_is_no_other_table():
    with pytest.raises(InputError, match="outputs, batches and ranks"):
        run().table("tokens")
