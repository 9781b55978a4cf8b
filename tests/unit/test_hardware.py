from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from example_runs import article
from hypothesis import example, given, settings
from hypothesis import strategies as st
from timelines import FLAT, MODEL, timeline, varied_runs

from nbkit.analysis import known_hardware as known
from nbkit.analysis import published
from nbkit.analysis.advice import advise, doublings
from nbkit.analysis.batch_shapes import BatchShapes
from nbkit.analysis.hardware import Hardware, Lines, longest_of
from nbkit.analysis.known_hardware import known_hardware
from nbkit.analysis.roofline import RTX_3090, decode_limit, prefill_limit
from nbkit.analysis.what_if import Workload, simulate
from nbkit.app.dashboards.scaling import what_if_panel
from nbkit.errors import InputError, ModelError
from nbkit.measure.device_speed import kept
from nbkit.measure.device_speed.speed import DeviceSpeed
from nbkit.models.model_arithmetic import LLAMA_2_7B
from nbkit.prompts import LENGTH_DISTRIBUTIONS
from nbkit.records.settings import ORDERS, SPLITS

ARTICLE = published.published_cost_model()
CARD = ARTICLE.hardware
assert CARD is not None
CARD_BYTES = 24 * 2**30
KV_BYTES, WEIGHT_BYTES = 524_288, 2 * 6_738_415_616


def shape_of(sequences, length, steps):
    rows = (sequences, length, steps, sequences * length, sequences * steps)
    return BatchShapes(*(np.array([float(value)]) for value in rows))


line = st.tuples(st.floats(-10, 10), st.floats(-1, 1))


@example([(0.0, 0.0), (1.0, 2.2250738585e-313)], 3)
@given(st.lists(line, min_size=1, max_size=4), st.integers(0, 60))
def test_every_step_takes_as_long_as_the_longest_line(drawn, steps):
    lines = [Lines(np.array([at_0]), np.array([slope])) for at_0, slope in drawn]
    one_by_one = sum(max(at_0 + slope * step for at_0, slope in drawn) for step in range(1, steps + 1))
    assert longest_of(lines, np.array([float(steps)]))[0] == pytest.approx(one_by_one, rel=1e-9, abs=1e-9)


@given(st.integers(1, 500), st.integers(1, 3000), st.integers(1, 80))
def test_the_limits_of_batches_are_those_of_the_roofline_step_by_step(sequences, length, steps):
    shapes = shape_of(sequences, length, steps)
    by_step = [decode_limit(LLAMA_2_7B, RTX_3090, "bfloat16", sequences, length + step) for step in range(1, steps)]
    limit_s = longest_of(CARD.step_lines(shapes, 1), shapes.decode_steps)[0]
    assert limit_s == pytest.approx(sum(limit.seconds for limit in by_step))
    prefill = prefill_limit(LLAMA_2_7B, RTX_3090, "bfloat16", sequences, length)
    assert CARD.prefill_s(shapes, 1)[0] == pytest.approx(prefill.seconds)


