from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbkit.engines import batch_size, sequences_that_fit, slot_decoder
from nbkit.inference import schedule
from nbkit.records.engine_spec import ENGINES, MOST_SEQUENCES
from nbkit.records.settings import Settings

ASKED = Settings(max_new_tokens=100, engine="batched")


@pytest.fixture(scope="module")
def tiny(tiny):
    """Without what engines of other tests have left there, which counts as room that can be had back."""
    return dataclasses.replace(tiny, prepared={})


def fitting(tiny, monkeypatch, free_bytes, longest=20, sharing=1, asked=ASKED):
    monkeypatch.setattr(batch_size, "free_bytes", lambda device: free_bytes)
    return sequences_that_fit(asked, tiny, longest, sharing)


def test_memory_shared_by_ranks_holds_fewer_sequences_and_never_none(tiny, monkeypatch):
    alone = fitting(tiny, monkeypatch, 3_000_000)
    assert 1 < alone < MOST_SEQUENCES
    assert fitting(tiny, monkeypatch, 3_000_000, sharing=2) == alone // 2
    assert fitting(tiny, monkeypatch, 3_000_000, longest=140) == pytest.approx(alone / 2, abs=1)
    assert fitting(tiny, monkeypatch, 100) == 1
    assert fitting(tiny, monkeypatch, 10**12) == MOST_SEQUENCES


def test_room_is_left_for_weights_that_are_yet_to_be_packed(tiny, monkeypatch):
    asked = dataclasses.replace(ASKED, engine="compiled")
    unprepared = dataclasses.replace(tiny, prepared={})
    to_pack = slot_decoder.bytes_to_prepare(unprepared, "none")
    assert to_pack > 0
    for sharing in (1, 2):
        plain = fitting(tiny, monkeypatch, sharing * 3_000_000, sharing=sharing)
        assert (
            fitting(unprepared, monkeypatch, sharing * (3_000_000 + to_pack), sharing=sharing, asked=asked) == plain
        )
    slot_decoder.prepared_model(unprepared, "none")
    assert slot_decoder.bytes_to_prepare(unprepared, "none") == 0
    assert fitting(unprepared, monkeypatch, 3_000_000, asked=asked) == fitting(tiny, monkeypatch, 3_000_000)


def test_continuous_takes_fewer_where_it_multiplies_all_by_all(tiny, monkeypatch):
    asked = dataclasses.replace(ASKED, engine="continuous")
    most = ENGINES["continuous"].most_sequences_on_cpu
    assert fitting(tiny, monkeypatch, 10**12, asked=asked) == most < MOST_SEQUENCES


@given(st.integers(1, 2000), st.integers(1, 20), st.integers(1, 300))
def test_an_even_batch_size_leaves_no_small_batch_and_needs_no_more_of_them(prompts, ranks, most):
    size = schedule.even_batch_size(prompts, ranks, most)
    share = -(-prompts // ranks)
    assert 1 <= size <= most
    batches = -(-share // size)
    assert batches == -(-share // most)
    assert batches * size - share < batches, "a place a batch is empty at most"


@given(st.lists(st.integers(1, 60), max_size=150), st.integers(1, 20), st.integers(2, 900), st.integers(1, 40))
def test_a_token_budget_cuts_batches_short_and_loses_nothing(lengths, size, positions, new_tokens):
    budget = schedule.TokenBudget(positions, lengths, new_tokens, pad_to_multiple_of=8)
    for sizes in (None, lengths):
        cut = schedule.batches(range(len(lengths)), size, sizes, budget)
        assert sorted(int(place) for batch in cut for place in batch) == list(range(len(lengths)))
        for batch in cut:
            longest = -(-max(lengths[place] for place in batch) // 8) * 8
            assert len(batch) <= size
            assert len(batch) == 1 or len(batch) * (longest + new_tokens) <= positions
