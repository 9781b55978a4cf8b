from __future__ import annotations

import dataclasses

import pytest
from example_runs import batch, run
from hypothesis import given
from hypothesis import strategies as st

from nbkit import figures
from nbkit.records import LoadSample, OutOfMemory
from nbkit.records.run import PAID_ONCE, PARTS
from nbkit.records.throughput import Throughput, of_batches
from nbkit.runtime.wire import RankInfo


def trace(figure, name):
    [found] = [trace for trace in figure.data if trace.name == name]
    return found


def test_the_timeline_has_every_batch_in_its_rank_with_its_seconds():
    made = run()
    figure = figures.run_timeline(made)

    assert [trace.name for trace in figure.data] == list(figures.TIMELINE_PARTS)
    assert figure.layout.xaxis.title.text == "seconds since the run began"
    for position, made_batch in enumerate(sorted(made.batches, key=lambda batch: batch.rank)):
        own = [trace for trace in figure.data[:-1] if trace.name not in PAID_ONCE]
        spans = [(trace.base[position], trace.x[position]) for trace in own]
        assert spans[0][0] == pytest.approx(made_batch.begin_s - made.begin_s)
        assert sum(seconds for _, seconds in spans) == pytest.approx(made_batch.end_s - made_batch.begin_s)
        assert {trace.y[position] for trace in own} == {f"rank {made_batch.rank}"}
    assert "tokens/s" in figure.layout.title.text


def test_time_parts_stack_up_to_the_wall_time():
    made = run()
    figure = figures.time_parts(made)
    assert [trace.name for trace in figure.data] == [part for part in PARTS if part not in PAID_ONCE]
    for rank in range(2):
        assert sum(trace.x[rank] for trace in figure.data) == pytest.approx(made.wall_s)
    assert figure.layout.xaxis.title.text == "seconds"
    assert "takes most of the 8.0 s" in figure.layout.title.text


def test_compiling_is_seen_where_there_was_any():
    made = run()
    assert not trace(figures.run_timeline(made), "compile").showlegend
    compiled = dataclasses.replace(
        made, batches=[dataclasses.replace(made.batches[0], compile_s=0.4), *made.batches[1:]]
    )
    bars = trace(figures.run_timeline(compiled), "compile")
    assert (bars.showlegend, list(bars.x)) == (True, [0.4])
    assert bars.marker.color == figures.PART_COLOURS["compile"]
    assert list(trace(figures.time_parts(compiled), "compile").x) == [0.4, 0.0]
    colours = [colour for part, colour in figures.PART_COLOURS.items() if part != "compile"]
    assert figures.PART_COLOURS["compile"] not in colours


def test_a_cold_start_is_seen_before_the_first_batch_and_is_a_part_of_the_time():
    made = run()
    first = made.ranks[0]
    later = [dataclasses.replace(batch, begin_s=batch.begin_s + 0.5) for batch in made.batches]
    cold = dataclasses.replace(
        made, batches=later, ranks=[dataclasses.replace(first, cold_start_s=0.5), *made.ranks[1:]]
    )
    bars = trace(figures.run_timeline(cold), "warm-up")
    assert (bars.showlegend, list(bars.base), list(bars.x)) == (True, [first.begin_s - made.begin_s], [0.5])
    parts = cold.time_parts(first.rank)
    assert parts["warm-up"] == 0.5 and sum(parts.values()) == pytest.approx(cold.wall_s)
    assert list(trace(figures.time_parts(cold), "warm-up").x) == [0.5, 0.0]


def test_latencies_of_sequences_that_join_one_by_one_are_their_own():
    window = dataclasses.replace(batch(0, (0, 1)), decode_steps=9, first_token_s=0.6, after_first_s=2.4)
    ttft, tpot = figures.latency_points([window], 0.0, [0])
    assert ttft["y"] == [300.0]
    assert tpot["y"] == [200.0]  # 12 tokens after the first two


def test_the_comparison_states_the_finding_and_both_counts():
    figure = figures.comparison({"slow": run(prompts=4), "fast": run(prompts=8)})
    assert figure.layout.title.text == "fast: 2.0 times slow"
    assert [trace.name for trace in figure.data] == ["tokens users get", "tokens computed"]
    assert figure.data[0].y[1] < figure.data[1].y[1]
    assert figure.layout.yaxis.title.text == "tokens/s"


def test_figures_of_nothing_are_empty_figures():
    assert len(figures.comparison({}).data) == 2
    assert len(figures.timeline([], 0.0, range(3)).data[0].x) == 0
    assert len(figures.throughput_over_time(Throughput(), range(2)).data[0].x) == 0
    assert len(figures.token_histogram([]).data[0].x) == 0
    assert len(figures.latency([], 0.0, range(1)).data[0].x) == 0
    assert figures.load_over_time([], 0.0, []).data == ()
    assert figures.overlaid_throughput({}).data == ()


