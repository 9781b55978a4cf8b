"""Schedule: which rank takes which prompts, in which batches.

Pure, and the one place where it is decided: the ranks call it to work, the what-if
simulation to predict. Indices are places in the user's list of prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
"""Places in the list of prompts, shape (n,)."""


def static_share(count: int, ranks: int, rank: int) -> range:
    """The places of one rank's prompts in the static split: contiguous, as even as can be, the first ones larger.

    It is the cut of accelerate's ``split_between_processes``, for the first ``ranks``
    of the ranks that are there; the others get nothing.
    """
    if rank >= ranks:
        return range(0)
    each, left_over = divmod(count, ranks)
    begin = rank * each + min(rank, left_over)
    return range(begin, begin + each + (rank < left_over))


def batches(places: Sequence[int] | Indices, batch_size: int, lengths: Sequence[int] | Indices | None = None) -> list[Indices]:
    """Cut prompts into batches of ``batch_size``; the last may be smaller.

    Parameters
    ----------
    places : sequence of int
        The prompts to cut, shape (n,).
    batch_size : int
        Prompts a batch, at least 1.
    lengths : sequence of int, optional
        Tokens of each of these prompts, shape (n,): the longest come first, equally long
        ones as they were given. Neighbours are then of like length, so that little is
        padded; and where ranks take batches as they get free, the last ones to be
        taken are the shortest. Left out: in the order given.
    """
    ordered = np.asarray(places, dtype=np.int64)
    if lengths is not None:
        ordered = ordered[np.argsort(-np.asarray(lengths), kind="stable")]
    return list(np.split(ordered, range(batch_size, len(ordered), batch_size))) if len(ordered) else []


def taken_in_turn(batches: Sequence[Indices], next_number: Iterator[int]) -> Iterator[Indices]:
    """The batches that one rank takes in the dynamic split: it draws the next number that nobody has."""
    for number in next_number:
        if number >= len(batches):
            return
        yield batches[number]
