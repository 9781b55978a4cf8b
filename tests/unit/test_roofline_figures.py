from __future__ import annotations

import dataclasses

import pytest
from test_roofline import CPU, SMOLLM2

from nbkit.analysis import published
from nbkit.analysis.roofline import RTX_3090, RunAgainstLimit, decode_limit, ridge_batch_size
from nbkit.figures.published import published_rounds, published_seconds_per_prompt
from nbkit.figures.roofline import roofline
from nbkit.measure.device_speed.speed import DeviceSpeed
from nbkit.models.model_arithmetic import LLAMA_2_7B


def reached(batch_size: float, fraction: float, ranks: int = 2) -> RunAgainstLimit:
    limit = decode_limit(SMOLLM2, CPU, "float32", batch_size, 80)
    all_ranks = ranks * limit.tokens_per_second
    return RunAgainstLimit(ranks, "float32", batch_size, 80, limit, fraction * all_ranks, all_ranks)


def test_the_limit_is_the_lower_roof_and_the_knee_is_marked():
    figure = roofline(SMOLLM2, CPU, "float32", 80, {})
    memory, arithmetic, limit, knee = figure.data
    assert [trace.name for trace in figure.data[:3]] == ["memory alone", "arithmetic alone", "limit"]
    assert list(limit.y) == pytest.approx([min(pair) for pair in zip(memory.y, arithmetic.y, strict=True)])
    assert list(limit.x) == sorted(limit.x)
    assert knee.x[0] == pytest.approx(ridge_batch_size(SMOLLM2, CPU, "float32", 80))
    assert knee.y[0] == pytest.approx(arithmetic.y[0])
    assert figure.layout.title.text == "Memory bounds decoding up to batch size 11"
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", "log")
    assert "tokens/s" in figure.layout.yaxis.title.text


def test_runs_are_points_of_one_rank_with_their_fraction():
    figure = roofline(SMOLLM2, CPU, "float32", 80, {"simple": reached(1, 0.73), "batched": reached(100.5, 0.5)})
    simple, batched = figure.data[-2:]
    assert simple.y[0] == pytest.approx(0.73 * decode_limit(SMOLLM2, CPU, "float32", 1, 80).tokens_per_second)
    assert "<b>73%</b> of its limit (memory)" in simple.hovertemplate
    assert "<b>50%</b> of its limit (arithmetic)" in batched.hovertemplate
    assert simple.marker.color != batched.marker.color
    assert simple.marker.symbol != batched.marker.symbol
    assert figure.data[2].x[-1] > 100.5
    assert figure.layout.title.text == "simple: 73% of what memory allows"


def test_a_knee_that_is_not_there_is_not_drawn():
    figure = roofline(LLAMA_2_7B, RTX_3090, "bfloat16", 2000, {})
    assert len(figure.data) == 3
    assert figure.layout.title.text == "Memory bounds decoding at every batch size"
    slow = dataclasses.replace(CPU, flops_per_s=1e6)
    assert roofline(SMOLLM2, slow, "float32", 80, {}).layout.title.text.startswith("Arithmetic bounds")


def test_a_knee_far_out_does_not_stretch_the_axis():
    fast = DeviceSpeed("device", "float32", 1e9, 1e15, "made up")
    figure = roofline(SMOLLM2, fast, "float32", 1, {})
    assert figure.data[2].x[-1] == 32


def test_published_rounds_shows_each_row_beside_what_was_foretold():
    figure = published_rounds()
    steps, points = figure.data
    assert list(steps.x) == list(range(1, 9))
    assert steps.line.shape == "hvh"
    assert list(points.y) == [row.wall_s for row in published.rows("batched")]
    assert list(steps.y[:5]) == pytest.approx([each.predicted_s for each in published.predict_from_first_row()])
    assert figure.layout.title.text == "Batches a rank predict the published times within 9%"
    assert [each.text for each in figure.layout.annotations][-2:] == ["1 batch", "1 batch"]


def test_published_seconds_per_prompt_says_from_where_ranks_are_slower():
    figure = published_seconds_per_prompt()
    assert list(figure.data[0].y) == [each.seconds for each in published.seconds_per_prompt()]
    assert figure.layout.title.text.startswith("From 4 GPUs on each rank is slower: up to 1.9 times")
    assert figure.layout.yaxis.title.text == "seconds a prompt"
