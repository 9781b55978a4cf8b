"""Batch curve: runs of a kind at several batch sizes, what a cost model says between them, and the device's limit."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nbkit.analysis.cost_model import CostModel
from nbkit.analysis.distinctions import settings_in_words
from nbkit.analysis.roofline import decode_limit, of_run
from nbkit.analysis.what_if import Workload, simulate
from nbkit.errors import NbkitError
from nbkit.measure.device_speed.speed import DeviceSpeed
from nbkit.models.model_arithmetic import ModelShape
from nbkit.records.run import Run

Point = tuple[int, float]
"""A batch size, and tokens per second."""
ALWAYS_NAMED = ("engine", "workers")
LEAST_SIZES = 3
"""Of fewer batch sizes a cost model's line would say little that the dots do not."""
MOST_OFF = 0.25
"""A cost model that misses a measured median by a larger share of it is not drawn: it leaves something out."""
MOST_PREDICTED = 40
MOST_PROMPTS = 2000
"""A forecast deals out every prompt, for each batch size anew."""
LIMIT_STEPS = 8
"""Points of the limit for each doubling of the batch size."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Runs that differ in batch size at most, by their places among those given; the label tells them from others."""

    label: str
    places: tuple[int, ...]


def kinds(runs: Sequence[Run]) -> list[Kind]:
    """The kinds of these runs, in the order in which each came first.

    A label has the engine, the number of workers, and all else that is not the same in all runs.
    """
    described = _described(runs)
    named = [
        name
        for name in (described[0] if described else ())
        if name in ALWAYS_NAMED or len({each[name] for each in described}) > 1
    ]
    places: dict[str, list[int]] = {}
    for place, each in enumerate(described):
        places.setdefault(", ".join(each[name] for name in named), []).append(place)
    return [Kind(label, tuple(own)) for label, own in places.items()]


def median_points(runs: Sequence[Run]) -> list[Point]:
    """Tokens per second that users get by batch size, ascending: of complete runs, medians over repeats."""
    by_size: dict[int, list[float]] = {}
    for run in runs:
        if run.is_complete:
            by_size.setdefault(run.batch_size, []).append(run.tokens_per_second)
    return [(size, statistics.median(own)) for size, own in sorted(by_size.items())]


def predicted_points(runs: Sequence[Run]) -> list[Point]:
    """What a cost model fitted to these runs of one kind says, from the least to the largest of their batch sizes.

    Empty where it does not apply: too few batch sizes, no batches, another engine than the one asked for,
    what is paid once within the run, too many prompts to deal out for a line, or times that are none of batches,
    so that the model misses the runs themselves by more than ``MOST_OFF``.
    """
    complete = [run for run in runs if run.is_complete and not any(rank.cold_start_s for rank in run.ranks)]
    sizes = sorted({run.batch_size for run in complete})
    if len(sizes) < LEAST_SIZES or len(complete[-1].prompts) > MOST_PROMPTS:
        return []
    latest = complete[-1]
    try:
        model, workload = CostModel.fit(complete), Workload.of(latest)
        predicted = {
            size: simulate(
                model, workload, replace(latest.settings, batch_size=size), latest.world_size
            ).tokens_per_second
            for size in _between(sizes)
        }
    except NbkitError:
        return []
    is_met = all(abs(predicted[size] / rate - 1) <= MOST_OFF for size, rate in median_points(complete) if rate)
    return list(predicted.items()) if is_met else []


def limit_points(run: Run, shape: ModelShape, speed: DeviceSpeed, up_to: float) -> list[tuple[float, float]]:
    """What the device allows all ranks of this run at its context, from batch size 1 on.

    Empty where that is not known: weights of fewer bits than the dtype says, or no decoding to take a context from.
    """
    if run.settings.quantization != "none":
        return []
    try:
        held = of_run(run, shape, speed)
    except NbkitError:
        return []
    sizes: list[float] = []
    while not sizes or sizes[-1] < up_to:
        sizes.append(2 ** (len(sizes) / LIMIT_STEPS))
    return [
        (size, run.world_size * decode_limit(shape, speed, held.dtype, size, held.context).tokens_per_second)
        for size in sizes
    ]


def _described(runs: Sequence[Run]) -> list[dict[str, str]]:
    resolved = {run.settings.model: run.dtype for run in runs if run.dtype != "auto" and run.settings.dtype == "auto"}
    sets: list[Sequence[object]] = []
    for run in runs:
        if not any(_same(run.prompts, known) for known in sets):
            sets.append(run.prompts)
    described = []
    for run in runs:
        count = len(run.prompts)
        alike = [known for known in sets if len(known) == count]
        which = next(number for number, known in enumerate(alike, 1) if _same(run.prompts, known))
        words = settings_in_words(run) | {
            "engine": run.engine_label,
            # A stopped run does not tell what auto became; another of the same model does.
            "dtype": run.dtype if run.dtype != "auto" else resolved.get(run.settings.model, "auto"),
            "prompts": f"{count} prompts" + (f" (set {which})" if len(alike) > 1 else ""),
            "machine": str(run.machine.get("node", "")),
        }
        workers = f"{run.world_size} worker{'s' if run.world_size != 1 else ''}"
        described.append({"engine": words.pop("engine"), "workers": workers, **words})
    return described


def _same(prompts: Sequence[object], others: Sequence[object]) -> bool:
    return prompts is others or (len(prompts) == len(others) and list(prompts) == list(others))


def _between(sizes: Sequence[int]) -> list[int]:
    """Whole batch sizes from the first to the last, the measured ones among them: all, if they are few."""
    first, last = sizes[0], sizes[-1]
    if last - first < MOST_PREDICTED:
        return list(range(first, last + 1))
    spaced = (round(first * (last / first) ** (step / MOST_PREDICTED)) for step in range(MOST_PREDICTED + 1))
    return sorted({*sizes, *spaced})
