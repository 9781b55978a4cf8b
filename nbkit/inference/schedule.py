"""Schedule: which rank takes which prompts, in which batches.

Pure, and the one place where it is decided: the ranks call it to work, the what-if
simulation to predict. Indices are those of the user's list of prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nbkit.records.settings import AUTO, Settings

Indices = npt.NDArray[np.int64]
"""Places in the list of prompts, shape (n,)."""


@dataclass(frozen=True, slots=True)
class Batches:
    """Prompts cut into batches, each a part of one list; iterates over the batches.

    ``indices`` has the shape (n,), ``starts`` the shape (batches,): where in ``indices`` each begins.
    """

    indices: Indices
    starts: Indices

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> Indices:
        if number >= len(self):
            raise IndexError(f"there are {len(self)} batches, so none has the number {number}.")
        end = self.starts[number + 1] if number + 1 < len(self) else None
        return self.indices[self.starts[number] : end]

    def __iter__(self) -> Iterator[Indices]:
        return (self[number] for number in range(len(self)))


def static_share(count: int, ranks: int, rank: int) -> range:
    """The indices of one rank's prompts in the static split: contiguous, as even as can be, the first ones larger.

    It is the cut of accelerate's ``split_between_processes``, for the first ``ranks``
    of the ranks that are there; the others get nothing.
    """
    if rank >= ranks:
        return range(0)
    each, left_over = divmod(count, ranks)
    begin = rank * each + min(rank, left_over)
    return range(begin, begin + each + (rank < left_over))


@dataclass(frozen=True, slots=True)
class TokenBudget:
    """The most positions of the KV cache that a batch may take: sequences x (padded prompt + new tokens).

    ``lengths`` are the tokens of each prompt that is to be cut, shape (n,). A prompt that
    is too long for the budget makes a batch of its own.
    """

    positions: int
    lengths: Sequence[int] | Indices
    new_tokens: int
    pad_to_multiple_of: int = 1


def even_batch_size(prompts: int, ranks: int, most: int) -> int:
    """The batch size, at most ``most``, with which each rank has as few batches as can be, all alike.

    Cut at ``most``, the last batch of a rank may hold a prompt or two and still take
    nearly as long as a full one.
    """
    share = -(-prompts // ranks)
    return max(1, -(-share // max(1, -(-share // most))))


def side_by_side(settings: Settings, prompts: int, ranks: int, fitting: int) -> int:
    """Sequences that a rank decodes side by side, for so many prompts on so many ranks, where ``fitting`` fit."""
    if settings.prompts_a_batch == AUTO:
        return even_batch_size(prompts, ranks, fitting)
    if settings.is_in_flight:
        # The first rank to be ready must not take what the others could do at the same time.
        return min(fitting, even_batch_size(prompts, ranks, prompts))
    return fitting


def batches(
    indices: Sequence[int] | Indices,
    batch_size: int,
    lengths: Sequence[int] | Indices | None = None,
    budget: TokenBudget | None = None,
) -> Batches:
    """Cut prompts into batches of ``batch_size``; the last may be smaller, and with a budget any.

    Parameters
    ----------
    indices : sequence of int
        The prompts to cut, shape (n,).
    batch_size : int
        Prompts a batch, at least 1.
    lengths : sequence of int, optional
        Tokens of each of these prompts, shape (n,): the longest come first, equally long
        ones as they were given. Neighbours are then of like length, so that little is
        padded; and where ranks take batches as they get free, the last ones to be
        taken are the shortest. Left out: in the order given.
    budget : TokenBudget, optional
        Cut a batch short where it would exceed this.
    """
    order = _order(len(indices), lengths)
    if budget is None:
        starts = np.arange(0, len(order), batch_size, dtype=np.int64)
    else:
        starts = _starts_within(np.asarray(budget.lengths, dtype=np.int64)[order], batch_size, budget)
    return Batches(np.asarray(indices, dtype=np.int64)[order], starts)


def _order(count: int, lengths: Sequence[int] | Indices | None) -> Indices:
    if lengths is None:
        return np.arange(count, dtype=np.int64)
    return np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")


def _starts_within(lengths: Indices, batch_size: int, budget: TokenBudget) -> Indices:
    """Where batches begin, for prompts of these lengths in this order."""
    starts: list[int] = []
    longest = 0
    for index, length in enumerate(lengths.tolist()):
        longest = max(longest, -(-length // budget.pad_to_multiple_of) * budget.pad_to_multiple_of)
        sequences = index - starts[-1] + 1 if starts else batch_size + 1
        if sequences > batch_size or sequences * (longest + budget.new_tokens) > budget.positions:
            starts.append(index)
            longest = -(-length // budget.pad_to_multiple_of) * budget.pad_to_multiple_of
    return np.array(starts, dtype=np.int64)


def taken_in_turn(batches: Batches, next_number: Iterator[int]) -> Iterator[Indices]:
    """The batches that one rank takes in the dynamic split: it draws the next number that nobody has."""
    for number in next_number:
        if number >= len(batches):
            return
        yield batches[number]
