"""Forecast: what is asked of a simulated run, what comes of it, and what has to be said of that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from nbkit.analysis.batch_shapes import BatchShapes
from nbkit.analysis.cost_model import CostModel
from nbkit.analysis.hardware import Hardware
from nbkit.prompts import draw_lengths
from nbkit.records.run import Run
from nbkit.records.settings import Settings

DRAWN = 10_000
"""So many lengths are drawn; a larger workload repeats them."""
SLOWER = 1.02
"""From here on a forecast says by how much the hardware holds a fit back."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked for: ``prompt_tokens`` and ``new_tokens`` of each prompt, both of shape (prompts,)."""

    prompt_tokens: npt.NDArray[np.int64]
    new_tokens: npt.NDArray[np.int64]

    @classmethod
    def of(cls, run: Run) -> Workload:
        """The lengths of the prompts and outputs that a complete run had."""
        return cls(np.array(run.prompt_tokens), np.array(run.new_tokens))

    @classmethod
    def drawn(
        cls,
        prompts: int,
        prompt_tokens: int,
        new_tokens: int,
        prompt_distribution: str = "constant",
        new_distribution: str = "constant",
    ) -> Workload:
        """Lengths from distributions, by their means in tokens; see ``nbkit.prompts.LENGTH_DISTRIBUTIONS``.

        Raises
        ------
        InputError
            A number is not a whole number of at least 1, or there is no such distribution.
        """
        return cls(
            _repeated(prompts, prompt_tokens, prompt_distribution, seed=0),
            _repeated(prompts, new_tokens, new_distribution, seed=1),
        )

    def __len__(self) -> int:
        return len(self.prompt_tokens)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a simulated run would be. Seconds count from its begin.

    ``tokens_per_second`` counts tokens that users get. ``mean_ttft_s`` is the time to first
    token from a batch's begin, as in a Run; ``mean_first_token_s`` is from the run's begin,
    so it holds what a prompt waits until its batch is taken. ``mean_tpot_s`` is the time per
    output token. ``busy`` is the share of the ranks' time in which they have a batch, 0 to 1.
    ``batches`` are those computed, in flight the prefills. ``largest_batch`` is in sequences, in flight
    those that are side by side at most; ``memory_bytes`` is the most that weights and KV cache of a batch
    take (activations are not counted), None where the model's shape is not known. ``fits`` is
    False where batches as large as asked for do not fit into memory and were split.
    ``limits`` say, in sentences, what the hardware allows and what of it is not known; ``beyond``
    what lies outside of what was measured, empty where nothing does.
    """

    ranks: int
    settings: Settings
    prompts: int
    wall_s: float
    tokens_per_second: float
    mean_ttft_s: float
    mean_first_token_s: float
    mean_tpot_s: float
    busy: float
    batches: int
    gather_s: float
    largest_batch: int
    memory_bytes: float | None
    fits: bool
    limits: tuple[str, ...]
    beyond: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be known of the forecast, in sentences."""
        return *self.limits, *(f"Extrapolated: {'; '.join(self.beyond)}." for _ in self.beyond[:1])

    @property
    def gpu_hours(self) -> float:
        """Ranks times wall time, in hours: what a cloud bills if each rank has a GPU."""
        return self.ranks * self.wall_s / 3600


def order_s(model: CostModel, workload: Workload, settings: Settings, ranks: int) -> float:
    """Seconds to count tokens for the order, each rank its share; in the dynamic split the counts are gathered."""
    if settings.order == "as_given":
        return 0.0
    counting_s = model.tokenize_s[1] * float(workload.prompt_tokens.sum()) / ranks
    return counting_s + (model.gather_s(ranks, len(workload)) if settings.split == "dynamic" else 0.0)


def limits_of(
    model: CostModel, asked: BatchShapes, shapes: BatchShapes, seconds: float, fitted_s: float, ranks: int
) -> Iterator[str]:
    """In sentences: what did not fit, what the hardware holds back, what is assumed or not known.

    Parameters
    ----------
    asked, shapes : BatchShapes
        What is decoded side by side: as it was asked for, and as it fits. In flight they are of one batch, with as
        many sequences as there are at most and the longest texts.
    seconds, fitted_s : float
        Of all prefills and decode steps, and what they would be by the fit alone.
    """
    hardware = model.hardware
    if hardware is None:
        yield "What the device's memory and speed allow is not known, and nothing is held to it."
        return
    yield from _context_limits(hardware, shapes)
    yield from _hardware_limits(hardware, asked, shapes, ranks)
    times = seconds / fitted_s if fitted_s else 1.0
    if times > SLOWER:
        yield (
            f"Held to what {hardware.name} can do: its batches take {times:.2f} times as long as they would "
            "by the fit alone."
        )


def _context_limits(hardware: Hardware, shapes: BatchShapes) -> Iterator[str]:
    longest, most = float((shapes.length + shapes.steps).max()), hardware.shape.context_length
    if most is not None and longest > most:
        yield (
            f"Prompt and new tokens are up to {longest:,.0f}, more than the model's context of {most:,}: such a run "
            "is refused."
        )


def _hardware_limits(hardware: Hardware, asked: BatchShapes, shapes: BatchShapes, ranks: int) -> Iterator[str]:
    if hardware.memory_bytes is None:
        yield f"How much memory {hardware.name} has is not known: whether the batches fit is not told."
    elif len(asked.sequences) != len(shapes.sequences) or (asked.sequences != shapes.sequences).any():
        worst = int(np.argmax(hardware.memory_of(asked)))
        yield (
            f"Batches of {asked.sequences[worst]:,.0f} do not fit into {hardware.memory_bytes / 2**30:.0f} GiB: "
            f"weights and KV cache would take {hardware.memory_of(asked)[worst] / 2**30:.0f} GiB; split into batches "
            f"of at most {shapes.sequences.max():,.0f}."
        )
    if hardware.speed(ranks) is None:
        yield f"How fast {hardware.name} reads and computes is not known: nothing is held to its limit."


# Drawing takes longer than simulating, and a slider asks for the same lengths again and again.
@lru_cache(maxsize=16)
def _drawn(count: int, mean: int, distribution: str, seed: int) -> npt.NDArray[np.int64]:
    return np.array(draw_lengths(count, mean, distribution, seed))


def _repeated(count: int, mean: int, distribution: str, seed: int) -> npt.NDArray[np.int64]:
    drawn = _drawn(min(count, DRAWN) if isinstance(count, int) else count, mean, distribution, seed)
    return np.resize(drawn, count)