def test_throughput_has_a_line_for_all_ranks_and_one_for_each():
    throughput = Throughput()
    for rank in (0, 1):
        throughput.count(rank, 0.0, 0)
        throughput.count(rank, 1.0, 10 + rank)
    figure = figures.throughput_over_time(throughput, range(2), "now")
    assert [trace.name for trace in figure.data] == ["all ranks", "rank 0", "rank 1"]
    assert list(figure.data[0].y) == pytest.approx([21] * 4)
    assert list(figure.data[2].y) == pytest.approx([11] * 4)
    assert figure.data[1].line.color == figures.rank_colour(0)


def test_padding_and_steps_after_the_end_are_seen_on_the_timeline():
    made = run(prompts=3, world_size=1)
    bars = figures.timeline_bars(made.batches, made.begin_s)
    # 5 prompt and 3 padding tokens a prompt; 7 new of 10 computed tokens.
    assert bars["padding"]["x"] == [pytest.approx(0.2 * 3 / 8)]
    assert bars["after the end"]["x"] == [pytest.approx(0.9 * 3 / 10)]
    assert "24 prompt" not in bars["padding"]["customdata"][0]
    assert "15 prompt + 9 padding tokens" in bars["padding"]["customdata"][0]


def test_a_rank_that_waits_for_others_is_seen_to():
    made = run()
    bars = figures.timeline_bars(made.batches, made.begin_s, made.ranks)
    assert bars["waiting"]["x"] == [0.3, 0.3]
    assert bars["waiting"]["base"] == pytest.approx([9.0 - 0.01 - 0.3 - 1.0] * 2)


def test_ten_thousand_batches_are_drawn_as_some_hundred_bars_of_the_same_length_in_all():
    made = run(prompts=10_000, batch_size=1)
    bars = figures.timeline_bars(made.batches, made.begin_s)
    assert len(bars["decode"]["x"]) <= 2 * 160
    seconds = sum(sum(bars[part]["x"]) for part in ("decode", "after the end"))
    assert seconds == pytest.approx(sum(batch.decode_s for batch in made.batches), rel=1e-3)
    assert sum(len(points["x"]) for points in figures.latency_points(made.batches, 0.0, range(2))) <= 800


def test_a_watched_run_has_its_load_over_its_timeline():
    samples = [LoadSample(2.0, 0, None, 95.0, 10**9), LoadSample(3.0, 0, None, 99.0, 10**9)]
    watched = dataclasses.replace(run(), load_samples=samples)
    figure = figures.run_timeline(watched)
    assert figure.data[-1].name == "rank 0 busy"
    assert list(figure.data[-1].x) == [1.0, 2.0]
    assert figure.layout.yaxis2.title.text == "busy, %"
    assert "yaxis2" not in figures.run_timeline(run()).layout.to_plotly_json()


def test_the_load_is_drawn_by_name_with_its_units():
    samples = [LoadSample(2.0, 0, None, 95.0, 500_000_000), LoadSample(2.0, None, 0, 40.0, 10**10, 200.0, 50.0)]
    figure = figures.load_over_time(samples, 1.0, ["rank 0", "GPU 0"], "Load")
    assert [(trace.name, list(trace.x), list(trace.y)) for trace in figure.data] == [
        ("rank 0", [1.0], [95.0]),
        ("rank 0", [1.0], [0.5]),
        ("GPU 0", [1.0], [40.0]),
        ("GPU 0", [1.0], [10.0]),
    ]
    assert figure.layout.yaxis2.title.text == "memory, GB"
    traces = figures.load_traces(samples, 1.0, ["GPU 0", "rank 7"])
    assert [trace["y"] for trace in traces] == [[40.0], [10.0], [], []]


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=300))
def test_every_prompt_is_in_the_histogram_once(lengths):
    bars = figures.histogram_bars(lengths)
    assert sum(bars["y"]) == len(lengths)
    assert len(bars["x"]) <= 30
    first = bars["x"][0] - (bars["width"][0] - 1) / 2
    last = bars["x"][-1] + (bars["width"][-1] - 1) / 2
    assert first == min(lengths)
    assert last >= max(lengths)


