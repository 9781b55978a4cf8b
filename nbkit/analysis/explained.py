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
SAME = 0.1
"""Figures that differ by no more than this share are called the same."""
HARMED = 0.05
"""A perplexity that is higher by more than this share is called harm."""
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


def explain_decode(times: Spread) -> str:
    """What it means that a position of decode takes so many times as long as one of prefill."""
    measured = f"A position of decode takes {times.in_words(1)} times as long as one of prefill here"
    if _is_noisy(times):
        return _too_noisy(measured)
    if times.median <= FREE:
        return (
            f"{measured}: the arithmetic of each position takes the time in both, or the device is as well used by a "
            "few positions as by many."
        )
    return (
        f"{measured}: what a pass does once, reading the weights and launching the operations, is shared by all "
        "positions of the prompts in prefill, and by one of each sequence in decode. Products of many rows also use "
        "a device better than those of few."
    )


def explain_fewer_bytes(times: Spread, name: str, fewer: float) -> str:
    """What it means that weights of ``fewer`` times fewer bytes than float32's bring so many times the tokens."""
    measured = f"{name}: {times.in_words()} times the tokens per second of float32"
    if _is_noisy(times):
        return _too_noisy(measured)
    if times.median > (1 + SAME) * fewer:
        return (
            f"{measured}, more than the {fewer:g} times fewer bytes can bring alone: the arithmetic is faster, too. "
            "Many processors multiply several short numbers in the time of one float32, and smaller weights may fit "
            "into a cache."
        )
    if times.median >= (1 - 2 * SAME) * fewer:
        return f"{measured}, about what {fewer:g} times fewer bytes can bring: memory was the limit."
    if times.median > 1 + SAME:
        return (
            f"{measured}, less than the {fewer:g} times fewer bytes: reading the weights is only a part of a step. "
            "Launching the operations, attention and choosing the token take as long as before, and short numbers "
            "may have to be made and turned back."
        )
    if times.median >= 1 - SAME:
        return (
            f"{measured}, so hardly any difference: a step waits for something else here than for the bytes of its "
            "weights, such as the launch of its operations or the arithmetic."
        )
    return (
        f"{measured}, so it is slower: short numbers are unpacked or turned into others for each product, which "
        "takes longer here than reading the bytes that are saved. So it is where a device has no arithmetic for "
        "them, and above all in large batches, in which many sequences share the reading."
    )


def explain_perplexity(perplexity: float, reference: float, name: str) -> str:
    """What a perplexity says of weights in fewer bits, beside that of float32."""
    more = perplexity / reference - 1
    measured = f"{name}: perplexity {perplexity:.1f} beside {reference:.1f} in float32 ({more:+.1%})"
    if more > HARMED:
        return (
            f"{measured}: the rounding does harm. A model with few weights has little to spare; and the more weights "
            "share a scale, the fewer steps the largest of them leaves to the others."
        )
    return f"{measured}: on this text the model has hardly suffered."


def _is_noisy(times: Spread) -> bool:
    return times.high - times.low > NOISY * times.median


def _too_noisy(measured: str) -> str:
    return (
        f"{measured}. That is too wide a range to say why: the machine does other things. Run the cells again later."
    )
