"""The driver of sequence pools: on a pool of pretence for its logic, on the compiled one for real text."""

from __future__ import annotations

import dataclasses
import itertools
import pickle

import pytest
import torch
from engine_runs import PROMPTS, Watch, ending_early, generate, outputs
from example_runs import article
from hypothesis import given, settings
from hypothesis import strategies as st

from nbkit.engines import BatchDone, Request
from nbkit.engines.in_flight import InFlightEngine
from nbkit.engines.sequence_pool import Finished, Step
from nbkit.errors import InputError, PromptError
from nbkit.inference import schedule
from nbkit.records import OutOfMemory

COMPILED = {"engine": "compiled"}


class PretendPool:
    """Each prompt ends after so many tokens as its text has words; memory holds ``most`` sequences."""

    joins_cheaply = False
    cache_positions = 0

    def __init__(self, capacity, lengths, most=1000):
        self.capacity = capacity
        self.lengths = lengths
        self.most = most
        self.sequences = {}
        self.joined = []
        self.side_by_side = []

    @property
    def new_tokens(self):
        return sum(map(len, self.sequences.values()))

    def add(self, index, tokens):
        assert index not in self.sequences
        self.sequences[index] = []
        self.joined.append(index)

    def step(self):
        if len(self.sequences) > self.most:
            raise MemoryError("no room")
        self.side_by_side.append(len(self.sequences))
        new = list(self.sequences)
        for tokens in self.sequences.values():
            tokens.append(7)
        done = [i for i, tokens in self.sequences.items() if len(tokens) == self.lengths[i]]
        return Step([Finished(i, self.sequences.pop(i), "stop") for i in done], new)

    def under_way(self, most):
        return list(self.sequences.items())[:most]

    def preparations(self, lengths):
        return []

    def abort(self):
        self.sequences.clear()

    def give_up_memory(self):
        """It holds none."""


def fly(tiny, lengths, capacity, pieces, watch=None, most=1000, **settings):
    pool = PretendPool(capacity, lengths, most)
    engine = InFlightEngine(article(**{"engine": "compiled", "max_new_tokens": 50, **settings}), tiny, pool)
    batches = [[Request(int(index), f"prompt {index}") for index in piece] for piece in pieces]
    return list(engine.generate(batches, watch or Watch())), pool


lengths = st.lists(st.integers(1, 12), min_size=1, max_size=60)


@settings(max_examples=50)
@given(lengths, st.integers(1, 20), st.integers(1, 9), st.integers(1, 12))
def test_every_prompt_ends_once_whatever_capacity_pieces_and_memory(tiny, ends, capacity, size, most):
    pieces = schedule.batches(range(len(ends)), size)
    yielded, pool = fly(tiny, ends, capacity, pieces, most=most)
    assert [output.index for output in outputs(yielded)] == list(range(len(ends)))
    assert [output.new_tokens for output in outputs(yielded)] == ends
    assert max(pool.side_by_side) <= min(capacity, most)
    refused = [each for each in yielded if isinstance(each, OutOfMemory)]
    assert all(1 <= each.then < each.sequences for each in refused)
    assert pool.sequences == {}


@settings(max_examples=50)
@given(lengths, st.integers(1, 20))
def test_records_cover_the_time_without_overlap(tiny, ends, capacity):
    yielded, _ = fly(tiny, ends, capacity, [range(len(ends))])
    records = [each.record for each in yielded]
    for earlier, later in itertools.pairwise(records):
        assert earlier.end_s <= later.begin_s
    for record in records:
        parts = record.tokenize_s + record.prefill_s + record.decode_s + record.detokenize_s + record.compile_s
        assert 0 < parts <= record.end_s - record.begin_s
        assert record.first_token_s > 0
    assert sum(record.computed_tokens for record in records) == sum(ends)


@settings(max_examples=30)
@given(lengths, st.integers(1, 20), st.integers(1, 12))
def test_times_are_of_the_first_taking_and_of_the_last_try(tiny, ends, capacity, most):
    yielded, _ = fly(tiny, ends, capacity, [range(len(ends))], most=most)
    found = outputs(yielded)
    refused = [each.at_s for each in yielded if isinstance(each, OutOfMemory)]
    # All are drawn at once, before anything is tried.
    assert len({output.times.taken_s for output in found}) == 1
    for output in found:
        assert output.times.inter_token.count == output.new_tokens - 1
        assert output.times.taken_s < min([output.times.first_token_s, *refused])
        assert output.times.first_token_s > max(refused, default=0)
    ttft_s = sum(output.times.ttft_s for output in found)
    records = [each.record for each in yielded if isinstance(each, BatchDone)]
    assert ttft_s == pytest.approx(sum(record.first_token_s for record in records))


def test_a_token_budget_holds_sequence_by_sequence(tiny):
    room = len(tiny.tokenizer("prompt 0").input_ids) + 50
    _, pool = fly(tiny, [5] * 12, capacity=8, pieces=[range(12)], token_budget=3 * room)
    assert max(pool.side_by_side) == 3
    _, pool = fly(tiny, [5] * 3, capacity=8, pieces=[range(3)], token_budget=2)
    assert max(pool.side_by_side) == 1, "a prompt that exceeds the budget goes alone"


