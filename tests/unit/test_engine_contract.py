"""What every engine owes its user, whatever computes: the model's own text for each prompt, and news of it.

The reference is ``simple``, which calls transformers' ``generate`` with one prompt at a time.
"""

from __future__ import annotations

import functools
import importlib.metadata
import itertools

import pytest
import torch
from engine_runs import PROMPTS, Watch, ending_early, generate, outputs

from nbkit import models
from nbkit.engines import BatchDone, Request, make_engine
from nbkit.prompts import first_lines
from nbkit.records.engine_spec import ENGINES
from nbkit.records.settings import Settings
from nbkit.records.time_histogram import RELATIVE_ERROR

pytestmark = pytest.mark.model

OWN = [name for name, spec in ENGINES.items() if not spec.loads_itself]

# vLLM's kernels take no heads as small as those of the tiny model: test_vllm_pool holds it to the real one.
HERE = [name for name in ENGINES if name != "vllm"]


@pytest.fixture(params=HERE)
def engine(request):
    spec = ENGINES[request.param]
    # Not importorskip: importing OpenVINO reports to its makers, which the pool prevents.
    if spec.packages and not any(map(is_installed, spec.packages)):
        pytest.skip(f"{spec.name} is not installed")
    return spec.name


def is_installed(package):
    try:
        return bool(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return False


@pytest.fixture(scope="module")
def early(tiny):
    return ending_early(tiny)


@pytest.fixture(scope="module")
def simple(tiny, early):
    """Outputs of ``simple``, computed once for whatever is asked."""

    @functools.cache
    def computed(is_early, settings):
        return outputs(generate(early if is_early else tiny, PROMPTS, engine="simple", **dict(settings)))

    return lambda loaded, **settings: computed(loaded is early, tuple(settings.items()))


def test_simple_is_transformers_own_generate(tiny, simple):
    found = simple(tiny, max_new_tokens=12, ignore_eos=True)
    for output, text in zip(found, PROMPTS, strict=True):
        ids = torch.tensor([tiny.tokenizer(text).input_ids])
        with torch.inference_mode():
            plain = tiny.model.generate(ids, do_sample=False, max_new_tokens=12, eos_token_id=None, pad_token_id=2)
        assert output.text == tiny.tokenizer.decode(plain[0, ids.shape[1] :], skip_special_tokens=True)


@pytest.mark.parametrize(
    ("batch_size", "ignore_eos", "pad_to_multiple_of"), [(1, True, 8), (2, False, 1), (5, True, 1), (100, False, 8)]
)
def test_the_text_is_the_same_token_for_token(early, simple, engine, batch_size, ignore_eos, pad_to_multiple_of):
    asked = {"max_new_tokens": 12, "ignore_eos": ignore_eos}
    expected = simple(early, **asked)
    schedule = {"batch_size": batch_size, "pad_to_multiple_of": pad_to_multiple_of}
    assert outputs(generate(early, PROMPTS, engine=engine, **schedule, **asked)) == expected


def test_the_real_model_too_gives_the_same_text():
    loaded = models.load("smollm2-135m", "float32")
    prompts, asked = first_lines(4), {"max_new_tokens": 6}
    expected = outputs(generate(loaded, prompts, engine="simple", **asked))
    assert all(output.text.strip() for output in expected)
    for own, batch_size in (("batched", 4), ("compiled", 3)):
        assert outputs(generate(loaded, prompts, engine=own, batch_size=batch_size, **asked)) == expected, own


def test_sequences_join_in_flight_and_wait_for_their_batch_else(early, engine):
    # One that lasts and two that end soon, three times.
    prompts = [PROMPTS[number] for number in (0, 5, 8, 1, 5, 8, 2, 5, 8)]
    yielded = generate(early, prompts, engine=engine, batch_size=3, max_new_tokens=30)
    new = [output.new_tokens for output in outputs(yielded)]
    assert new == [30, 1, 1] * 3
    size = 3 if ENGINES[engine].batches else 1
    longest = [max(new[begin : begin + size]) for begin in range(0, len(new), size)]
    if ENGINES[engine].in_flight:
        assert sum(each.record.decode_steps for each in yielded) < sum(longest) / 2
    else:
        assert [len(each.outputs) for each in yielded] == [size] * (len(prompts) // size)
        assert [each.record.steps for each in yielded] == longest


def test_records_are_of_their_outputs(tiny, engine):
    spec = ENGINES[engine]
    lengths = [len(tiny.tokenizer(prompt).input_ids) for prompt in PROMPTS]
    yielded = generate(tiny, PROMPTS, engine=engine, batch_size=4, max_new_tokens=5, ignore_eos=True)
    for each in yielded:
        record = each.record
        assert record.indices == tuple(output.index for output in each.outputs)
        assert record.prompt_tokens == sum(lengths[index] for index in record.indices)
        assert record.new_tokens == sum(output.new_tokens for output in each.outputs) <= record.computed_tokens
        assert record.begin_s < record.end_s and record.peak_memory_bytes > 0
    assert (sum(each.record.padding_tokens for each in yielded) > 0) == spec.pads


def test_every_output_has_the_times_of_its_own_tokens_and_of_no_other(early, simple, engine):
    stop = (simple(early, max_new_tokens=12, ignore_eos=True)[3].text[5:7],)
    yielded = generate(early, PROMPTS, engine=engine, batch_size=4, max_new_tokens=12, stop=stop)
    found = outputs(yielded)
    assert len({output.new_tokens for output in found}) > 2  # some end early, at a token or at a string
    for output in found:
        times = output.times
        assert 0 < times.taken_s < times.first_token_s <= times.end_s
        assert times.inter_token.count == output.new_tokens - 1
        # Each step's clock ticks, so that no two tokens of a sequence come at once.
        between_s = times.end_s - times.first_token_s
        told_s = sum(count * middle for middle, count in zip(*middles(times.inter_token), strict=True))
        assert between_s >= output.new_tokens - 1 and told_s == pytest.approx(between_s, rel=RELATIVE_ERROR)
    for each in yielded:
        assert all(output.times.end_s < each.record.end_s for output in each.outputs)
        if not ENGINES[engine].in_flight:
            assert all(output.times.taken_s <= each.record.begin_s for output in each.outputs)
            assert len({(output.times.taken_s, output.times.first_token_s) for output in each.outputs}) == 1


def middles(histogram):
    """The middle of each bucket, and what it counts."""
    return [middle for middle, _ in histogram.steps()], [count for _, count in histogram.buckets]


def test_a_request_keeps_its_index_in_whatever_order_it_comes(tiny, simple, engine):
    asked = Settings(engine=engine, batch_size=2, max_new_tokens=6, ignore_eos=True)
    expected = [output.text for output in simple(tiny, max_new_tokens=6, ignore_eos=True)]
    requests = [Request(1000 - 7 * number, prompt) for number, prompt in enumerate(PROMPTS)]
    batches = [[requests[number] for number in numbers] for numbers in ((6, 1), (8,), (3, 0), (7, 2), (4, 5))]
    made = make_engine(asked, tiny, asked.prompts_a_batch)
    done = outputs(list(made.generate(batches, Watch())))
    assert {output.index: output.text for output in done} == {
        request.index: text for request, text in zip(requests, expected, strict=True)
    }


def test_cancelled_it_ends_within_a_token_and_hands_on_what_has_finished(tiny, simple, engine):
    asked = {"max_new_tokens": 10, "ignore_eos": True}
    for stop_after, finishes in ((0, False), (1, False), (7, False), (15, True)):
        watch = Watch(stop_after)
        cut = outputs(generate(tiny, PROMPTS, watch, engine=engine, batch_size=3, **asked))
        assert watch.steps == stop_after
        whole = {output.index: output for output in simple(tiny, **asked)}
        assert all(output == whole[output.index] for output in cut)
        assert bool(cut) == finishes


def test_it_ends_before_a_stop_string(tiny, simple, engine):
    asked = {"max_new_tokens": 30, "ignore_eos": True}
    whole = simple(tiny, **asked)
    stop = (whole[0].text[10:12], whole[3].text[5:7])
    ended = outputs(generate(tiny, PROMPTS, engine=engine, batch_size=4, stop=stop, **asked))
    assert ended == simple(tiny, stop=stop, **asked)
    for before, after in zip(whole, ended, strict=True):
        cuts = [before.text.find(each) for each in stop if each in before.text]
        assert after.text == (before.text[: min(cuts)] if cuts else before.text)
        assert after.finish_reason == ("stop" if cuts else "length")
    assert ended[0].new_tokens < 30


@pytest.mark.parametrize("drawing", [{}, {"top_k": 20}, {"top_p": 0.9}], ids=str)
def test_draws_depend_on_seed_and_index_alone(tiny, simple, engine, drawing):
    asked = {"max_new_tokens": 10, "ignore_eos": True, "temperature": 0.9, "seed": 3, **drawing}
    together = outputs(generate(tiny, PROMPTS, engine=engine, batch_size=9, **asked))
    expected = simple(tiny, **asked) if engine in OWN else together
    assert together == expected
    assert outputs(generate(tiny, PROMPTS, engine=engine, batch_size=4, **asked)) == expected
    if not drawing:
        other = outputs(generate(tiny, PROMPTS, engine=engine, batch_size=9, **{**asked, "seed": 40}))
        assert [output.text for output in other] != [output.text for output in expected]


def test_the_text_so_far_is_the_beginning_of_the_output(tiny, engine):
    watch = Watch()
    yielded = generate(tiny, PROMPTS[:5], watch, engine=engine, batch_size=5, max_new_tokens=8, ignore_eos=True)
    texts = {output.index: output.text for output in outputs(yielded)}
    for earlier, later in itertools.pairwise(watch.streamed):
        before = {streamed.index: streamed.text for streamed in earlier}
        assert all(streamed.text.startswith(before.get(streamed.index, "")) for streamed in later)
        assert all(texts[streamed.index].startswith(streamed.text) for streamed in later)
    side_by_side = 5 if ENGINES[engine].batches else 1
    assert max(len(streamed) for streamed in watch.streamed) == min(3, side_by_side)
    assert max(watch.tokens) == watch.tokens[-1] == 8 * side_by_side


def test_no_prompts_give_nothing(tiny, engine):
    assert [each for each in generate(tiny, [], engine=engine) if isinstance(each, BatchDone)] == []
