"""Measured range: between which values a cost model was fitted, and what of a simulated run lies outside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nbkit.analysis.batch_shapes import BatchShapes
from nbkit.analysis.work import Stretches
from nbkit.records.run import Run

Range = tuple[float, float]
"""The least and the most."""


@dataclass(frozen=True, slots=True)
class MeasuredRange:
    """What the runs had that a model was fitted to; None of ``length`` where they do not tell.

    ``sequences`` are those of a batch, in flight those side by side; ``length`` the prompts' tokens with their
    padding, ``steps`` the tokens generated for each sequence.
    """

    ranks: Range
    sequences: Range
    length: Range | None
    steps: Range

    @classmethod
    def of(cls, runs: Sequence[Run]) -> MeasuredRange:
        """Of runs that have finished batches."""
        measured = [run for run in runs if run.batches]
        if measured[0].is_in_flight:
            return cls._in_flight(measured)
        shapes = BatchShapes.of([batch for run in measured for batch in run.batches])
        return cls(
            ranks=_range(run.world_size for run in measured),
            sequences=_range(shapes.sequences.tolist()),
            length=_range(shapes.length.tolist()),
            steps=_range(shapes.steps.tolist()),
        )

    @classmethod
    def _in_flight(cls, runs: Sequence[Run]) -> MeasuredRange:
        windows = Stretches.of([window for run in runs for window in run.batches]).sequences
        return cls(
            ranks=_range(run.world_size for run in runs),
            sequences=(float(windows.min()), float(max(*windows, *(_most_at_once(run) for run in runs)))),
            length=_range(tokens for run in runs for tokens in run.prompt_tokens),
            steps=_range(tokens for run in runs for tokens in run.new_tokens if tokens),
        )

    def beyond(self, shapes: BatchShapes, ranks: int) -> tuple[str, ...]:
        """In words, each value that lies outside, by the largest batch and the longest texts; empty: none does.

        That a few batches are smaller or shorter, as the last of a rank are, does not count.
        """
        found = [
            _outside(ranks, self.ranks, "ranks: {}"),
            _outside(float(shapes.sequences.max()), self.sequences, "batch size {}"),
            _outside(float(shapes.steps.max()), self.steps, "new tokens: {}"),
        ]
        if self.length is None:
            found.append("how long the measured prompts were is not known")
        else:
            found.append(_outside(float(shapes.length.max()), self.length, "prompt tokens with padding: {}"))
        return tuple(filter(None, found))


def _most_at_once(run: Run) -> int:
    """Sequences that a rank with the largest share decodes side by side at first."""
    return min(run.batch_size, -(-len(run.prompts) // max(1, run.world_size)))


def _range(values: Iterable[float]) -> Range:
    listed = list(values)
    return min(listed), max(listed)


def _outside(value: float, measured: Range, words: str) -> str:
    least, most = measured
    if least <= value <= most:
        return ""
    side = "beyond" if value > most else "below"
    span = f"{least:,.0f}" if least == most else f"{least:,.0f} to {most:,.0f}"
    return f"{words.format(f'{value:,.0f}')}, {side} the {span} measured"
