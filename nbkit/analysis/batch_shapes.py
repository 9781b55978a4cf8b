"""Batch shapes: what of a batch decides how long it takes, as arrays over many batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nbkit.records import BatchRecord

Floats = npt.NDArray[np.float64]
"""Shape (batches,), or (prompts,) where so said."""


@dataclass(frozen=True, slots=True)
class BatchShapes:
    """Batches by their shape; every array has the shape (batches,).

    ``sequences`` are decoded side by side; ``length`` is the prompts' tokens each,
    padding included; ``steps`` are the tokens generated for each sequence, the longest
    one's number; ``prompt_tokens`` and ``new_tokens`` are sums without padding and
    without what is computed after a sequence's end.
    """

    sequences: Floats
    length: Floats
    steps: Floats
    prompt_tokens: Floats
    new_tokens: Floats

    @classmethod
    def of(cls, batches: Sequence[BatchRecord]) -> BatchShapes:
        """The shapes of recorded batches, in their order."""
        rows = [
            (
                len(b.indices),
                (b.prompt_tokens + b.padding_tokens) / len(b.indices),
                b.steps,
                b.prompt_tokens,
                b.new_tokens,
            )
            for b in batches
        ]
        return cls(*np.array(rows, dtype=np.float64).reshape(-1, 5).T)

    @property
    def prefills(self) -> Floats:
        """One for each batch."""
        return np.ones_like(self.sequences)

    @property
    def prompts(self) -> Floats:
        """Prompts that a prefill reads: all that are decoded."""
        return self.sequences

    @property
    def positions(self) -> Floats:
        """Positions of the prefill, padding included."""
        return self.sequences * self.length

    @property
    def squares(self) -> Floats:
        """Positions of the prefill times the length they are read in."""
        return self.positions * self.length

    @property
    def sequence_steps(self) -> Floats:
        """Sequences of all steps after the first token."""
        return self.decode_steps * self.sequences

    @property
    def decode_steps(self) -> Floats:
        """Steps after the first token, which the prefill gives."""
        return self.steps - 1

    @property
    def cached_positions(self) -> Floats:
        """Positions of the KV cache read by all decode steps of a batch together: sequences x sum of the context.

        The context of decode step j (1, 2, ...) is ``length + j``.
        """
        return self.sequences * (self.decode_steps * self.length + self.decode_steps * (self.decode_steps + 1) / 2)
