"""The curve of batch sizes: kinds of runs, what is drawn of each, what a cost model and the device say of them."""

from __future__ import annotations

import dataclasses
import json

import pytest
from example_runs import run
from test_roofline import CPU, SMOLLM2
from timelines import timeline

from nbkit.analysis.batch_curve import kinds, limit_points, median_points, predicted_points
from nbkit.analysis.roofline import of_run
from nbkit.figures import batch_curve, latency_by_throughput, running_dot
from nbkit.measure.device_speed import kept
from nbkit.records import OutputTimes
from nbkit.records.run import Run


def at(batch_size: int, ranks: int = 1, **changes: object) -> Run:
    """24 prompts of various lengths, 20 new tokens each."""
    return timeline([5 + 7 * (i % 9) for i in range(24)], [20] * 24, ranks, batch_size=batch_size, **changes)


def stopped(of: Run) -> Run:
    """What would be left of it, stopped before its last output; nothing tells what auto became."""
    return dataclasses.replace(of, outputs=[*of.outputs[:-1], None], ranks=[])


def labels(*runs: Run) -> list[str]:
    return [kind.label for kind in kinds(runs)]


def test_a_kind_is_all_but_the_batch_size_and_is_named_by_what_differs():
    assert kinds([]) == []
    assert labels(at(1), at(8)) == ["batched, 1 worker"]
    assert labels(at(1), at(1, ranks=2)) == ["batched, 1 worker", "batched, 2 workers"]
    more_tokens = at(1, max_new_tokens=50)
    assert labels(at(1), more_tokens, at(4)) == [
        f"batched, 1 worker, {words}" for words in (f"{at(1).settings.max_new_tokens} new tokens", "50 new tokens")
    ]
    assert [kind.places for kind in kinds([at(1), more_tokens, at(4)])] == [(0, 2), (1,)]


def test_other_prompts_and_another_machine_are_another_kind():
    first = run()
    others = dataclasses.replace(first, prompts=[f"another {i}" for i in range(10)])
    assert labels(first, others, run(batch_size=5)) == [
        "batched, 2 workers, 10 prompts (set 1)",
        "batched, 2 workers, 10 prompts (set 2)",
    ]
    assert labels(run(), run(prompts=4)) == ["batched, 2 workers, 10 prompts", "batched, 2 workers, 4 prompts"]
    elsewhere = dataclasses.replace(first, machine={**first.machine, "node": "elsewhere"})
    assert labels(first, elsewhere) == ["batched, 2 workers, node", "batched, 2 workers, elsewhere"]


def test_a_stopped_run_is_of_the_kind_of_those_that_tell_what_auto_became():
    assert len(kinds([at(1), stopped(at(8))])) == 1


def test_points_are_medians_of_complete_runs():
    slow, usual, fast = (at(4, slower=lambda rank, by=by: by) for by in (3.0, 1.0, 0.5))
    points = median_points([at(8), slow, usual, fast, stopped(at(2))])
    assert [size for size, _ in points] == [4, 8]
    assert points[0][1] == usual.tokens_per_second


def test_the_cost_model_speaks_between_the_measured_sizes_and_meets_them():
    runs = [at(size) for size in (2, 4, 16)]
    predicted = dict(predicted_points(runs))
    assert min(predicted) == 2 and max(predicted) == 16 and 9 in predicted
    for size, rate in median_points(runs):
        assert predicted[size] == pytest.approx(rate, rel=0.1)
    measured = at(9).tokens_per_second
    assert predicted[9] == pytest.approx(measured, rel=0.15)


def test_the_cost_model_is_silent_where_it_does_not_apply():
    few = [at(2), at(4), at(4)]
    assert predicted_points(few) == []
    runs = [at(size) for size in (2, 4, 16)]
    assert predicted_points([dataclasses.replace(each, batches=[]) for each in runs]) == []
    cold = [dataclasses.replace(rank, cold_start_s=1.0) for rank in runs[0].ranks]
    assert predicted_points([dataclasses.replace(runs[0], ranks=cold), *runs[1:]]) == []
    # Seconds that are in no batch: the model would promise what no run has reached.
    late = [dataclasses.replace(rank, end_s=rank.end_s + 60) for rank in runs[0].ranks]
    assert predicted_points([dataclasses.replace(runs[0], ranks=late), *runs[1:]]) == []