@pytest.mark.parametrize("world_size", [1, 2, 3, 8, 64])
def test_the_machine_is_drawn_with_its_ranks_devices_and_ring(world_size):
    ranks = [
        RankInfo(rank, rank % 4, world_size, f"node{rank // 4}", 100 + rank, f"cuda:{rank % 4}", "a GPU", "nccl")
        for rank in range(world_size)
    ]
    figure = figures.machine_picture(ranks, None, kernel_pid=7)
    marks = {trace.hovertext[0].split(":")[0]: trace for trace in figure.data}
    ranks_drawn = next(trace for trace in figure.data if trace.hovertext[0].startswith("rank 0"))
    assert list(ranks_drawn.text) == [str(rank) for rank in range(world_size)]
    assert "process 7" in marks
    devices = next(trace for trace in figure.data if trace.marker.symbol == "square")
    assert len(devices.x) == world_size
    nodes = [note.text for note in figure.layout.annotations if note.text and note.text.startswith("node ")]
    assert len(nodes) == -(-world_size // 4)
    green = [note for note in figure.layout.annotations if note.arrowcolor == "#009E73"]
    assert len(green) == world_size - 1


def on_ranks(*numbers):
    """A run that some of four ranks took part in: its records carry the workers' own numbers."""
    made = run(prompts=12, world_size=len(numbers))
    batches = [dataclasses.replace(batch, rank=numbers[batch.rank]) for batch in made.batches]
    ranks = [dataclasses.replace(record, rank=numbers[record.rank], world_size=4) for record in made.ranks]
    return dataclasses.replace(made, batches=batches, ranks=ranks, rank_numbers=list(numbers))


def test_rows_and_lines_have_the_numbers_of_the_ranks_that_took_part():
    made = on_ranks(2, 3)
    for figure in (figures.run_timeline(made), figures.time_parts(made)):
        assert list(figure.layout.yaxis.categoryarray) == ["rank 3", "rank 2"]
        assert {row for trace in figure.data for row in trace.y} == {"rank 2", "rank 3"}
    parts = figures.time_parts(made)
    for position in range(2):
        assert sum(trace.x[position] for trace in parts.data) == pytest.approx(made.wall_s)

    throughput = figures.throughput_over_time(of_batches(made.batches, made.begin_s), made.rank_numbers)
    assert [trace.name for trace in throughput.data] == ["all ranks", "rank 2", "rank 3"]
    assert all(len(trace.x) for trace in throughput.data)
    assert throughput.data[2].line.color == figures.rank_colour(3)

    latency = figures.latency(made.batches, made.begin_s, made.rank_numbers)
    assert [trace.name for trace in latency.data] == ["TTFT, rank 2", "TPOT, rank 2", "TTFT, rank 3", "TPOT, rank 3"]
    assert sum(len(trace.x) for trace in latency.data) == 2 * len(made.batches)


def test_latencies_of_ranks_that_were_not_asked_for_are_left_out():
    ttft, tpot = figures.latency_points(on_ranks(2, 3).batches, 0.0, [3])
    assert len(ttft["x"]) == len(tpot["x"]) == 2


def test_some_of_the_ranks_are_drawn_side_by_side_under_their_own_numbers():
    ranks = [RankInfo(rank, rank, 4, "node", 100 + rank, "cpu", "a CPU", "gloo") for rank in (1, 3)]
    figure = figures.machine_picture(ranks)
    drawn = next(trace for trace in figure.data if trace.hovertext[0].startswith("rank 1"))
    assert list(zip(drawn.x, drawn.text, strict=True)) == [(0, "1"), (1, "3")]
    # The one device that both share stands between them, in the box of their node.
    assert list(next(trace for trace in figure.data if trace.marker.symbol == "square").x) == [0.5]
    box = next(shape for shape in figure.layout.shapes if shape.type == "rect")
    assert (box.x0, box.x1) == (-0.45, 1.45)
    assert figure.layout.xaxis.range == (-0.9, 1.9)


@pytest.mark.parametrize("engine", ["simple", "batched", "compiled"])
def test_headlines_say_what_was_asked_and_what_came(engine):
    line = figures.headline(run(engine=engine))
    assert line.startswith(engine)
    assert ("batch size 3" in line) == (engine != "simple")
    assert "2 workers: 10 prompts in 8.0 s" in line


def test_what_did_not_fit_into_memory_is_said():
    made = run()
    assert figures.run_note(made) == ""
    assert figures.headline_with_note(made) == figures.headline(made)
    once = dataclasses.replace(made, out_of_memory=[OutOfMemory(0, 2.0, 16, 8)])
    assert figures.run_note(once) == "1 batch did not fit into memory: begun anew 8 at a time"
    assert figures.headline_with_note(once) == f"{figures.headline(once)}; {figures.run_note(once)}"
    twice = dataclasses.replace(made, out_of_memory=[OutOfMemory(0, 2.0, 16, 8), OutOfMemory(1, 2.5, 8, 4)])
    assert figures.run_note(twice) == "2 batches did not fit into memory: begun anew, down to 4 at a time"
