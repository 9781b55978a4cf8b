"""Work: what a device did, as sums that a cost model is linear in; of batches, or of whatever else one can add up.

A batch is read and decoded as one, and its shape tells these sums (``BatchShapes``). Of an engine in which sequences
join one by one a record is a window of time, whose steps have added them up (``Stretches``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from nbkit.analysis.batch_shapes import BatchShapes, Floats
from nbkit.errors import InputError
from nbkit.records import BatchRecord, StepWork
from nbkit.records.run import Run


class Work(Protocol):
    """Stretches of work; every array has the shape (stretches,).

    ``prefills`` read so many ``prompts``, in ``positions`` with the padding; ``squares`` are their positions
    times the length they are read in. ``sequence_steps`` are the sequences of all ``decode_steps``, ``sequences``
    those of a mean step, and ``cached_positions`` the positions that they attend to, step by step.
    """

    @property
    def prefills(self) -> Floats: ...
    @property
    def prompts(self) -> Floats: ...
    @property
    def positions(self) -> Floats: ...
    @property
    def squares(self) -> Floats: ...
    @property
    def sequences(self) -> Floats: ...
    @property
    def decode_steps(self) -> Floats: ...
    @property
    def sequence_steps(self) -> Floats: ...
    @property
    def cached_positions(self) -> Floats: ...


@dataclass(frozen=True, slots=True)
class Stretches:
    """Work that was added up step by step; see ``Work``."""

    prefills: Floats
    prompts: Floats
    positions: Floats
    squares: Floats
    decode_steps: Floats
    sequence_steps: Floats
    cached_positions: Floats

    @classmethod
    def of(cls, windows: Sequence[BatchRecord]) -> Stretches:
        """The work of windows that tell it, in their order."""
        rows = [
            (w.prefills, w.prompts, w.positions, w.squares, window.steps - 1, w.sequence_steps, w.cached_positions)
            for window in windows
            for w in [window.work or StepWork()]
        ]
        return cls(*np.array(rows, dtype=np.float64).reshape(-1, 7).T)

    @classmethod
    def of_prompts(cls, prompt_tokens: Floats, new_tokens: Floats) -> Stretches:
        """What each prompt asks of an engine in flight: all but its last token are read, each new one is a step."""
        read = np.maximum(0.0, prompt_tokens - 1)
        return cls(
            prefills=np.ones_like(read),
            prompts=np.ones_like(read),
            positions=read,
            squares=read * read,
            decode_steps=new_tokens,
            sequence_steps=new_tokens,
            cached_positions=new_tokens * read + new_tokens * (new_tokens + 1) / 2,
        )

    @property
    def sequences(self) -> Floats:
        """Sequences of a mean step; 1 where there is none."""
        return np.divide(
            self.sequence_steps,
            self.decode_steps,
            out=np.ones_like(self.decode_steps),
            where=self.sequence_steps > 0,
        )


def work_of(batches: Sequence[BatchRecord]) -> Work:
    """The work of batches, or of windows, of one engine, in their order."""
    if any(batch.work is not None for batch in batches):
        return Stretches.of(batches)
    return BatchShapes.of(batches)


def check_tells_work(runs: Sequence[Run]) -> None:
    """Refuse runs of which nobody knows what their seconds were spent on.

    Raises
    ------
    InputError
        They are of an engine in flight, and their windows do not tell; why, and what to do.
    """
    for run in runs:
        if not run.is_in_flight or all(batch.work is not None for batch in run.batches):
            continue
        if not run.engine_spec.tells_work:
            raise InputError(
                f"{run.engine} reads prompts in the same steps in which other sequences get their tokens, and does "
                "not tell how much of each a step had: no cost model can be fitted to it. Take runs of compiled or "
                "batched."
            )
        raise InputError(
            f"these runs of {run.engine} are of an nbkit that did not keep what its steps worked on (schema version "
            "8 or before), so no cost model can be fitted to them: measure them again."
        )
