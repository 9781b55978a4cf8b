from __future__ import annotations

import itertools

from all_pairs import all_pairs


def test_every_two_values_meet_in_few_combinations():
    choices = ("abc", (1, 2), (None, 200), "xy")
    taken = all_pairs(*choices)
    for (i, first), (j, second) in itertools.combinations(enumerate(choices), 2):
        assert {(each[i], each[j]) for each in taken} == set(itertools.product(first, second))
    assert len(taken) <= 8 < 24
