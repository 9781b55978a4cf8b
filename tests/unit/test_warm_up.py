"""Warm-up: what is paid once is paid before the run, once, and for every shape that the run meets."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from engine_runs import PROMPTS, Watch, ending_early, generate, outputs
from example_runs import article
from slow_shapes import SlowShapes

from nbkit.engines import Request, make_engine
from nbkit.engines.warm_up import Preparation, lengths_of_some, shapes_cost, warm_up
from nbkit.errors import InputError
from nbkit.records import OutOfMemory


def never():
    return False


@dataclasses.dataclass
class Prepared:
    """Stands in for a loaded model: what is known is kept with it."""

    prepared: dict = dataclasses.field(default_factory=dict)


def test_what_is_known_is_not_done_again_and_what_an_engine_knows_itself_is_left_to_it():
    done, loaded = [], Prepared()
    asked = [Preparation(key, "batches of 4", lambda key=key: done.append(key)) for key in ("a", "b", None)]
    assert list(warm_up(asked, loaded, never)) == []
    assert list(warm_up([*asked, Preparation("c", "", lambda: done.append("c"))], loaded, never)) == []
    assert done == ["a", "b", None, None, "c"]


def test_a_long_warm_up_is_announced_once_with_its_seconds(monkeypatch):
    asked = [Preparation(key, "batches of 40", lambda: None) for key in range(4)]
    for seconds, told in (
        ([0, 1, 2, 3, 4], "about 4 s"),
        ([0, 3, 4, 5, 6], "more than 3 s"),
        ([0, 0.1, 0.2, 0.3, 0.4], None),
    ):
        clock = iter(seconds)
        monkeypatch.setattr("nbkit.engines.warm_up.time.monotonic", lambda clock=clock: next(clock))
        assert list(warm_up(asked, Prepared(), never)) == ([f"preparing batches of 40: once, {told}"] if told else [])


def test_a_cancel_ends_it_and_so_does_want_of_memory_but_no_other_error():
    done = []

    def too_large():
        raise torch.OutOfMemoryError("CUDA out of memory")

    first = Preparation("a", "", lambda: done.append("a"))
    last = Preparation("z", "", lambda: done.append("z"))
    assert list(warm_up([first, last], Prepared(), lambda: bool(done))) == []
    assert list(warm_up([Preparation("b", "", too_large), last], Prepared(), never)) == []
    assert done == ["a"]
    with pytest.raises(ZeroDivisionError):
        list(warm_up([Preparation("c", "", lambda: 1 / 0)], Prepared(), never))


def test_of_many_prompts_some_lengths_stand_for_all_and_the_longest_is_among_them(tiny, monkeypatch):
    prompts = ["a" * (1 + index % 7) for index in range(3000)]
    prompts[1001] = "a" * 50
    assert lengths_of_some(prompts, tiny, article()) == [8]
    monkeypatch.setattr("nbkit.engines.warm_up.shapes_cost", lambda device: True)
    lengths = lengths_of_some(prompts, tiny, article())
    assert len(lengths) <= 1001
    assert max(lengths) == len(tiny.tokenizer(prompts[1001]).input_ids)
    assert lengths_of_some(prompts[:5], tiny, article()) == [
        len(ids) for ids in tiny.tokenizer(prompts[:5]).input_ids
    ]
    assert not shapes_cost(torch.device("cpu"))


ENGINES = [
    {"engine": "simple"},
    {"engine": "batched", "batch_size": 4},
    {"engine": "batched", "batch_size": 4, "order": "by_length", "pad_to_multiple_of": 1},
    {"engine": "compiled", "batch_size": 1},
    {"engine": "compiled", "batch_size": 4},
    {"engine": "compiled", "batch_size": 100},
]


@pytest.mark.parametrize("settings", ENGINES, ids=lambda settings: " ".join(map(str, settings.values())))
@pytest.mark.parametrize("ignore_eos", [True, False])
def test_a_run_meets_no_shape_that_was_not_prepared(tiny, monkeypatch, settings, ignore_eos):
    loaded = ending_early(tiny)
    expected = outputs(generate(loaded, PROMPTS, engine="simple", max_new_tokens=70, ignore_eos=ignore_eos))
    shapes = SlowShapes(monkeypatch)
    asked = article(**settings, max_new_tokens=70, ignore_eos=ignore_eos)
    size = asked.prompts_a_batch
    lengths = [len(ids) for ids in tiny.tokenizer(PROMPTS).input_ids]
    order = sorted(range(len(PROMPTS)), key=lambda i: -lengths[i] if asked.order == "by_length" else i)
    batches = [order[i : i + size] for i in range(0, len(order), size)]

    preparations = make_engine(asked, loaded, size).preparations([[lengths[i] for i in batch] for batch in batches])
    list(warm_up(preparations, loaded, never))  # on a slow machine it says so
    prepared = list(shapes.new)
    assert prepared
    engine = make_engine(asked, loaded, size)
    one_by_one = [[index] for index in order] if asked.is_in_flight else batches
    requests = ([Request(index, PROMPTS[index]) for index in batch] for batch in one_by_one)
    assert outputs(list(engine.generate(requests, Watch()))) == expected
    assert shapes.new == prepared, "the run met shapes of its own"

    again = make_engine(asked, loaded, size).preparations([[lengths[i] for i in batch] for batch in batches])
    known = loaded.prepared["shapes this process has met"]
    assert [each for each in again if each.key is None or each.key not in known] == []


@pytest.mark.parametrize("engine", ["simple", "batched", "compiled", "continuous"])
def test_on_a_cpu_a_warm_up_is_short_and_changes_no_text(tiny, engine):
    loaded = dataclasses.replace(tiny, prepared={})
    asked = {"engine": engine, "batch_size": 4, "max_new_tokens": 9, "temperature": 0.8, "seed": 3}
    expected = outputs(generate(loaded, PROMPTS, **asked))
    [preparation] = make_engine(article(**asked), loaded, 4).preparations([[8]])
    preparation.run()
    assert outputs(generate(loaded, PROMPTS, **asked)) == expected


def test_decoders_are_kept_with_their_graphs_and_a_larger_batch_takes_a_new_one(tiny, monkeypatch):
    SlowShapes(monkeypatch)
    loaded = dataclasses.replace(tiny, prepared={})
    asked = {"engine": "compiled", "max_new_tokens": 5}
    generate(loaded, PROMPTS, batch_size=4, **asked)
    [kept] = loaded.spare.values()
    assert kept.bytes == loaded.spare_bytes > 0
    generate(loaded, PROMPTS, batch_size=2, **asked)
    assert list(loaded.spare.values()) == [kept]
    generate(loaded, PROMPTS, batch_size=8, **asked)
    [larger] = loaded.spare.values()
    assert larger is not kept and larger.slots == 8


def test_what_is_kept_is_given_up_first_when_memory_is_short(tiny, monkeypatch):
    """A batch that only fits after what an earlier run has left went."""
    SlowShapes(monkeypatch)
    loaded = dataclasses.replace(tiny, prepared={})
    expected = outputs(generate(loaded, PROMPTS, engine="simple", max_new_tokens=5))
    for engine in ("compiled", "batched"):
        generate(loaded, PROMPTS, engine="compiled", batch_size=8, max_new_tokens=5)
        assert loaded.spare_bytes
        yielded = short_of_memory(loaded, engine, monkeypatch)
        assert outputs(yielded) == expected
        assert not any(isinstance(each, OutOfMemory) for each in yielded), "no batch was made smaller"


def short_of_memory(loaded, engine, monkeypatch):
    """What an engine yields where nothing can be computed while anything is kept from before."""
    from transformers.models.llama.modeling_llama import LlamaModel

    kept = list(loaded.spare.values())
    forward = LlamaModel.forward

    def short(model, **inputs):
        if any(each in loaded.spare.values() for each in kept):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(model, **inputs)

    with monkeypatch.context() as patched:
        patched.setattr(LlamaModel, "forward", short)
        return generate(loaded, PROMPTS, engine=engine, batch_size=8, max_new_tokens=5)


def test_a_prompt_that_fits_not_even_alone_is_named_when_nothing_is_left_to_give_up(tiny, monkeypatch):
    from transformers.models.llama.modeling_llama import LlamaModel

    SlowShapes(monkeypatch)
    loaded = dataclasses.replace(tiny, prepared={})
    generate(loaded, PROMPTS, engine="compiled", batch_size=4, max_new_tokens=5)

    def never_fits(model, **inputs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(LlamaModel, "forward", never_fits)
    for engine in ("compiled", "batched"):
        with pytest.raises(InputError, match="does not fit into the memory of cpu even alone"):
            generate(loaded, PROMPTS[:1], engine=engine, batch_size=4, max_new_tokens=5)
