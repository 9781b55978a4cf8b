"""Scaling: how much faster more ranks are, how sure that is, and what keeps them from being faster.

Speed-up on n ranks is S = T_1 / T_n, parallel efficiency E = S / n (Amdahl, 1967; Eager,
Zahorjan and Lazowska, "Speedup versus efficiency in parallel systems", 1989), T the wall
time of the same prompts with the same settings: strong scaling. Where nothing was
measured on one rank, the fewest ranks m stand for it: S = m T_m / T_n.
"""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nbkit.analysis.cost_model import CostModel
from nbkit.analysis.distinctions import distinctions, place_of, settings_in_words
from nbkit.analysis.known_hardware import known_hardware
from nbkit.analysis.lost_time import LostTime, lost_time
from nbkit.errors import InputError
from nbkit.records.run import Run

GAIN = 0.005
"""A loss that is further below 0 than this share of the wall time is explained."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over repeats: the median, and the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one or more values."""
        return cls(statistics.median(values), min(values), max(values))

    def times(self, factor: float) -> Spread:
        """Every value times a factor of 0 or more."""
        return Spread(self.median * factor, self.low * factor, self.high * factor)

    def in_words(self, digits: int = 2) -> str:
        """``1.87 (1.80–1.92)``, or the one value where there is no spread."""
        if self.low == self.high:
            return f"{self.median:.{digits}f}"
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}–{self.high:.{digits}f})"


@dataclass(frozen=True, slots=True)
class ScalingPoint:
    """What a number of ranks brought.

    ``wall_s`` in seconds; ``speed_up`` and ``efficiency`` (0 to 1, or more) are against the
    fewest ranks, repeat by repeat, so that a machine that drifts is in both halves of a
    ratio. ``lost`` is the account of the run whose wall time is the median, ``gap`` that account
    against the fewest ranks'; where no cost model can be fitted both are None, and
    ``why_no_account`` says why, in a sentence.
    """

    ranks: int
    repeats: int
    wall_s: Spread
    tokens_per_second: Spread
    speed_up: Spread
    efficiency: Spread
    lost: LostTime | None = None
    gap: LostTime | None = None
    why_no_account: str | None = None


