from __future__ import annotations

import dataclasses
import itertools
import random
import time
from collections import Counter

import pytest
from example_runs import run
from hypothesis import given
from hypothesis import strategies as st

from nbkit.analysis.comparison import (
    OutputDifference,
    compare_outputs,
    in_times,
    ratios_to,
    settings_that_differ,
    word_diff,
)
from nbkit.records.run import Run

WORDS = st.lists(st.sampled_from(["a", "b", "the ", " of", "\n", " ", "\u3000", "é🙂", "שלום"])).map("".join)
TEXTS = st.text() | WORDS


def with_texts(prompts: list[str], outputs: list[str | None]) -> Run:
    n = len(prompts)
    return dataclasses.replace(
        run(), prompts=prompts, outputs=outputs, new_tokens=[1] * n, finish_reasons=["stop"] * n
    )


def with_ranks(made: Run, **changes: object) -> Run:
    return dataclasses.replace(made, ranks=[dataclasses.replace(rank, **changes) for rank in made.ranks])


def test_the_settings_that_differ_are_those_that_took_effect():
    runs = {
        "one": with_ranks(run(prompts=4, batch_size=1, dtype="auto"), dtype="bfloat16", device="cuda:0"),
        "two": run(prompts=6, world_size=1, batch_size=3, engine="simple"),
    }
    assert settings_that_differ(runs) == {
        "engine": {"one": "batched", "two": "simple"},
        "dtype": {"one": "bfloat16", "two": "float32"},
        "workers": {"one": 2, "two": 1},
        "device": {"one": "cuda:0", "two": "cpu"},
        "prompts": {"one": 4, "two": 6},
    }


def test_runs_that_were_asked_differently_and_did_the_same_do_not_differ():
    assert settings_that_differ({"one": run(dtype="auto"), "two": run(dtype="float32")}) == {}
    assert settings_that_differ({"one": run()}) == {}
    assert settings_that_differ({}) == {}


def test_a_run_stopped_before_any_rank_was_done_has_settings_too():
    stopped = dataclasses.replace(run(dtype="auto"), ranks=[])
    assert settings_that_differ({"one": stopped, "two": with_ranks(run(), node="far", device="cpu")}) == {
        "dtype": {"one": "auto", "two": "float32"},
        "device": {"one": "", "two": "cpu"},
        "node": {"one": "node", "two": "far"},
    }


def test_ratios_are_those_of_what_was_measured_and_is_known():
    summaries = {
        "one": {"engine": "simple", "workers": 2, "tokens/s": 4.0, "padding %": 0.0, "ITL p50 ms": None},
        "two": {"engine": "batched", "workers": 1, "tokens/s": 6.0, "padding %": 8.0, "ITL p50 ms": 3.0},
        "old": {"engine": "batched", "workers": 1, "tokens/s": "unknown", "padding %": 0.0, "ITL p50 ms": None},
    }
    assert ratios_to("one", summaries) == {
        "tokens/s": {"one": 1.0, "two": 1.5, "old": None},
        "padding %": {"one": None, "two": None, "old": None},
        "ITL p50 ms": {"one": None, "two": None, "old": None},
    }
    assert [in_times(ratio) for ratio in (0.5, 1.504, 12.34, 1234.0)] == ["0.50×", "1.50×", "12.3×", "1,234.0×"]


def test_outputs_are_compared_prompt_by_prompt():
    first = with_texts(["p", "q", "r"], ["the same", "one two three", None])
    second = with_texts(["p", "q", "r", "s"], ["the same", "one  two four", "x", "y"])
    compared = compare_outputs(first, second)
    assert (compared.same, compared.different, compared.not_comparable) == (1, 1, 2)
    assert compared.differences == [OutputDifference(1, "q", "one two three", "one  two four", 2)]


def test_prompts_in_another_order_are_matched_by_their_text():
    first = with_texts(["p", "q", "p", "only here"], ["0", "1", "2", "3"])
    second = with_texts(["q", "p", "p", "only there"], ["1", "other", "2", "3"])
    compared = compare_outputs(first, second)
    # The second 'p' stands at its own index, so the first one is matched with what is left.
    assert (compared.same, compared.different, compared.not_comparable) == (2, 1, 1)
    assert compared.differences == [OutputDifference(0, "p", "0", "other", 0)]


@given(
    st.lists(st.sampled_from("pqr"), max_size=8),
    st.lists(st.sampled_from("pqr"), max_size=8),
    st.lists(st.sampled_from(["x", "y", None]), min_size=16, max_size=16),
)
def test_every_prompt_is_counted_once(prompts, others, outputs):
    first = with_texts(prompts, outputs[: len(prompts)])
    second = with_texts(others, outputs[8 : 8 + len(others)])
    compared = compare_outputs(first, second)
    longer = max(len(prompts), len(others))
    assert compared.same + compared.different + compared.not_comparable == longer
    assert compared.different == len(compared.differences)
    assert compared.not_comparable >= longer - (Counter(prompts) & Counter(others)).total()


@given(TEXTS, TEXTS)
def test_the_parts_of_a_diff_join_to_both_texts_exactly(first, second):
    parts = word_diff(first, second)
    assert "".join(text for kind, text in parts if kind != "added") == first
    assert "".join(text for kind, text in parts if kind != "removed") == second
    assert all(text for _, text in parts)
    assert all(kind != after for (kind, _), (after, _) in itertools.pairwise(parts))


@pytest.mark.parametrize(
    ("first", "second", "parts"),
    [
        ("the end", "the end of it", [("same", "the end"), ("added", " of it")]),
        ("a b c", "a x c", [("same", "a"), ("removed", " b"), ("added", " x"), ("same", " c")]),
        ("same", "same", [("same", "same")]),
        ("", "new", [("added", "new")]),
        ("", "", []),
    ],
)
def test_a_diff_reads_word_by_word(first, second, parts):
    assert word_diff(first, second) == parts


def test_what_is_long_between_a_common_beginning_and_end_is_one_pair():
    first = "begin " + "x " * 3000 + "end"
    second = "begin " + "y " * 3000 + "end"
    assert [kind for kind, _ in word_diff(first, second)] == ["same", "removed", "added", "same"]


def texts_that_take_long(kind: str) -> list[str]:
    chance = random.Random(0)
    if kind == "one word of two":  # each 'a' could be each of the other's, and each match splits the rest
        return [" ".join(f"a {side}{i}" for i in range(990)) for side in "uv"]
    if kind == "just matched one by one":
        return [" ".join(f"a {side}{i}" for i in range(365)) for side in "uv"]
    if kind == "two words":
        return [" ".join(chance.choices("ab", k=1990)) for _ in "uv"]
    if kind == "a loop":
        return [" ".join(f"{i % 10}" for i in range(shift, 1990)) for shift in (0, 3)]
    vocabulary = [f"w{i}" for i in range(3000)]
    weights = [1 / (i + 1) for i in range(3000)]
    return [" ".join(chance.choices(vocabulary, weights, k=1990)) for _ in "uv"]


@pytest.mark.parametrize(
    "kind", ["one word of two", "just matched one by one", "two words", "a loop", "like a language"]
)
def test_no_diff_takes_seconds(kind):
    begun = time.process_time()
    word_diff(*texts_that_take_long(kind))
    assert time.process_time() - begun < 3