def test_pieces_are_drawn_only_when_there_is_room(tiny):
    pool = PretendPool(2, [3] * 6)
    engine = InFlightEngine(article(engine="compiled", max_new_tokens=50), tiny, pool)
    drawn = []

    def pieces():
        for index in range(6):
            drawn.append(index)
            yield [Request(index, "p")]

    going = engine.generate(pieces(), Watch())
    next(going)
    assert len(drawn) <= 4, "another rank could have taken the rest"
    going.close()
    assert pool.sequences == {}


def test_when_stopped_what_has_finished_is_handed_on(tiny):
    yielded, _ = fly(tiny, [2, 9, 9, 9], capacity=4, pieces=[range(4)], watch=Watch(stop_after=4))
    assert [output.index for output in outputs(yielded)] == [0]


def test_a_prompt_that_does_not_fit_alone_is_named(tiny):
    with pytest.raises(InputError, match=r"prompt 0 does not fit into the memory of cpu even alone: no room"):
        fly(tiny, [3], capacity=4, pieces=[range(1)], most=0)


def test_sequences_join_while_others_go_on(tiny):
    yielded, pool = fly(tiny, [8, 1, 1, 1, 1, 1, 1, 1, 1], capacity=2, pieces=[range(9)])
    assert pool.side_by_side == [2] * 8
    assert sum(each.record.decode_steps for each in yielded) == 8


def test_nothing_is_computed_after_an_end(tiny):
    yielded = generate(ending_early(tiny), PROMPTS, batch_size=3, max_new_tokens=40, **COMPILED)
    new = [output.new_tokens for output in outputs(yielded)]
    assert min(new) < max(new)
    assert sum(each.record.computed_tokens for each in yielded) == sum(new)


@pytest.mark.parametrize("window", [4, 9])
def test_a_sliding_window_is_kept(tiny, window):

    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=tiny.config.vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=window,
    )
    model = MistralForCausalLM(config).eval()
    loaded = dataclasses.replace(tiny, model=model, config=config, prepared={})
    asked = {"max_new_tokens": 12, "ignore_eos": True}
    simple = generate(loaded, PROMPTS, engine="simple", **asked)
    assert outputs(generate(loaded, PROMPTS, batch_size=4, **COMPILED, **asked)) == outputs(simple)


def test_layers_of_two_kinds_are_told_apart(tiny):

    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=tiny.config.vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        use_sliding_window=True,
        sliding_window=5,
        max_window_layers=2,
    )
    assert set(config.layer_types) == {"full_attention", "sliding_attention"}
    loaded = dataclasses.replace(tiny, model=Qwen2ForCausalLM(config).eval(), config=config, prepared={})
    asked = {"max_new_tokens": 12, "ignore_eos": True}
    simple = generate(loaded, PROMPTS, engine="simple", **asked)
    assert outputs(generate(loaded, PROMPTS, batch_size=4, **COMPILED, **asked)) == outputs(simple)


def test_a_model_with_other_layers_is_refused(tiny):

    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, state_size=4)
    loaded = dataclasses.replace(tiny, model=MambaForCausalLM(config), config=config, prepared={})
    with pytest.raises(InputError, match="MambaForCausalLM has layers of linear_attention"):
        generate(loaded, PROMPTS, **COMPILED)


def test_prompts_of_one_token_need_no_prefill(tiny):
    simple = generate(tiny, ["a", "b"], engine="simple", max_new_tokens=5, ignore_eos=True)
    assert outputs(generate(tiny, ["a", "b"], max_new_tokens=5, ignore_eos=True, **COMPILED)) == outputs(simple)


def test_cuts_what_a_longer_prompt_needs_into_the_cache(tiny):
    prompts = ["a short one", *PROMPTS, "x" * 200]
    asked = {"max_new_tokens": 6, "ignore_eos": True}
    simple = generate(tiny, prompts, engine="simple", **asked)
    assert outputs(generate(tiny, prompts, batch_size=2, **COMPILED, **asked)) == outputs(simple)
    assert isinstance(generate(tiny, prompts, batch_size=2, **COMPILED, **asked)[0], BatchDone)


@pytest.mark.parametrize("empty_every", [1, 2, 3])
def test_where_there_are_no_prompts_yet_those_under_way_go_on(tiny, empty_every):
    lengths = [3, 9, 1, 4, 6, 2]
    pieces = [piece for index in range(6) for piece in [*[[]] * empty_every, [index]]]
    yielded, pool = fly(tiny, lengths, 4, [*pieces, []])
    assert [output.index for output in outputs(yielded)] == list(range(6))
    assert pool.joined == list(range(6))
    assert min(pool.side_by_side) == 1


def test_an_error_of_one_prompt_says_which_wherever_it_is_made_again(tiny):
    with pytest.raises(PromptError) as caught:
        fly(tiny, [5, 5, 5], 4, [[0, 1, 2]], most=0)
    assert caught.value.index == 0
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.index) == (str(caught.value), 0)