def series(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs by what they have in common but for the number of ranks: a label in words to its runs.

    A label names only what is not the same in all runs: the engine with its batch size,
    the dtype, the schedule, ... Labels are in the order of these; the runs of each are in the order
    given. Runs that were stopped are left out.
    """
    complete = [run for run in runs if run.is_complete]
    by_label: dict[str, list[Run]] = defaultdict(list)
    for run, differing in zip(complete, distinctions(complete), strict=True):
        by_label[", ".join(differing.values()) or settings_in_words(run)["engine"]].append(run)
    return dict(sorted(by_label.items(), key=lambda item: place_of(item[1][0])))


def scaling(runs: Sequence[Run], model: CostModel | None = None) -> list[ScalingPoint]:
    """One point a number of ranks, from the fewest on.

    Parameters
    ----------
    runs : sequence of Run
        Of the same prompts with the same settings, on several numbers of ranks, in the
        order in which they were measured. One of the lists that ``series`` gives.
    model : CostModel, optional
        What batches should take; left out, it is fitted to these runs, and where it cannot
        be, there is no account of lost time. One that is fitted
        to more batch sizes tells fixed seconds from those of each sequence better. It is
        calibrated to the run on the fewest ranks whose account is given, so that slower means slower than that one,
        which has itself neither a loss below 0 nor more than 100% useful work.

    Raises
    ------
    InputError
        The runs differ in more than the number of ranks, one was stopped, or there are none.
    """
    _check_alike(runs)
    by_ranks: dict[int, list[Run]] = defaultdict(list)
    for run in runs:
        by_ranks[run.world_size].append(run)
    fewest = by_ranks[min(by_ranks)]
    points = [_point(by_ranks[ranks], fewest) for ranks in sorted(by_ranks)]
    try:
        model = (model or CostModel.fit(runs)).calibrated([_median_run(fewest)])
        accounts = [lost_time(_median_run(by_ranks[point.ranks]), model) for point in points]
    except InputError as error:
        return [dataclasses.replace(point, why_no_account=str(error)) for point in points]
    return [
        dataclasses.replace(point, lost=account, gap=account.minus(accounts[0]))
        for point, account in zip(points, accounts, strict=True)
    ]


def kinds(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs that have finished batches, by their ``kind``."""
    by_kind: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.batches:
            by_kind[kind(run)].append(run)
    return dict(by_kind)


def best_model(runs: Sequence[Run], of: Run) -> CostModel:
    """The cost model fitted to all runs of the same kind as one run, with what is known to bound its ranks."""
    own = kinds(runs)[kind(of)]
    return dataclasses.replace(CostModel.fit(own), hardware=known_hardware(own)[0])


def points_by_series(runs: Sequence[Run]) -> dict[str, list[ScalingPoint]]:
    """The points of every series, by its label, each held against the cost model of all runs of its kind."""
    models = {}
    for name, own in kinds(runs).items():
        with contextlib.suppress(InputError):  # ``scaling`` comes to the same and writes it down
            models[name] = CostModel.fit(own)
    return {label: scaling(own, models.get(kind(own[0]))) for label, own in series(runs).items()}


def explain(point: ScalingPoint) -> str:
    """In a sentence: how far a point is from ideal, and the largest reasons, as far as there is an account."""
    ranks, gap = point.ranks, point.gap
    found = f"{ranks} ranks are {point.speed_up.median:.2f} times as fast"
    if gap is None:
        return f"{found}."
    if gap.wall_s <= 0.02 * point.wall_s.median:
        return f"{found}: what {ranks} ranks can be."
    reasons = sorted(gap.losses.items(), key=lambda item: -item[1])
    named = [f"{name} ({seconds:.2f} s)" for name, seconds in reasons if seconds > 0.1 * gap.wall_s][:3]
    return f"{found}: {gap.wall_s:.2f} s slower than {ranks} times would be, for {', '.join(named)}."


def explain_gains(points: Sequence[ScalingPoint]) -> list[str]:
    """What a loss below 0 means, in a sentence for each number of ranks where there is one worth mentioning."""
    alone = _in_words(points[0].ranks) if points else ""
    accounts = [point.lost for point in points if point.lost is not None and point.lost.wall_s]
    return [
        f"{_in_words(account.ranks)}: slower ranks is {100 * account.losses['slower ranks'] / account.wall_s:.0f}%, "
        f"below 0, for batches took less time than they do on {alone}; so useful work, "
        f"{100 * account.useful_s / account.wall_s:.0f}%, and the losses above 0 add up to more than 100%."
        for account in accounts
        if account.losses["slower ranks"] < -GAIN * account.wall_s
    ]


def explain_missing_accounts(points: Iterable[ScalingPoint]) -> list[str]:
    """Why points have no account of lost time: a sentence for each reason that there is."""
    reasons = dict.fromkeys(point.why_no_account for point in points if point.why_no_account is not None)
    return [f"Where the time went is not told: {reason}" for reason in reasons]


def explain_all(points: Sequence[ScalingPoint]) -> list[str]:
    """The points of one series in sentences: each number of ranks but the fewest; what is odd and what not known."""
    return [*map(explain, points[1:]), *explain_gains(points), *explain_missing_accounts(points)]


def kind(run: Run) -> str:
    """What a cost model is fitted to: a run's model, engine and dtype, and a quantisation if any, in words."""
    quantization = run.settings.quantization
    return f"{run.settings.model}, {run.engine}, {run.dtype}" + (
        f", {quantization}" if quantization != "none" else ""
    )


def _in_words(ranks: int) -> str:
    return f"{ranks} rank{'s' if ranks != 1 else ''}"


def _check_alike(runs: Sequence[Run]) -> None:
    if not runs:
        raise InputError("there are no runs to compare; run a sweep with several numbers of ranks first.")
    stopped = sum(not run.is_complete for run in runs)
    if stopped:
        raise InputError(f"{stopped} of these runs were stopped before their end; compare complete runs only.")
    for run in runs:
        if settings_in_words(run) != settings_in_words(runs[0]) or run.prompts != runs[0].prompts:
            raise InputError(
                "these runs differ in more than the number of ranks; group them with nbkit.analysis.scaling.series."
            )


def _median_run(runs: Sequence[Run]) -> Run:
    return sorted(runs, key=lambda run: run.wall_s)[(len(runs) - 1) // 2]


def _point(runs: Sequence[Run], reference: Sequence[Run]) -> ScalingPoint:
    ranks, fewest = runs[0].world_size, reference[0].world_size
    ratios = [fewest * one.wall_s / run.wall_s for one, run in zip(reference, runs, strict=False) if run.wall_s]
    speed_up = Spread.of(ratios or [0.0])
    return ScalingPoint(
        ranks=ranks,
        repeats=len(runs),
        wall_s=Spread.of([run.wall_s for run in runs]),
        tokens_per_second=Spread.of([run.tokens_per_second for run in runs]),
        speed_up=speed_up,
        efficiency=speed_up.times(1 / ranks),
    )
