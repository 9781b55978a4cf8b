"""Built in: the article's ten first lines, and synthetic prompts of any length."""

from __future__ import annotations

import math
import random

from nbkit.errors import InputError, shorten

FIRST_LINES = (
    "The King is dead. Long live the Queen.",
    "Once there were four children whose names were Peter, Susan, Edmund, and Lucy.",
    "The story so far: in the beginning, the universe was created.",
    "It was a bright cold day in April, and the clocks were striking thirteen.",
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, "
    "must be in want of a wife.",
    "The sweat wis lashing oafay Sick Boy; he wis trembling.",
    "124 was spiteful. Full of Baby's venom.",
    "As Gregor Samsa awoke one morning from uneasy dreams he found himself transformed in his bed "
    "into a gigantic insect.",
    "I write this sitting in the kitchen sink.",
    "We were somewhere around Barstow on the edge of the desert when the drugs began to take hold.",
)
"""First lines of ten novels: the prompts of the article that the demos follow."""

LENGTH_DISTRIBUTIONS = ("constant", "uniform", "lognormal")
"""How the lengths of synthetic prompts can be spread."""

# Each is one token of its own in the usual vocabularies, at a prompt's start and after a space.
# fmt: off
WORDS = (
    "the", "of", "and", "to", "in", "a", "is", "that", "for", "it", "as", "was", "with", "be", "by", "on", "not",
    "he", "at", "are", "this", "have", "from", "or", "they", "which", "one", "you", "were", "all", "her", "there",
    "would", "their", "we", "him", "has", "when", "who", "will", "more", "if", "out", "so", "said", "what", "up",
    "about", "into", "than", "can", "only", "other", "new", "time", "two", "first", "now", "like", "over", "years",
)
# fmt: on
LOGNORMAL_SIGMA = 0.8
LONGEST_IN_MEANS = 20
MOST = 10_000_000
"""Prompts that one list may hold, and words of one."""


def first_lines(n: int = 100) -> list[str]:
    """``n`` prompts: the ten first lines, repeated in order.

    Raises
    ------
    InputError
        ``n`` is not a whole number of 1 to ten million.
    """
    _check_at_least_1("the number of prompts", n)
    return [FIRST_LINES[i % len(FIRST_LINES)] for i in range(n)]


def synthetic_prompts(n: int, mean_words: int = 20, distribution: str = "lognormal", seed: int = 0) -> list[str]:
    """``n`` prompts of common words in random order, to see what the lengths of prompts do to a run.

    A word is about one token, so that a prompt of k words has about k tokens.

    Parameters
    ----------
    n : int
        How many.
    mean_words : int
        The mean length, in words.
    distribution : str
        One of ``LENGTH_DISTRIBUTIONS``. ``constant``: every prompt has ``mean_words`` words.
        ``uniform``: each length from 1 to ``2 * mean_words - 1`` is as likely. ``lognormal``:
        most are short and a few are long, as in what people write; from 1 to
        ``20 * mean_words`` words.
    seed : int
        The same seed gives the same prompts, on every machine.

    Raises
    ------
    InputError
        A number is not a whole number (of 1 to ten million, but for the seed), or there is no such distribution.

    Notes
    -----
    A lognormal length is exp(mu + sigma Z), Z standard normal. Its mean is exp(mu + sigma^2 / 2)
    (Johnson, Kotz and Balakrishnan, Continuous Univariate Distributions, volume 1, chapter 14),
    hence mu = ln(mean_words) - sigma^2 / 2, with sigma = 0.8. Rounding to whole words of at
    least 1 lifts the mean noticeably only where ``mean_words`` is 1 or 2.
    """
    lengths, dice = _draw(n, mean_words, distribution, seed, "mean_words")
    return [" ".join(dice.choices(WORDS, k=length)) for length in lengths]


def draw_lengths(n: int, mean: int, distribution: str = "lognormal", seed: int = 0) -> list[int]:
    """``n`` lengths from one of ``LENGTH_DISTRIBUTIONS``, as ``synthetic_prompts`` draws them.

    Raises
    ------
    InputError
        As for ``synthetic_prompts``.
    """
    return _draw(n, mean, distribution, seed, "the mean length")[0]


def _draw(n: int, mean: int, distribution: str, seed: int, mean_name: str) -> tuple[list[int], random.Random]:
    """Lengths, and the dice they were drawn with."""
    _check_at_least_1("the number of prompts", n)
    _check_at_least_1(mean_name, mean)
    if distribution not in LENGTH_DISTRIBUTIONS:
        raise InputError(
            f"distribution must be one of {', '.join(LENGTH_DISTRIBUTIONS)}, not {shorten(distribution)}."
        )
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise InputError(f"seed must be a whole number, not {shorten(seed)}.")
    dice = random.Random(seed)
    return [_draw_length(dice, mean, distribution) for _ in range(n)], dice


def _draw_length(dice: random.Random, mean: int, distribution: str) -> int:
    if distribution == "constant":
        return mean
    if distribution == "uniform":
        return dice.randint(1, 2 * mean - 1)
    drawn = dice.lognormvariate(math.log(mean) - LOGNORMAL_SIGMA**2 / 2, LOGNORMAL_SIGMA)
    return min(max(1, round(drawn)), LONGEST_IN_MEANS * mean)


def _check_at_least_1(what: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{what} must be a whole number of at least 1, not {shorten(value)}.")
    if value > MOST:
        raise InputError(f"{what} must be at most {MOST:,}, not {shorten(value)}.")