def fastest_possible(forecast, prompt_tokens, new_tokens):
    """Tokens per second of a rank that keeps to every limit, in batches as large as the largest of a forecast."""
    size, width = forecast.largest_batch, -(-prompt_tokens // 8) * 8
    steps = (decode_limit(LLAMA_2_7B, RTX_3090, "bfloat16", size, width + step) for step in range(1, new_tokens))
    prefill = prefill_limit(LLAMA_2_7B, RTX_3090, "bfloat16", size, width)
    return size * new_tokens / (prefill.seconds + sum(limit.seconds for limit in steps))


SLIDERS = {
    "ranks": st.sampled_from(what_if_panel.RANKS),
    "batch_size": st.sampled_from(what_if_panel.BATCH_SIZES),
    "prompts": st.sampled_from([count for count in what_if_panel.PROMPTS if count <= 5000]),
    "prompt_tokens": st.sampled_from(what_if_panel.TOKENS),
    "new_tokens": st.sampled_from(what_if_panel.TOKENS),
    "split": st.sampled_from(SPLITS),
    "order": st.sampled_from(ORDERS),
}


@settings(max_examples=200)
@given(**SLIDERS)
@example(4, 256, 1000, 20, 100, "static", "as_given")
@example(1000, 256, 1_000_000, 20, 100, "dynamic", "by_length")
@example(1, 256, 1_000_000, 2000, 2000, "static", "as_given")
def test_no_slider_takes_the_articles_machine_beyond_roofline_or_memory(
    ranks, batch_size, prompts, prompt_tokens, new_tokens, split, order
):
    asked = article(batch_size=batch_size, split=split, order=order)
    forecast = simulate(ARTICLE, Workload.drawn(prompts, prompt_tokens, new_tokens), asked, ranks)
    limit = ranks * fastest_possible(forecast, prompt_tokens, new_tokens)
    assert forecast.tokens_per_second <= limit * (1 + 1e-9)
    width = -(-prompt_tokens // 8) * 8
    held = WEIGHT_BYTES + forecast.largest_batch * (width + new_tokens - 1) * KV_BYTES
    assert held <= CARD_BYTES
    assert forecast.memory_bytes == held
    assert forecast.largest_batch <= batch_size


@settings(max_examples=100)
@given(**SLIDERS, lengths=st.sampled_from(LENGTH_DISTRIBUTIONS), new_lengths=st.sampled_from(LENGTH_DISTRIBUTIONS))
def test_nor_do_texts_of_several_lengths(
    ranks, batch_size, prompts, prompt_tokens, new_tokens, split, order, lengths, new_lengths
):
    work = Workload.drawn(prompts, prompt_tokens, new_tokens, lengths, new_lengths)
    asked = article(batch_size=batch_size, split=split, order=order)
    longest = float(max(work.prompt_tokens) + max(work.new_tokens)) + 8
    try:
        forecast = simulate(ARTICLE, work, asked, ranks)
    except InputError as error:
        assert "do not fit into the memory" in str(error)
        assert WEIGHT_BYTES + longest * KV_BYTES > CARD_BYTES
        return
    assert forecast.memory_bytes <= CARD_BYTES
    # Every token that is read or made costs its operations, and every step of at most so many sequences all weights.
    tokens_s = float(work.prompt_tokens.sum() + work.new_tokens.sum() - len(work)) * 2 * LLAMA_2_7B.layer_parameters
    assert forecast.wall_s * ranks * RTX_3090.flops_per_s >= tokens_s
    steps = float(work.new_tokens.sum()) / forecast.largest_batch
    weights = LLAMA_2_7B.weight_bytes("bfloat16")
    assert forecast.wall_s * ranks * RTX_3090.bytes_per_s >= steps * weights * (1 - 1e-9)


def test_the_advice_for_the_articles_machine_is_possible_and_says_what_it_leaves_out():
    work = Workload.drawn(1000, 20, 100)
    offered = {"ranks": doublings(1000), "batch_sizes": what_if_panel.ADVISED_BATCH_SIZES}
    advice = advise(ARTICLE, work, article(), **offered)
    assert all(forecast.fits for forecast in advice.forecasts)
    for forecast in advice.forecasts:
        assert forecast.tokens_per_second <= forecast.ranks * fastest_possible(forecast, 20, 100)
    assert advice.best.settings.batch_size != 256
    assert "Left out, for want of memory: batch size 256 on up to 4 ranks." in advice.because
    assert "beyond the 1 to 5 measured" in advice.because


def test_a_batch_that_does_not_fit_is_split_evenly_and_that_is_said():
    asked = article(batch_size=256)
    forecast = simulate(ARTICLE, Workload.drawn(1024, 20, 100), asked, 4)
    assert not forecast.fits
    assert (forecast.largest_batch, forecast.batches) == (128, 8)
    [split, held] = forecast.limits
    assert split.startswith("Batches of 256 do not fit into 24 GiB: weights and KV cache would take 28 GiB")
    assert "Held to what an RTX 3090 can do" in held
    assert forecast.beyond[0] == "batch size 128, beyond the 4 to 16 measured"
    roomy = replace(ARTICLE, hardware=replace(CARD, memory_bytes=2 * CARD_BYTES))
    beyond = simulate(roomy, Workload.drawn(1024, 20, 100), asked, 4).beyond
    assert "batch size 256, beyond the 4 to 16 measured" in beyond
    assert "how long the measured prompts were is not known" in beyond


def test_a_prompt_that_does_not_fit_alone_is_refused():
    with pytest.raises(InputError, match=r"30,000 tokens .* do not fit into the memory of an RTX 3090"):
        simulate(ARTICLE, Workload.drawn(4, 30_000, 10), article(), 1)


def test_what_is_not_known_of_the_hardware_is_said():
    work = Workload.drawn(64, 20, 50)
    assert "is not known, and nothing is held to it" in simulate(FLAT, work, article(), 1).notes[0]
    blind = replace(FLAT, hardware=Hardware("this machine", LLAMA_2_7B, "bfloat16", (), None))
    memory, speed = simulate(blind, work, article(), 1).limits
    assert "How much memory this machine has is not known" in memory
    assert "How fast this machine reads and computes is not known" in speed
    assert simulate(blind, work, article(), 1).wall_s == simulate(FLAT, work, article(), 1).wall_s


def test_a_speed_of_fewer_ranks_at_once_is_a_limit_for_more_and_not_for_fewer():
    two, four = (replace(RTX_3090, ranks=ranks) for ranks in (2, 4))
    hardware = replace(CARD, speeds=(four, two), ranks_a_machine=4)
    assert [hardware.speed(ranks) for ranks in (1, 2, 3, 4, 9)] == [None, two, two, four, four]
    assert replace(hardware, ranks_a_machine=3).speed(9) == two, "as on three machines of three ranks"


def test_ranks_on_one_processor_share_its_memory():
    shared = replace(CARD, memory_bytes=2 * CARD_BYTES, ranks_a_machine=2)
    shapes = shape_of(1, 100, 101)
    room = [(2 * CARD_BYTES - WEIGHT_BYTES) // share for share in (1, 2, 2)]
    for ranks, left in zip((1, 2, 64), room, strict=True):
        assert shared.most_sequences(shapes, ranks)[0] == left // (200 * KV_BYTES)


@pytest.fixture
def kept_speed(tmp_path, monkeypatch):
    """Keeps a speed of the processor that ``timeline``'s runs were made on; their model has Llama 2's shape."""
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(known, "model_shape", lambda name: LLAMA_2_7B)

    def keep(bytes_per_s, ranks=1, dtype="float32", threads=1):
        speed = DeviceSpeed("a processor", dtype, bytes_per_s, 1e18, "made up", ranks)
        kept.keep(f"a processor; {threads} threads; {dtype}; {ranks} ranks on 1 devices; torch 2", speed)

    return keep


def test_a_measured_machine_is_bound_by_the_speed_and_the_memory_that_are_kept_of_it(kept_speed):
    for speed in ({"bytes_per_s": 1e12}, {"bytes_per_s": 2e12, "threads": 2}, {"bytes_per_s": 9e12, "ranks": 2}):
        kept_speed(**speed)
    kept_speed(5e12, dtype="bfloat16")
    hardware, said = known_hardware(varied_runs((1, 2)))
    assert said == ""
    assert {speed.ranks: speed.bytes_per_s for speed in hardware.speeds} == {1: 2e12, 2: 9e12}
    assert (hardware.memory_bytes, hardware.ranks_a_machine) == (8_000_000_000, 2)


def test_a_speed_that_a_run_beat_is_no_limit(kept_speed):
    kept_speed(1e9)
    hardware, said = known_hardware(varied_runs())
    assert hardware.speeds == ()
    assert "so it is no limit" in said


def test_without_a_speed_or_on_a_gpu_nothing_is_made_up(kept_speed, monkeypatch):
    kept_speed(1e12)
    runs = varied_runs()
    on_gpu = [replace(run, ranks=[replace(rank, device="cuda:0") for rank in run.ranks]) for run in runs]
    hardware, _ = known_hardware(on_gpu)
    assert (hardware.speeds, hardware.memory_bytes) == ((), None)

    def unknown(name):
        raise ModelError("model is not on this machine yet.")

    monkeypatch.setattr(known, "model_shape", unknown)
    hardware, said = known_hardware(runs)
    assert hardware is None
    assert said == "The model's shape is not known: model is not on this machine yet."


def test_a_measured_machine_is_simulated_no_faster_than_its_speed_allows(kept_speed):
    kept_speed(1e12)
    made = timeline([8] * 32, [10] * 32, 1, batch_size=4)
    hardware, _ = known_hardware([made])
    slow = replace(hardware, memory_bytes=None, speeds=(replace(hardware.speeds[0], bytes_per_s=1e9),))
    limited = simulate(replace(MODEL, hardware=slow), Workload.of(made), article(batch_size=4), 1)
    limit = decode_limit(LLAMA_2_7B, slow.speeds[0], "float32", 4, 8)
    assert limited.tokens_per_second < limit.tokens_per_second < made.tokens_per_second
    assert limited.mean_tpot_s >= limit.seconds
