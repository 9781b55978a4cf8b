from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from example_runs import article
from hypothesis import given
from hypothesis import strategies as st
from transformers import GenerationConfig

from nbkit.engines.sampling import Sampler

NO_RULES = SimpleNamespace(
    generation_config=GenerationConfig(),
    eos_token_ids=(),
    config=SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=30)),
)


def sampler(**settings):
    return Sampler(article(**{"temperature": 1.0, "max_new_tokens": 1000, **settings}), NO_RULES)


def rows(*places):
    """Sequences, by their prompts' places and how many tokens each has."""
    return [SimpleNamespace(index=index, prompt=[], tokens=range(count)) for index, count in places]


def draws(chooser, logits, count):
    """Token counts of ``count`` draws for one prompt."""
    chosen = chooser.choose(torch.tensor(logits).expand(count, -1), rows(*((0, i) for i in range(count))))
    return torch.bincount(chosen, minlength=len(logits)) / count


def test_greedy_takes_the_likeliest():
    logits = torch.tensor([[0.1, 3.0, 2.0], [5.0, 1.0, 2.0]])
    assert sampler(temperature=0.0).choose(logits, rows((0, 0), (1, 0))).tolist() == [1, 0]


@pytest.mark.parametrize("temperature", [5e-324, 1e-40, 1e-10])
@pytest.mark.parametrize("others", [{}, {"top_k": 2}, {"top_p": 0.5}])
def test_next_to_no_temperature_is_as_good_as_greedy(temperature, others):
    assert draws(sampler(temperature=temperature, **others), [0.1, 30.0, -40.0, 29.9], 20).tolist() == [0, 1, 0, 0]


def test_a_step_ahead_of_what_was_read_draws_what_the_next_step_would():
    logits = torch.zeros(1, 1000)
    ahead = sampler(seed=5).choose(logits, rows((2, 3)), ahead=1)
    assert torch.equal(ahead, sampler(seed=5).choose(logits, rows((2, 4))))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_their_probability_says(temperature):
    logits = [0.0, 1.0, 2.0, -3.0]
    expected = (torch.tensor(logits) / temperature).softmax(-1)
    assert torch.allclose(draws(sampler(temperature=temperature), logits, 1000), expected, atol=0.05)


def test_top_k_leaves_the_likeliest_only():
    found = draws(sampler(top_k=2), [0.0, 1.0, 2.0, -3.0], 500)
    assert found[0] == found[3] == 0
    assert torch.allclose(found[[1, 2]], torch.tensor([1.0, 2.0]).softmax(-1), atol=0.06)


def test_top_p_takes_tokens_until_their_sum_is_reached():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().tolist()
    found = draws(sampler(top_p=0.7), logits, 500)
    assert found[2] == found[3] == 0 < found[1]
    assert draws(sampler(top_p=0.4), logits, 50)[0] == 1
    assert (draws(sampler(top_p=1.0), logits, 900) > 0).all()


def test_a_nucleus_wider_than_the_quick_search_is_sorted_whole():
    flat = [0.0] * 5000
    found = sampler(top_p=0.99).choose(torch.tensor(flat).expand(400, -1), rows(*((0, i) for i in range(400))))
    assert found.unique().numel() > 300


@given(st.permutations(range(6)), st.integers(0, 2**40), st.sampled_from([{}, {"top_k": 5}, {"top_p": 0.8}]))
def test_a_draw_depends_on_seed_prompt_and_position_alone(order, seed, more):
    torch.manual_seed(0)
    logits = torch.randn(6, 30)
    alone = [int(sampler(seed=seed, **more).choose(logits[i : i + 1], rows((i, i)))[0]) for i in range(6)]
    together = sampler(seed=seed, **more).choose(logits[list(order)], rows(*((i, i) for i in order))).tolist()
    assert together == [alone[i] for i in order]


def test_seeds_differ_and_so_do_prompts():
    logits = torch.zeros(1, 1000)
    taken = [int(sampler(seed=s).choose(logits, rows((i, 0)))[0]) for s in range(3) for i in range(3)]
    assert len(set(taken)) > 6
