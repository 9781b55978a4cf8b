"""Explained: what a measured ratio means, in a sentence, whichever way it came out on this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nbkit.analysis.scaling import Spread
from nbkit.records.run import Run

FREE = 1.25
"""A step that takes at most so many times as long for more sequences serves them nearly for nothing."""
SHARE = 0.7
"""A step that takes at least this share of as many times as long as it has more sequences costs by the sequence."""
FULL = 0.9
"""The share of what equal ranks would bring that is called all of it."""
NOISY = 0.5
"""Ratios that are further from each other than this share of their median are of a machine that does other things."""


def ratios(over: Sequence[Run], under: Sequence[Run], figure: Callable[[Run], float]) -> Spread:
    """One figure of some runs over that of others, run by run, so that a machine that drifts is in both halves."""
    return Spread.of([figure(one) / figure(other) for one, other in zip(over, under, strict=True)])


def explain_step(times: Spread, few: int, many: int) -> str:
    """What it means that a step for ``many`` sequences takes so many times as long as one for ``few``."""
    if _is_noisy(times):
        return _too_noisy(f"A step for {many} sequences takes {times.in_words(1)} times as long as one for {few}")
    measured = f"A step for {many} sequences takes {times.in_words(1)} times as long as one for {few} here"
    if times.median <= FREE:
        return (
            f"{measured}: each further sequence is nearly free, and a nearly empty batch costs almost as much as a "
            "full one. The step spends its time on what it does once for all of them: reading the weights, launching "
            "the operations. So it is on most GPUs, up to large batches."
        )
    if times.median >= SHARE * many / few:
        return (
            f"{measured}, for {many / few:.1f} times the sequences: every sequence costs nearly the same, and a "
            "nearly empty batch costs little. The arithmetic takes the time, which a batch does not save. So it is "
            "where arithmetic is slow beside the memory; a GPU comes to this point at much larger batches."
        )
    return (
        f"{measured}, for {many / few:.1f} times the sequences: a batch saves a part. What a step does once, reading "
        "the weights and launching the operations, is shared; the arithmetic of each sequence is not. A nearly empty "
        "batch costs more than its share of the sequences, and less than a full one. So it is on many CPUs; on most "
        "GPUs the step hardly grows at first."
    )


def explain_ranks(times: Spread, ranks: int, even: float) -> str:
    """What it means that all ranks are so many times as fast as one, where equal ranks would bring ``even`` times."""
    if ranks == 1:
        return f"There is one rank, so that this is the same work again: {times.in_words()} times as fast."
    measured = f"{ranks} ranks are {times.in_words()} times as fast as one of them"
    if _is_noisy(times):
        return _too_noisy(measured)
    if times.median < FULL * even:
        return (
            f"{measured}, where their shares of the prompts would allow {even:.2f}: each is slower beside others "
            "than it is alone, or waits for another. Ranks on one processor share its memory and its power; GPUs "
            "share the processor that launches their operations."
        )
    if times.median * FULL > even:
        return (
            f"{measured}, more than the {even:.2f} that their shares of the prompts allow: something else slowed the "
            "one rank, so do not trust the figure; run the cell again."
        )
    return (
        f"{measured}, which is what their shares of the prompts allow ({even:.2f}): no rank slows another. Each has "
        "a device, or a core, of its own."
    )


def _is_noisy(times: Spread) -> bool:
    return times.high - times.low > NOISY * times.median


def _too_noisy(measured: str) -> str:
    return (
        f"{measured}. That is too wide a range to say why: the machine does other things. Run the cells again later."
    )
