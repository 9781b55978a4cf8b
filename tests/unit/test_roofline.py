from __future__ import annotations

import dataclasses
import json
import math

import pytest
from example_runs import article, batch, outputs, rank_record, run
from hypothesis import given
from hypothesis import strategies as st

from nbkit.analysis.roofline import RTX_3090, decode_limit, of_run, prefill_limit, ridge_batch_size
from nbkit.errors import InputError, ModelError
from nbkit.measure.device_speed.speed import DeviceSpeed
from nbkit.models.model_arithmetic import LLAMA_2_7B, ModelShape
from nbkit.models.model_shape import model_shape
from nbkit.records.run import Run

SMOLLM2_CONFIG = {
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
SMOLLM2 = ModelShape.from_config(SMOLLM2_CONFIG)
CPU = DeviceSpeed("a processor", "float32", 17e9, 90e9, "made up", ranks=2)

SHAPES = st.sampled_from([LLAMA_2_7B, SMOLLM2])
SPEEDS = st.builds(
    DeviceSpeed,
    name=st.just("device"),
    dtype=st.just("bfloat16"),
    bytes_per_s=st.floats(1e9, 1e13),
    flops_per_s=st.floats(1e9, 1e16),
    source=st.just("made up"),
)
BATCH_SIZES = st.floats(1, 4096)
CONTEXTS = st.floats(1, 100_000)


def test_parameters_are_those_of_the_models():
    assert LLAMA_2_7B.parameters == 6_738_415_616
    assert SMOLLM2.parameters == 134_515_008


def test_a_tied_table_is_read_as_output_head_and_an_untied_input_is_not_read():
    assert SMOLLM2.weight_bytes("float32") == 4 * SMOLLM2.parameters
    assert LLAMA_2_7B.weight_bytes("bfloat16") == 2 * (LLAMA_2_7B.parameters - 32000 * 4096)
    assert LLAMA_2_7B.matmul_parameters == LLAMA_2_7B.parameters - 32000 * 4096 - 65 * 4096


def test_cache_and_operations_of_a_position():
    assert LLAMA_2_7B.kv_bytes_per_position("bfloat16") == 524_288
    assert SMOLLM2.kv_bytes_per_position("float32") == 2 * 30 * 3 * 64 * 4
    more = SMOLLM2.flops_per_token(101) - SMOLLM2.flops_per_token(100)
    assert more == 4 * 30 * 576
    assert SMOLLM2.flops_per_token(0) == 2 * SMOLLM2.matmul_parameters


def test_what_an_older_config_leaves_out():
    config = {key: SMOLLM2_CONFIG[key] for key in SMOLLM2_CONFIG if key not in ("num_key_value_heads",)}
    shape = ModelShape.from_config({**config, "tie_word_embeddings": None, "head_dim": None})
    assert (shape.kv_heads, shape.head_dim, shape.is_tied) == (9, 64, False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"intermediate_size": None}, "no intermediate_size"),
        ({"num_hidden_layers": "30"}, "num_hidden_layers .* not '30'"),
        ({"num_attention_heads": 0}, "num_attention_heads .* not 0"),
        ({"vocab_size": True}, "vocab_size .* not True"),
        ({"num_local_experts": 8}, "mixture of experts"),
    ],
)
def test_other_configs_are_refused_with_the_key(changes, words):
    with pytest.raises(InputError, match=words):
        ModelShape.from_config(SMOLLM2_CONFIG | changes)


def test_a_dtype_without_size_is_refused():
    with pytest.raises(InputError, match="not 'auto'"):
        LLAMA_2_7B.weight_bytes("auto")


@pytest.mark.parametrize("context", [1, 60, 120])
def test_the_article_at_batch_size_1_reaches_62_to_65_percent_of_the_bandwidth_limit(context):
    limit = decode_limit(LLAMA_2_7B, RTX_3090, "bfloat16", 1, context)
    assert limit.bound == "memory"
    assert limit.intensity == pytest.approx(1, rel=0.01)
    assert 0.62 < 44 / limit.tokens_per_second < 0.65


@given(SHAPES, SPEEDS, BATCH_SIZES, BATCH_SIZES, CONTEXTS)
def test_the_limit_rises_with_the_batch_size_under_both_roofs(shape, speed, one, other, context):
    smaller, larger = (decode_limit(shape, speed, "bfloat16", size, context) for size in sorted((one, other)))
    assert smaller.tokens_per_second <= larger.tokens_per_second * (1 + 1e-12)
    for limit in (smaller, larger):
        roof = speed.flops_per_s / shape.flops_per_token(context)
        assert limit.tokens_per_second <= roof * (1 + 1e-12)
        assert limit.tokens_per_second * limit.bytes_moved <= speed.bytes_per_s * limit.tokens * (1 + 1e-12)
        assert (limit.bound == "arithmetic") == (limit.arithmetic_s > limit.memory_s)


@given(SHAPES, SPEEDS, BATCH_SIZES, CONTEXTS, CONTEXTS)
def test_a_longer_context_never_raises_the_limit(shape, speed, batch_size, one, other):
    shorter, longer = (decode_limit(shape, speed, "bfloat16", batch_size, each) for each in sorted((one, other)))
    assert longer.tokens_per_second <= shorter.tokens_per_second * (1 + 1e-12)


@given(SHAPES, SPEEDS, CONTEXTS)
def test_both_take_equally_long_at_the_ridge(shape, speed, context):
    ridge = ridge_batch_size(shape, speed, "bfloat16", context)
    if math.isinf(ridge):
        assert decode_limit(shape, speed, "bfloat16", 1e9, context).bound == "memory"
    else:
        assert decode_limit(shape, speed, "bfloat16", ridge * 1.001, context).bound == "arithmetic"
        assert decode_limit(shape, speed, "bfloat16", ridge * 0.999, context).bound == "memory"


