"""What another version of a library lacks is said in a sentence, and a run goes on without it where it can."""

from __future__ import annotations

import dataclasses
import pkgutil
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from nbkit.engines import compiled_layers, packed_linear, transformers_private, vllm_private
from nbkit.engines.selection import select
from nbkit.errors import InputError
from nbkit.models import private_names, torch_private
from nbkit.records.request import Request
from nbkit.records.settings import Settings


@pytest.fixture
def without(monkeypatch):
    """Take a name away from a library, as another version of it might."""
    found = pkgutil.resolve_name

    def take_away(name):
        def resolve(path):
            if path.endswith(name):
                raise AttributeError(name)
            return found(path)

        monkeypatch.setattr(private_names.pkgutil, "resolve_name", resolve)

    return take_away


@pytest.mark.parametrize(
    ("name", "needing", "remedy"),
    [
        ("_linear_pointwise", lambda: packed_linear.PackedLinear(torch.nn.Linear(4, 4)), "engine='batched'"),
        ("qlinear_pointwise", lambda: torch_private.pack_int8(torch.zeros(1)), "quantization='none'"),
        ("_weight_int4pack_mm_for_cpu", lambda: torch_private.pack_int4(torch.zeros(1), 1), "quantization='none'"),
        ("use_duck_shape", torch_private.check_compiler, "engine='batched'"),
    ],
)
def test_torch_without_an_operator_is_named_with_the_remedy(without, name, needing, remedy):
    without(name)
    with pytest.raises(InputError, match=rf"^torch 2\.\S* has no torch\.\S*{name}, with which nbkit") as said:
        needing()
    assert str(said.value).endswith(f"or take {remedy}.")


@pytest.mark.model
def test_a_run_goes_on_with_an_engine_that_can_do_without(tiny, without, monkeypatch, tmp_path):
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path))
    monkeypatch.setattr("nbkit.engines.slot_decoder.can_pack", lambda *_: True)
    without("_reorder_linear_weight")
    unprepared = dataclasses.replace(tiny, prepared={})
    selected = select(Settings(max_new_tokens=4), unprepared, [Request(0, "ab")])
    assert selected.index == 1
    assert "has no torch.ops.mkldnn._reorder_linear_weight" in selected.reasons[0]


def test_what_torch_no_longer_tells_is_not_taken_for_slow(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
    assert not torch_private.emulates("bfloat16")


def test_a_compiler_without_its_error_raises_as_it_does(monkeypatch):
    assert torch_private.compiler_errors()[0].__name__ == "TorchDynamoException"
    monkeypatch.setitem(sys.modules, "torch._dynamo.exc", None)
    assert torch_private.compiler_errors() == ()


def test_transformers_without_a_part_of_continuous_batching_is_named(without):
    manager = SimpleNamespace(
        output_router=SimpleNamespace(output_queue=None),
        logit_processor=None,
        cancel_request=None,
        _create_batch_processor=lambda: SimpleNamespace(warmup=None, prepare_next_batch=None),
    )
    with pytest.raises(InputError, match=r"has no types\.SimpleNamespace\._generation_step, with which nbkit drives"):
        transformers_private.batch_processor(manager)
    without("ContinuousBatchingLogitsProcessorList")
    with pytest.raises(InputError, match="or take engine='compiled'"):
        transformers_private.continuous_logits_processors()
    assert not transformers_private.takes_flash_attention(SimpleNamespace())
    with pytest.raises(InputError, match="knows which masks a model takes"):
        transformers_private.attention_of(SimpleNamespace(config=SimpleNamespace()))


@pytest.fixture
def vllm(monkeypatch):
    """As much of vLLM as is needed to start and end its engine."""
    modules = {name: ModuleType(name) for name in ("vllm", "vllm.distributed", "vllm.distributed.parallel_state")}
    modules |= {name: ModuleType(name) for name in ("vllm.v1", "vllm.v1.engine", "vllm.v1.engine.llm_engine")}
    for name, module in modules.items():
        module.__path__ = []
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    modules["vllm"].__version__ = "0.99"
    return modules


def test_vllm_without_what_ending_it_needs_is_named_before_it_starts(vllm):
    started = []
    engine = SimpleNamespace(from_vllm_config=lambda *_, **__: started.append(1))
    vllm["vllm.v1.engine.llm_engine"].LLMEngine = engine
    with pytest.raises(InputError, match=r"^vllm 0\.99 has no vllm\.distributed\.parallel_state\._groups"):
        vllm_private.start_engine(None)
    assert started == []


def test_vllm_groups_that_are_gone_are_no_error_and_the_ranks_group_is_hidden(vllm, monkeypatch):
    destroyed, ended = [], []

    def destroy(group):
        destroyed.append(group)
        if group == "gone":
            raise ValueError("no such group")

    monkeypatch.setattr(dist, "destroy_process_group", destroy)
    before = dist.GroupMember.WORLD
    groups = {"a": lambda: SimpleNamespace(device_group="gone", cpu_group="cpu"), "b": lambda: None}
    vllm["vllm.distributed.parallel_state"]._groups = groups
    core = SimpleNamespace(shutdown=lambda: ended.append(dist.GroupMember.WORLD))
    started = SimpleNamespace(engine_core=core)
    vllm["vllm.v1.engine.llm_engine"].LLMEngine = SimpleNamespace(from_vllm_config=lambda *_, **__: started)
    with vllm_private.no_default_group():
        vllm_private.end_engine(vllm_private.start_engine("config"))
    assert destroyed == ["gone", "cpu"]
    assert ended == [None] and dist.GroupMember.WORLD is before


def test_an_engine_that_vllm_cannot_start_leaves_no_groups(vllm, monkeypatch):
    destroyed = []
    monkeypatch.setattr(dist, "destroy_process_group", destroyed.append)
    groups = {"a": lambda: SimpleNamespace(device_group="gpu", cpu_group=None)}
    vllm["vllm.distributed.parallel_state"]._groups = groups

    def fail(*_, **__):
        raise RuntimeError("no room")

    vllm["vllm.v1.engine.llm_engine"].LLMEngine = SimpleNamespace(from_vllm_config=fail)
    with pytest.raises(RuntimeError, match="no room"):
        vllm_private.start_engine("config")
    assert destroyed == ["gpu"]


def test_the_shape_of_vllms_cache(vllm):
    model = SimpleNamespace(
        get_num_layers=lambda _: 3,
        get_num_kv_heads=lambda _: 2,
        get_head_size=lambda: 64,
        dtype=torch.bfloat16,
        max_model_len=512,
    )
    config = SimpleNamespace(model_config=model, parallel_config=None)
    assert vllm_private.kv_shape(config) == (3, 128, "bfloat16")
    del model.get_head_size
    with pytest.raises(InputError, match="get_head_size, with which nbkit finds the size of its KV cache"):
        vllm_private.kv_shape(config)


def test_a_model_is_not_copied_for_a_compiler_that_lacks_a_setting(without):
    without("recompile_limit")
    layers = torch.nn.ModuleList([torch.nn.Linear(2, 2)])
    model = SimpleNamespace(base_model=SimpleNamespace(layers=layers))
    with pytest.raises(InputError, match="recompile_limit"):
        compiled_layers.with_compiled_layers(model, "cache")
