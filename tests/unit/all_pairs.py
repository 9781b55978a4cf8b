"""A few combinations instead of all: where two choices go wrong together, it shows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any


def all_pairs(*choices: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Combinations in which every two values of different choices meet at least once."""
    combinations = list(itertools.product(*choices))
    left = set().union(*map(_pairs, combinations))
    taken = []
    while left:
        taken.append(max(combinations, key=lambda each: len(_pairs(each) & left)))
        left -= _pairs(taken[-1])
    return taken


def _pairs(combination: Sequence[Any]) -> set[tuple[Any, ...]]:
    return set(itertools.combinations(enumerate(combination), 2))
