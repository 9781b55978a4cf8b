from __future__ import annotations

import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nbkit.errors import InputError
from nbkit.prompts.builtin import FIRST_LINES, LENGTH_DISTRIBUTIONS, WORDS, first_lines, synthetic_prompts
from nbkit.records.request import check_prompts


def test_first_lines_repeat_in_order():
    assert len(FIRST_LINES) == 10
    assert first_lines(23) == [*FIRST_LINES, *FIRST_LINES, *FIRST_LINES[:3]]


@pytest.mark.parametrize("n", [0, -1, "x", True, 2.0])
def test_a_number_of_first_lines_is_checked(n):
    with pytest.raises(InputError, match="at least 1"):
        first_lines(n)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("bare", "not one string"),
        (3, "list of strings, not int"),
        ([], "no prompts"),
        (["a", None], "prompt 1 is not a string but NoneType"),
        (["a", ""], "prompt 1 is an empty string"),
        (["a\ud800"], "prompt 0 holds characters that are no text"),
    ],
)
def test_prompts_are_checked_with_number_and_remedy(prompts, message):
    with pytest.raises(InputError, match=message):
        check_prompts(prompts)


def test_any_sequence_of_strings_will_do():
    assert check_prompts(("a", "b")) == ["a", "b"]
    assert check_prompts(x for x in "ab") == ["a", "b"]


@given(st.integers(1, 50), st.integers(1, 60), st.sampled_from(LENGTH_DISTRIBUTIONS), st.integers(-(2**70), 2**70))
def test_synthetic_prompts_keep_their_bounds_and_their_seed(n, mean_words, distribution, seed):
    prompts = synthetic_prompts(n, mean_words, distribution, seed)
    longest = {"constant": 1, "uniform": 2, "lognormal": 20}[distribution] * mean_words
    assert check_prompts(prompts) == synthetic_prompts(n, mean_words, distribution, seed)
    assert len(prompts) == n
    assert all(1 <= len(prompt.split(" ")) <= longest for prompt in prompts)
    assert {word for prompt in prompts for word in prompt.split(" ")} <= set(WORDS)


@given(st.integers(10, 100), st.sampled_from(LENGTH_DISTRIBUTIONS), st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_the_mean_of_many_synthetic_prompts_is_the_one_asked_for(mean_words, distribution, seed):
    lengths = [len(prompt.split()) for prompt in synthetic_prompts(4000, mean_words, distribution, seed)]
    # A mean of 4,000 strays by 1.5 % (the lognormal's deviation is 0.95 means); 8 % is more than five times that.
    assert statistics.mean(lengths) == pytest.approx(mean_words, rel=0.08)


def test_each_distribution_has_its_shape():
    constant, uniform, lognormal = (
        [len(prompt.split()) for prompt in synthetic_prompts(4000, 20, distribution)]
        for distribution in LENGTH_DISTRIBUTIONS
    )
    assert set(constant) == {20}
    assert set(uniform) == set(range(1, 40))
    # The median of a lognormal is exp(mu) = 20 exp(-0.32), about 14.5.
    assert 13 <= statistics.median(lognormal) <= 16
    assert max(lognormal) > 100


def test_synthetic_prompts_are_the_same_on_every_machine():
    assert synthetic_prompts(3, 4) == ["all him two", "her he up", "when on two over than"]
    assert synthetic_prompts(3, 4, seed=1) != synthetic_prompts(3, 4, seed=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "the number of prompts must be a whole number of at least 1, not 0"),
        ((True,), "the number of prompts .* not True"),
        ((3, 0), "mean_words must be a whole number of at least 1, not 0"),
        ((3, 2.5), "mean_words .* not 2.5"),
        ((3, 5, "normal"), "distribution must be one of constant, uniform, lognormal, not 'normal'"),
        ((3, 5, "uniform", None), "seed must be a whole number, not None"),
    ],
)
def test_what_synthetic_prompts_are_asked_for_is_checked(arguments, message):
    with pytest.raises(InputError, match=message):
        synthetic_prompts(*arguments)


@pytest.mark.parametrize(
    "make",
    [
        lambda: first_lines(10**12),
        lambda: synthetic_prompts(10**12),
        lambda: synthetic_prompts(2, mean_words=10**12),
    ],
)
def test_more_than_a_memory_holds_is_refused(make):
    with pytest.raises(InputError, match="at most 10,000,000, not 1000000000000"):
        make()