@given(SHAPES, SPEEDS, st.integers(1, 64), st.integers(1, 200))
def test_a_prefill_does_the_operations_of_its_positions_one_by_one(shape, speed, batch_size, positions):
    limit = prefill_limit(shape, speed, "bfloat16", batch_size, positions)
    one_by_one = batch_size * sum(shape.flops_per_token(context) for context in range(1, positions + 1))
    heads_left_out = 2 * batch_size * (positions - 1) * shape.vocab_size * shape.hidden_size
    assert limit.flops == pytest.approx(one_by_one - heads_left_out)
    assert limit.tokens == batch_size * positions
    assert limit.seconds == max(limit.memory_s, limit.arithmetic_s)


@pytest.mark.parametrize(("batch_size", "context"), [(0, 10), (-1, 10), (1, 0), (math.nan, 1), (1, math.inf)])
def test_limits_of_no_work_are_refused(batch_size, context):
    for limit in (decode_limit, prefill_limit):
        with pytest.raises(InputError, match="must be above 0"):
            limit(SMOLLM2, CPU, "float32", batch_size, context)


def assembled(*batches) -> Run:
    """A run of float32 on two ranks."""
    prompts = sum(len(each.indices) for each in batches)
    finished = [(each, outputs(each.indices)) for each in batches]
    ranks = [rank_record(rank, 2, prompts) for rank in range(2)]
    return Run.assemble(article(), ["prompt"] * prompts, finished, ranks, 2, {})


def test_a_run_counts_computed_tokens_after_each_sequences_first():
    # Each batch of the example: 10 steps in which 8 positions a prompt were there, 0.9 s of decoding.
    reached = of_run(assembled(batch(0, (0, 1)), batch(1, (2, 3)), batch(1, (4, 5), 3.0)), SMOLLM2, CPU)
    assert (reached.ranks, reached.dtype) == (2, "float32")
    assert reached.batch_size == 2
    assert reached.context == 8 + 5
    assert reached.tokens_per_second == pytest.approx(2 * 2 * 9 / 0.9)
    assert reached.limit == decode_limit(SMOLLM2, CPU, "float32", 2, 13)
    assert reached.limit_tokens_per_second == pytest.approx(2 * reached.limit.tokens_per_second)
    assert reached.fraction == pytest.approx(reached.tokens_per_second / reached.limit_tokens_per_second)


def test_batches_of_one_step_and_ranks_without_decoding_are_left_out():
    one_step = dataclasses.replace(batch(1, (2, 3)), computed_tokens=2, new_tokens=2, decode_s=0.0001)
    both, alone = (
        of_run(assembled(*each), SMOLLM2, CPU) for each in ((batch(0, (0, 1)), one_step), (batch(0, (0, 1)),))
    )
    assert both == alone
    assert both.ranks == 1
    with pytest.raises(InputError, match="no decoding"):
        of_run(assembled(one_step), SMOLLM2, CPU)


@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(1, 20), st.integers(1, 30), st.floats(1, 3)), min_size=1, max_size=8
    )
)
def test_ranks_that_keep_to_every_steps_limit_keep_to_the_runs(drawn):
    made = []
    for rank, size, steps, slower in drawn:
        first = sum(len(each.indices) for each in made)
        limits = (decode_limit(SMOLLM2, CPU, "float32", size, 8 + step) for step in range(1, steps))
        decode_s = slower * sum(limit.seconds for limit in limits)
        indices = tuple(range(first, first + size))
        computed = {"computed_tokens": size * steps, "new_tokens": size, "decode_s": decode_s}
        made.append(dataclasses.replace(batch(rank, indices), **computed))
    if any(each.steps > 1 for each in made):
        reached = of_run(assembled(*made), SMOLLM2, CPU)
        assert 1 / 3 * 0.5 < reached.fraction <= 1 + 1e-9


def test_a_speed_of_another_dtype_is_refused():
    with pytest.raises(InputError, match="computed in float32 and the speed is of bfloat16"):
        of_run(run(), SMOLLM2, RTX_3090)


def test_a_run_that_was_stopped_before_it_told_its_dtype_takes_the_speeds():
    stopped = dataclasses.replace(run(), ranks=[])
    assert of_run(stopped, SMOLLM2, CPU).dtype == "float32"


def test_the_shape_of_a_model_on_this_machine(tiny):
    shape = model_shape("tiny-random")
    assert shape.parameters == sum(each.numel() for each in tiny.model.parameters())


def folder_of(tmp_path, config: str) -> str:
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").touch()
    return str(tmp_path)


def test_models_without_a_shape_are_refused(tmp_path):
    with pytest.raises(ModelError, match="not on this machine yet"):
        model_shape("nobody/has-this-model")
    with pytest.raises(ModelError, match="no JSON"):
        model_shape(folder_of(tmp_path, "{"))
    with pytest.raises(ModelError, match="holds a list"):
        model_shape(folder_of(tmp_path, "[]"))
    with pytest.raises(InputError, match="has no num_attention_heads"):
        model_shape(folder_of(tmp_path, "{}"))


def test_weights_that_are_not_the_configs_are_refused(tmp_path):
    import torch
    from safetensors.torch import save_file

    name = folder_of(tmp_path, json.dumps(SMOLLM2_CONFIG))
    assert model_shape(name) == SMOLLM2  # the weights cannot be read: the loader's business
    save_file({"weight": torch.zeros(10)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="hold 10 numbers"):
        model_shape(name)
