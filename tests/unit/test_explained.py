from __future__ import annotations

from types import SimpleNamespace

import pytest

from nbkit.analysis.explained import (
    explain_decode,
    explain_fewer_bytes,
    explain_perplexity,
    explain_ranks,
    explain_step,
    ratios,
)
from nbkit.analysis.scaling import Spread


def test_ratios_are_taken_run_by_run():
    over, under = (
        [SimpleNamespace(wall_s=value) for value in values] for values in ((2.0, 6.0, 9.0), (1.0, 2.0, 3.0))
    )
    assert ratios(over, under, lambda run: run.wall_s) == Spread(3.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("times", "few", "many", "said"),
    [
        (1.05, 1, 10, "nearly free"),
        (1.2, 2, 10, "almost as much as a full one"),
        (3.2, 1, 10, "a batch saves a part"),
        (2.3, 2, 10, "more than its share"),
        (8.0, 1, 10, "every sequence costs nearly the same"),
        (4.0, 2, 10, "a nearly empty batch costs little"),
    ],
)
def test_a_step_is_explained_whichever_way_it_came_out(times, few, many, said):
    words = explain_step(Spread(times, times - 0.1, times + 0.1), few, many)
    assert words.startswith(
        f"A step for {many} sequences takes {times:.1f} ({times - 0.1:.1f}–{times + 0.1:.1f}) times"
    )
    assert said in words


@pytest.mark.parametrize(
    ("times", "ranks", "even", "said"),
    [
        (1.95, 2, 2.0, "no rank slows another"),
        (1.4, 2, 2.0, "slower beside others"),
        (2.6, 2, 2.0, "run the cell again"),
        (3.2, 4, 10 / 3, "no rank slows another"),
        (0.97, 1, 1.0, "the same work again"),
    ],
)
def test_what_several_ranks_bring_is_explained_whichever_way_it_came_out(times, ranks, even, said):
    words = explain_ranks(Spread(times, times, times), ranks, even)
    assert f"{times:.2f}" in words
    assert said in words


@pytest.mark.parametrize(("times", "said"), [(1.1, "as well used by a few positions"), (2.3, "is shared by all")])
def test_a_position_of_decode_is_explained_whichever_way_it_came_out(times, said):
    words = explain_decode(Spread(times, times, times))
    assert words.startswith(f"A position of decode takes {times:.1f} times as long")
    assert said in words


@pytest.mark.parametrize(
    ("times", "fewer", "said"),
    [
        (3.2, 2, "more than the 2 times fewer bytes"),
        (1.9, 2, "memory was the limit"),
        (1.4, 2, "only a part of a step"),
        (1.4, 6.4, "less than the 6.4 times fewer bytes"),
        (0.97, 2, "hardly any difference"),
        (0.39, 6.4, "so it is slower"),
    ],
)
def test_fewer_bytes_are_explained_whichever_way_they_came_out(times, fewer, said):
    words = explain_fewer_bytes(Spread(times, times, times), "int4 weights", fewer)
    assert words.startswith(f"int4 weights: {times:.2f} times the tokens per second of float32")
    assert said in words


def test_a_perplexity_is_harm_or_none():
    assert "(+0.2%): on this text the model has hardly suffered" in explain_perplexity(33.5, 33.43, "int4")
    assert "(+12.0%): the rounding does harm" in explain_perplexity(22.4, 20.0, "int8")
    assert "(-1.0%): on this text" in explain_perplexity(19.8, 20.0, "bfloat16")


def test_a_wide_range_is_explained_by_nothing():
    wide = Spread(1.56, 0.61, 2.05)
    explained = [explain_ranks(wide, 2, 2.0), explain_step(wide, 1, 10), explain_fewer_bytes(wide, "int8", 4)]
    for words in [*explained, explain_decode(wide)]:
        assert "(0.6" in words
        assert "too wide a range to say why" in words
        assert "share" not in words