def test_the_limit_is_that_of_all_ranks_at_the_runs_context():
    two = at(8, ranks=2)
    speed = dataclasses.replace(CPU, ranks=2)
    points = limit_points(two, SMOLLM2, speed, up_to=32)
    assert points[0][0] == 1 and points[-1][0] == pytest.approx(32)
    held = of_run(two, SMOLLM2, speed)
    near = min(points, key=lambda point: abs(point[0] - held.batch_size))
    assert near[1] == pytest.approx(2 * held.limit.tokens_per_second, rel=0.1)
    eight_bits = dataclasses.replace(two.settings, engine="compiled", quantization="int8")
    assert limit_points(dataclasses.replace(two, settings=eight_bits), SMOLLM2, speed, 32) == []
    assert limit_points(dataclasses.replace(two, batches=[]), SMOLLM2, speed, 32) == []


def title(*runs: Run) -> str:
    return batch_curve(runs).layout.title.text


def test_the_title_says_what_the_newest_run_found():
    one, eight, sixteen = at(1), at(8), at(16)
    rate, ratio = eight.tokens_per_second, eight.tokens_per_second / one.tokens_per_second
    assert title(eight) == f"Batch size 8: {rate:.0f} tokens/s"
    assert title(one, sixteen, eight) == f"Batch size 8: {rate:.0f} tokens/s, {ratio:.1f} times batch size 1"
    assert title(eight, one) == (
        f"Batch size 1: {one.tokens_per_second:.0f} tokens/s; batch size 8: {ratio:.1f} times that"
    )
    assert title(one, stopped(eight)).endswith("tokens/s, stopped early")
    assert title(one, at(8, ranks=2)) == f"Batch size 8: {at(8, ranks=2).tokens_per_second:.0f} tokens/s"
    assert title() == "Tokens/s by batch size"


def drawn(figure, name: str):
    [found] = [trace for trace in figure.data if trace.name == name]
    return found


def test_a_dot_a_run_a_colour_a_kind_and_a_line_through_complete_runs():
    runs = [at(8), at(1), at(1, ranks=2), stopped(at(4))]
    figure = batch_curve(runs, shown=0)
    first, second = drawn(figure, "batched, 1 worker"), drawn(figure, "batched, 2 workers")
    assert (list(first.x), list(first.customdata)) == ([8, 1, 4], [0, 1, 3])
    assert list(first.y) == [runs[place].tokens_per_second for place in (0, 1, 3)]
    assert [*first.marker.symbol] == ["circle", "circle", "circle-open"]
    assert first.marker.size[0] > first.marker.size[1]
    assert (list(second.x), list(second.customdata)) == ([1], [2])
    assert first.marker.color != second.marker.color
    [line, _] = [trace for trace in figure.data if trace.mode == "lines"]
    assert list(line.x) == [1, 8]
    assert "stopped after 23 of 24 prompts" in first.text[2]
    assert drawn(figure, "hollow: stopped early")
    assert "hollow: stopped early" not in [trace.name for trace in batch_curve(runs[:3]).data]
    assert (figure.layout.xaxis.type, figure.layout.yaxis.title.text) == ("log", "tokens/s users get")


def test_runs_of_which_no_times_are_known_have_no_dot():
    untimed = dataclasses.replace(at(4), batches=[], ranks=[])
    assert not any(trace.customdata for trace in batch_curve([untimed]).data)
    assert title(at(1), untimed) == "Tokens/s by batch size"


def test_the_cost_model_and_the_limit_are_thin_lines_with_names():
    runs = [at(size) for size in (2, 4, 16)]
    figure = batch_curve(runs, (SMOLLM2, CPU))
    assert drawn(figure, "cost model, between the dots").line.width == 1
    allowed = next(rate for size, rate in limit_points(runs[-1], SMOLLM2, CPU, 32) if size == 16)
    limit = drawn(figure, f"the device's limit, 1 worker: {allowed:,.0f} tokens/s at batch size 16")
    assert CPU.source in limit.hovertemplate
    assert max(limit.y) <= 2 * max(each.tokens_per_second for each in runs)
    assert not [trace for trace in batch_curve(runs).data if trace.name == limit.name]
    fast = dataclasses.replace(CPU, bytes_per_s=1e15, flops_per_s=1e18)
    [above] = [trace for trace in batch_curve(runs, (SMOLLM2, fast)).data if "device's limit" in (trace.name or "")]
    assert list(above.y) == [None], "far above the dots it is told, not drawn"


