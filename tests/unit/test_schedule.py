from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from nbkit.inference.schedule import batches, static_share, taken_in_turn

counts = st.integers(0, 300)
sizes = st.integers(1, 40)


@given(counts, st.integers(1, 20), st.integers(0, 5))
def test_shares_are_all_prompts_once_in_order_and_even(count, ranks, idle):
    shares = [static_share(count, ranks, rank) for rank in range(ranks + idle)]
    assert [place for share in shares for place in share] == list(range(count))
    lengths = [len(share) for share in shares[:ranks]]
    assert max(lengths) - min(lengths) <= 1
    assert lengths == sorted(lengths, reverse=True)
    assert all(len(share) == 0 for share in shares[ranks:])


@given(st.integers(0, 100), counts, sizes)
def test_batches_in_the_order_given_are_the_prompts_cut(begin, count, batch_size):
    places = range(begin, begin + count)
    cut = batches(places, batch_size)
    assert [int(place) for batch in cut for place in batch] == list(places)
    assert all(len(batch) == batch_size for batch in list(cut)[:-1])
    assert all(1 <= len(batch) <= batch_size for batch in cut)


@given(st.lists(st.integers(1, 50), max_size=200), sizes)
def test_batches_by_length_hold_every_prompt_once_the_longest_first(lengths, batch_size):
    cut = batches(range(len(lengths)), batch_size, lengths)
    order = [int(place) for batch in cut for place in batch]
    assert sorted(order) == list(range(len(lengths)))
    assert [lengths[place] for place in order] == sorted(lengths, reverse=True)
    equal = [pair for pair in itertools.pairwise(order) if lengths[pair[0]] == lengths[pair[1]]]
    assert all(a < b for a, b in equal), "equally long prompts keep their order"


@given(st.lists(st.integers(1, 50), min_size=1, max_size=200), sizes)
def test_batches_by_length_never_pad_more(lengths, batch_size):
    def padded(cut):
        return sum(len(batch) * max(lengths[place] for place in batch) for batch in cut)

    places = range(len(lengths))
    # Held where all batches are full: the small last batch may fall on short or long prompts.
    if len(lengths) % batch_size == 0:
        assert padded(batches(places, batch_size, lengths)) <= padded(batches(places, batch_size))


@given(counts, sizes, st.lists(st.integers(0, 3), max_size=400))
def test_ranks_that_draw_numbers_take_every_batch_once(count, batch_size, turns):
    cut = batches(range(count), batch_size)
    numbers = itertools.count()
    ranks = [taken_in_turn(cut, numbers) for _ in range(4)]
    taken = [next(ranks[turn], None) for turn in turns] + [batch for rank in ranks for batch in rank]
    assert sorted(int(place) for batch in taken if batch is not None for place in batch) == list(range(count))
