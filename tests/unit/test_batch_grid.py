"""The batch grid: its cells add up to what the records count, whatever engine, file or accident they come from."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise

import pytest
from engine_runs import PROMPTS, Watch, ending_early, generate
from example_runs import MACHINE, article, rank_record
from example_runs import run as example_run
from hypothesis import given
from hypothesis import strategies as st

from nbkit.analysis.batch_grid import MOST_ROWS, MOST_SEQUENCES, batch_grid
from nbkit.analysis.batch_sequences import sequences_of
from nbkit.analysis.live_grid import LiveGrid
from nbkit.engines import BatchDone, UnderWay
from nbkit.errors import InputError
from nbkit.inference.generation import Progress, ShareBegun
from nbkit.inference.progress import RunProgress
from nbkit.records import BatchRecord, OutOfMemory, Output, OutputTimes, StepTimes
from nbkit.records.run import Run
from nbkit.records.step_times import MOST_STEPS, TICK_S


def run_of(loaded, engine, watch=None, prompts=PROMPTS, **settings):
    """A Run of one rank, from an engine in this process."""
    yielded = generate(loaded, prompts, watch, engine=engine, **settings)
    finished = [(each.record, each.outputs) for each in yielded if isinstance(each, BatchDone)]
    end_s = max((record.end_s for record, _ in finished), default=1.0) + 1
    asked = article(**{"engine": engine, "batch_size": 16, **settings})
    ranks = [rank_record(0, 1, len(prompts), 0.0, end_s)]
    memory = [each for each in yielded if isinstance(each, OutOfMemory)]
    return Run.assemble(asked, list(prompts), finished, ranks, 1, MACHINE, memory)


def check_accounts(run):
    """What is drawn is what the records count, in order, and no two sequences have one seat at once."""
    told = sequences_of(run)
    by_index = {each.index: each for each in told.sequences}
    for index, new in enumerate(run.new_tokens):
        if run.outputs[index] is not None and index in by_index:
            assert len(by_index[index].tokens_s) == new
    in_vain = sum(batch.computed_tokens - batch.new_tokens for batch in run.batches if batch.decode_steps is None)
    assert sum(len(each.vain_s) for each in told.sequences) == in_vain
    padding = sum(each.padding for each in told.sequences if each.pads_left)
    assert padding == sum(batch.padding_tokens for batch in run.batches)
    for each in told.sequences:
        moments = [each.taken_s, each.read_begin_s, each.read_end_s, *each.tokens_s, *each.vain_s]
        assert all(after >= before - 3 * TICK_S for before, after in pairwise(moments))
        times = run.times[each.index]
        if times is not None:
            assert each.tokens_s[0] == pytest.approx(times.first_token_s, abs=3 * TICK_S)
            assert each.tokens_s[-1] == pytest.approx(times.end_s, abs=3 * TICK_S)
    places = {(each.rank, each.seat) for each in told.sequences}
    for place in places:
        there = [each for each in told.sequences if (each.rank, each.seat) == place]
        for before, after in pairwise(there):
            assert before.leaves_s <= after.taken_s + 3 * TICK_S
    grid = batch_grid(run)
    json.dumps(grid, allow_nan=False)
    for rank in grid["ranks"]:
        own = [each for each in told.sequences if each.rank == rank["rank"]]
        assert rank["sums"]["tokens"][-1] == sum(len(each.tokens_s) for each in own)
        assert rank["sums"]["vain"][-1] == sum(len(each.vain_s) for each in own)
        assert rank["sums"]["cache"][-1] == 0 and min(rank["sums"]["cache"]) >= 0
        assert rank["sums"]["done"][-1] == len(own)
    return told, grid


@pytest.mark.parametrize("engine", ["batched", "simple", "compiled", "continuous"])
@pytest.mark.parametrize("batch_size", [2, 5, 16])
def test_cells_of_an_engine_add_up_and_every_token_is_measured(tiny, engine, batch_size):
    run = run_of(ending_early(tiny), engine, max_new_tokens=9, batch_size=batch_size)
    told, grid = check_accounts(run)
    assert len(told.sequences) == len(PROMPTS) and told.untold == 0
    assert all(each.is_measured for each in told.sequences)
    assert not any("spread" in each for rank in grid["ranks"] for each in rank["sequences"])
    seats = 1 + max(each.seat for each in told.sequences)
    # In flight, those that were drawn with the one that has joined wait for their places.
    drawn_beside = batch_size - 1 if engine in ("compiled", "continuous") else 0
    assert seats <= (1 if engine == "simple" else batch_size + drawn_beside)
    assert all(each.is_read_told for each in told.sequences) == (engine != "continuous")
    assert any("does not tell when it reads" in note for note in grid["notes"]) == (engine == "continuous")
    has_own_cache = engine in ("compiled", "continuous")
    assert (grid["ranks"][0]["room"] > 0) == has_own_cache
    if has_own_cache:
        assert grid["ranks"][0]["peak"] <= grid["ranks"][0]["room"]


def test_a_batch_in_which_sequences_end_early_has_cells_in_vain_and_padding(tiny):
    run = run_of(ending_early(tiny), "batched", max_new_tokens=40, batch_size=9)
    told, _ = check_accounts(run)
    assert any(each.vain_s for each in told.sequences) and any(each.padding for each in told.sequences)


def test_the_kits_own_loop_tells_what_it_read_beyond_a_prompt(tiny):
    run = run_of(tiny, "compiled", max_new_tokens=3, batch_size=9)
    told, _ = check_accounts(run)
    assert any(each.padding for each in told.sequences) and not any(each.pads_left for each in told.sequences)
    assert any(each.read_begin_s > each.taken_s for each in told.sequences)


@pytest.mark.parametrize(("engine", "reports"), [("batched", 4), ("compiled", 8)])
def test_a_stopped_run_says_what_is_missing(tiny, engine, reports):
    run = run_of(tiny, engine, Watch(stop_after=reports), max_new_tokens=3, batch_size=3, ignore_eos=True)
    assert 0 < run.finished_prompts < len(PROMPTS)
    _, grid = check_accounts(run)
    assert not grid["is_whole"]
    assert any("ended early" in note for note in grid["notes"])


def test_a_run_without_any_output_has_no_grid():
    run = Run.assemble(article(), ["a", "b"], [], [], 1, MACHINE)
    assert batch_grid(run)["ranks"] == []


@pytest.mark.parametrize("engine", ["batched", "compiled"])
def test_a_saved_run_plays_the_same_and_an_older_file_says_what_it_lacks(tiny, tmp_path, engine):
    run = run_of(tiny, engine, max_new_tokens=4, batch_size=4)
    saved = Run.load(run.save(tmp_path / "run.json"))
    assert batch_grid(saved) == batch_grid(run)

    data = run.to_dict() | {"schema_version": 8}
    for batch in data["batches"]:
        del batch["step_times"]
    older = Run.from_dict(data)
    told, grid = check_accounts(older)
    assert not any(each.is_measured for each in told.sequences)
    assert any("spread evenly" in note for note in grid["notes"])

    del data["times"]
    _, grid = check_accounts(Run.from_dict(data | {"schema_version": 7}))
    if engine == "compiled":
        assert grid["ranks"] == []
    else:
        assert any("spread evenly" in note for note in grid["notes"])


def test_records_that_do_not_go_with_their_step_times_are_refused(tiny):
    data = run_of(tiny, "compiled", max_new_tokens=2).to_dict()
    data["batches"][0]["step_times"]["reading"] = [1]
    with pytest.raises(InputError, match=r"batches\[0\].step_times does not tell of its \d+ indices"):
        Run.from_dict(data)


@given(st.integers(1, 40), st.integers(1, 4), st.integers(1, 9))
def test_hand_made_batches_add_up(prompts, ranks, batch_size):
    check_accounts(example_run(prompts, ranks, batch_size))


def in_flight(lives, cache_positions=0):
    """A Run of windows: of each sequence when it was taken, its first token and its tokens, one a second."""
    finished = []
    for index, (taken_s, first_s, new) in enumerate(lives):
        moments = [float(first_s + number) for number in range(new)]
        times = OutputTimes.of(float(taken_s), moments)
        record = BatchRecord(
            0, (index,), 4, 0, new, new, 0.0, 0.0, 0.5, 0.0, moments[0], moments[-1], 0, 0.0, new, 1.0, 1.0,
            StepTimes.of(moments[0], moments) if cache_positions else None,
        )  # fmt: skip
        finished.append((record, [Output(index, "text", 4, new, "stop", times)]))
    end_s = max(record.end_s for record, _ in finished)
    ranks = [rank_record(0, 1, len(lives), 0.0, end_s)]
    return Run.assemble(article(engine="compiled"), ["a"] * len(lives), finished, ranks, 1, MACHINE)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5), st.integers(1, 20)), min_size=1, max_size=40))
def test_sequences_that_come_and_go_as_they_like_have_seats_of_their_own(lives):
    run = in_flight([(taken, taken + waited, new) for taken, waited, new in lives])
    told, _ = check_accounts(run)
    most = max(
        sum(each.taken_s <= at.taken_s < max(each.leaves_s, each.taken_s + 1e-4) for each in told.sequences)
        for at in told.sequences
    )
    assert 1 + max(each.seat for each in told.sequences) <= most


def test_what_is_left_out_is_said_and_the_sums_still_count_it():
    wide = in_flight([(0, 1, 3)] * (MOST_ROWS + 50))
    grid = batch_grid(wide)
    (rank,) = grid["ranks"]
    assert (rank["seats"], rank["all_seats"], len(rank["sequences"])) == (MOST_ROWS, MOST_ROWS + 50, MOST_ROWS)
    assert rank["sums"]["tokens"][-1] == 3 * (MOST_ROWS + 50)
    assert f"Rows: the first {MOST_ROWS} of {MOST_ROWS + 50} sequences" in grid["notes"][0]

    long = in_flight([(number, number, 1) for number in range(4_000)])
    grid = batch_grid(long)
    assert len(grid["ranks"][0]["sequences"]) <= MOST_SEQUENCES + 1
    assert grid["until"] < grid["end"] and not grid["is_whole"]
    assert any(note.startswith("Shown: the first ") for note in grid["notes"])
    assert len(json.dumps(grid)) < 300_000


def test_a_rank_keeps_the_times_of_its_first_steps_only(tiny, monkeypatch):
    monkeypatch.setattr("nbkit.engines.in_flight.MOST_STEPS", 6)
    monkeypatch.setattr("nbkit.engines.timed_generate.MOST_STEPS", 6)
    for engine in ("compiled", "batched"):
        run = run_of(tiny, engine, max_new_tokens=5, batch_size=3, ignore_eos=True)
        kept = sum(len(batch.step_times.steps) for batch in run.batches if batch.step_times is not None)
        assert 0 < kept <= 6 and run.batches[-1].step_times is None
        told, grid = check_accounts(run)
        assert 0 < sum(each.is_measured for each in told.sequences) < len(told.sequences)
        assert any("spread evenly" in note for note in grid["notes"])
    assert MOST_STEPS > 10_000


def test_the_live_grid_gives_each_sequence_one_seat_while_it_is_there():
    progress = RunProgress(article(engine="compiled"), 9)
    progress.take(0, ShareBegun(None, 0.0, 1.0, 2))
    live = LiveGrid()
    seats = []
    for at_s, under_way in enumerate(([(0, 3, 1), (1, 5, 0)], [(1, 5, 2), (2, 4, 0)], [(2, 4, 9), (3, 4, 1)]), 2):
        progress.take(0, Progress(float(at_s), 10, (), tuple(UnderWay(i, p, 0, n) for i, p, n in under_way)))
        grid = live.of(progress)
        (rank,) = grid["ranks"]
        seats.append({index: seat for seat, index, *_ in rank["rows"]})
        assert rank["cache"] == sum(p + n - 1 for _, p, n in under_way if n)
    assert seats == [{0: 0, 1: 1}, {1: 1, 2: 0}, {2: 0, 3: 1}]
    json.dumps(grid, allow_nan=False)


@pytest.mark.parametrize("engine", ["batched", "compiled", "continuous"])
def test_engines_tell_how_far_their_sequences_are(tiny, engine):
    watch = Watch()
    generate(tiny, PROMPTS[:3], watch, engine=engine, max_new_tokens=4, ignore_eos=True)
    told = [each for each in watch.under_way if each]
    assert {row.index for rows in told for row in rows} == {0, 1, 2}
    lengths = {row.index: row.prompt_tokens for row in told[0]}
    assert lengths == {i: len(tiny.tokenizer(text).input_ids) for i, text in enumerate(PROMPTS[:3])}
    assert max(row.new_tokens for rows in told for row in rows) >= 3
    if engine == "batched":
        assert len({row.padding_tokens + row.prompt_tokens for row in told[0]}) == 1


def test_step_times_do_not_gather_rounding_errors():
    moments = [1.0 + number / 3e3 for number in range(3000)]
    told = StepTimes.of(0.5, moments).moments_s(0.5)
    assert max(abs(a - b) for a, b in zip(told, moments, strict=True)) <= TICK_S
    assert dataclasses.asdict(StepTimes(())) == {
        "steps": (), "read_after": (), "reading": (), "read_padding": (), "cache_positions": 0,
    }  # fmt: skip