def test_the_run_under_way_is_the_last_trace_and_has_room_on_the_axis():
    figure = batch_curve([], running_at=1000)
    assert not figure.data[-1].x and figure.layout.xaxis.range[1] > 3
    assert running_dot(1000, 0.0)["x"] == []
    assert running_dot(1000, 12.345) == {"x": [1000], "y": [12.3], "showlegend": True}


def with_times(of: Run, first_s: float, token_s: float) -> Run:
    times = [OutputTimes.of(1.0, [1 + first_s, 1 + first_s + token_s, 1 + first_s + 2 * token_s])]
    return dataclasses.replace(of, times=times * len(of.prompts))


def test_latency_stands_against_the_same_dots():
    runs = [with_times(at(8), 0.5, 0.02), with_times(at(1), 0.1, 0.01), at(4)]
    figure = latency_by_throughput(runs, "ITL")
    dots = drawn(figure, "batched, 1 worker")
    assert list(dots.text) == ["1", "8"] and list(dots.customdata) == [1, 0]
    assert list(dots.x) == [runs[1].tokens_per_second, runs[0].tokens_per_second]
    assert list(dots.y) == pytest.approx([10, 20], rel=0.05)
    assert figure.layout.title.text == "ITL against tokens/s (1 of 3 runs do not tell)"
    first_token = latency_by_throughput(runs[:1], "TTFT")
    assert list(drawn(first_token, "batched, 1 worker").y) == pytest.approx([500])
    assert first_token.layout.title.text.endswith("tokens/s at 500 ms TTFT")
    assert latency_by_throughput([], "TTFT").layout.title.text == "TTFT against tokens/s"


@pytest.fixture
def kept_speeds(tmp_path, monkeypatch):
    """Keep speeds under these keys, in a cache of the test."""
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path))

    def keep(**by_key: tuple[str, str, int]) -> None:
        fields = {
            key: dataclasses.asdict(dataclasses.replace(CPU, name=name, dtype=dtype, ranks=ranks))
            for key, (name, dtype, ranks) in by_key.items()
        }
        kept.cache_file().write_text(json.dumps(fields))

    return keep


def on(made: Run, device: str, torch: str = "2.13.0") -> Run:
    ranks = [dataclasses.replace(rank, device=device) for rank in made.ranks]
    return dataclasses.replace(made, ranks=ranks, machine={**made.machine, "packages": {"torch": torch}})


def test_a_kept_speed_is_found_by_what_a_run_tells(kept_speeds):
    two_on_cpu = "a processor; 1 threads; float32; 2 ranks on 1 devices; torch 2.13.0+cpu"
    kept_speeds(**{two_on_cpu: ("a processor", "float32", 2)})
    assert kept.speed_of(on(at(1, ranks=2), "cpu:0")).ranks == 2
    assert kept.speed_of(on(at(1, ranks=2), "cpu:0", "2.13.0+cpu")).ranks == 2
    for other in (
        on(at(1, ranks=2), "cpu:0", "2.12.0"),
        on(at(1), "cpu"),
        on(at(1, ranks=2), "cuda:0"),
        at(1, ranks=2),
    ):
        assert kept.speed_of(other) is None


def test_a_kept_speed_is_not_guessed_where_the_run_leaves_a_choice(kept_speeds):
    on_gpu = "{} + a processor; 1 threads; float32; 1 ranks on 1 devices; torch 2.13.0+cu130"
    first = {on_gpu.format("A GPU"): ("A GPU", "float32", 1)}
    kept_speeds(**first)
    assert kept.speed_of(on(at(1), "cuda:0")).name == "A GPU"
    kept_speeds(**first, **{on_gpu.format("Another GPU"): ("Another GPU", "float32", 1)})
    assert kept.speed_of(on(at(1), "cuda:0")) is None
