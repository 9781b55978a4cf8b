"""Rounded rows: products with as many rows as there were before, because oneDNN keeps kernels for each number.

They take a millisecond to make and half a megabyte, for each weight's shape. The cache of them is bounded, but half
of what they hold is never given back. Prompts of many lengths, of which any number of rows may be read at once, would
so fill the memory of a process that lives long. Rounding makes some products larger, and so it is done only where a
process does live long. A prefill whose rows are round from its beginning (``SlotDecoder``) needs no copy at each
product.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch.nn.functional import pad

STEPS, STEPS_OF_SMALL = 32, 4
"""Numbers of rows between a power of two and the next; the second with small weights. With 32 about a hundredth is
computed for nothing."""
SMALL = 2**16
"""Numbers of a weight with which a product takes microseconds, whatever its rows."""


_is_on = False


@contextlib.contextmanager
def rounding_rows() -> Iterator[None]:
    """Meanwhile products in this process have rounded numbers of rows."""
    global _is_on
    before, _is_on = _is_on, True
    try:
        yield
    finally:
        _is_on = before


def is_rounding() -> bool:
    """Whether products have rounded numbers of rows now."""
    return _is_on


def rounded(rows: int, weight_numbers: int = SMALL + 1) -> int:
    """The next number of rows that products have; up to twice the steps each number has kernels of its own."""
    steps = STEPS_OF_SMALL if weight_numbers <= SMALL else STEPS
    step = max(1, (1 << (rows - 1).bit_length()) // (2 * steps))
    return -(-rows // step) * step


def with_rounded_rows(x: torch.Tensor, outputs: int) -> torch.Tensor:
    """The rows of x (..., inputs), to be multiplied by a weight (outputs, inputs), and zeros up to ``rounded``.

    No zeros outside ``rounding_rows``.
    """
    rows = x.reshape(-1, x.shape[-1])
    if not _is_on:
        return rows
    more = rounded(len(rows), outputs * x.shape[-1]) - len(rows)
    return pad(rows, (0, 0, 0, more)) if more else rows
