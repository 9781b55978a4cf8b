"""Advice: the batch size and the number of ranks for a goal, by simulation, with what speaks for them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from nbkit.analysis.cost_model import CostModel
from nbkit.analysis.what_if import Forecast, Workload, simulate
from nbkit.errors import InputError, shorten
from nbkit.records.settings import Settings

GOALS = ("throughput", "first token", "cost")
PAYS = 0.5
"""Further ranks pay while each brings at least this share of what the first one brought."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What to choose for a goal, and the forecasts that it was chosen from, the best first.

    ``because`` has the figures, and in further sentences what ``Forecast.notes`` tell of the best and what was
    left out for want of memory. ``pays_until`` is the number of ranks after
    which a further rank brings less than half of what one rank alone brings, at the batch size advised.
    """

    goal: str
    best: Forecast
    because: str
    pays_until: int
    forecasts: list[Forecast]


def advise(
    model: CostModel,
    workload: Workload,
    settings: Settings,
    ranks: Sequence[int],
    batch_sizes: Sequence[int],
    goal: str = "throughput",
    price_per_gpu_hour: float = 1.0,
    deadline_s: float | None = None,
) -> Advice:
    """The best number of ranks and batch size for a goal, of those given.

    Parameters
    ----------
    model, workload, settings
        As for ``simulate``; the batch size in ``settings`` is replaced by each of ``batch_sizes``.
    goal : {"throughput", "first token", "cost"}
        ``throughput``: most tokens per second. ``first token``: shortest mean time from
        the run's begin to a prompt's first token. ``cost``: the lowest price of all ranks'
        wall time. Batch sizes that do not fit into memory are
        left out, unless none fits. Among forecasts within 1% of the best the one with the fewest ranks is taken.
    price_per_gpu_hour : float
        In any currency, more than 0.
    deadline_s : float, optional
        Only runs that end within so many seconds count.

    Raises
    ------
    InputError
        The goal is unknown, nothing is offered to choose from, or nothing meets the
        deadline; the message then says what comes closest.
    """
    if goal not in GOALS:
        raise InputError(f"goal must be one of {', '.join(GOALS)}, not {shorten(goal)}.")
    if not ranks or not batch_sizes:
        raise InputError("give at least one number of ranks and one batch size to choose from.")
    if price_per_gpu_hour <= 0:
        raise InputError(f"the price of a GPU-hour must be more than 0, not {price_per_gpu_hour}.")
    forecasts = [
        simulate(model, workload, Settings.of(settings, batch_size=size), n)
        for n, size in itertools.product(sorted(set(ranks)), sorted(set(batch_sizes)))
    ]
    fitting = [forecast for forecast in forecasts if forecast.fits] or forecasts
    in_time = _in_time(fitting, deadline_s)
    ranked = sorted(in_time, key=lambda forecast: _loss(forecast, goal))
    limit = 1.01 * _loss(ranked[0], goal)
    best = min((f for f in ranked if _loss(f, goal) <= limit), key=lambda f: (f.ranks, _loss(f, goal)))
    ordered = [best, *(forecast for forecast in ranked if forecast is not best)]
    pays_until = where_ranks_stop_paying(model, workload, best.settings, max(ranks))
    said = [_because(best, goal, price_per_gpu_hour, deadline_s, pays_until), *best.notes]
    if len(fitting) < len(forecasts):
        said.append(_left_out([forecast for forecast in forecasts if not forecast.fits]))
    return Advice(goal, best, " ".join(said), pays_until, ordered)


def where_ranks_stop_paying(model: CostModel, workload: Workload, settings: Settings, most: int) -> int:
    """The largest number of ranks, up to ``most``, whose last doubling still paid.

    A step from n to m ranks pays if the tokens per second that it adds are, for each added rank,
    at least half of what one rank alone brings.
    """
    alone = simulate(model, workload, settings, 1).tokens_per_second
    paid, before = 1, alone
    for ranks in doublings(most)[1:]:
        rate = simulate(model, workload, settings, ranks).tokens_per_second
        if (rate - before) / (ranks - paid) < PAYS * alone:
            break
        paid, before = ranks, rate
    return paid


def doublings(most: int) -> list[int]:
    """1, 2, 4, ... and ``most`` itself."""
    powers = [2**k for k in range(most.bit_length()) if 2**k < most]
    return [*powers, most]


def _loss(forecast: Forecast, goal: str) -> float:
    if goal == "throughput":
        return 1 / forecast.tokens_per_second if forecast.tokens_per_second else math.inf
    return forecast.mean_first_token_s if goal == "first token" else forecast.gpu_hours


def _in_time(forecasts: Sequence[Forecast], deadline_s: float | None) -> list[Forecast]:
    if deadline_s is None:
        return list(forecasts)
    in_time = [forecast for forecast in forecasts if forecast.wall_s <= deadline_s]
    if not in_time:
        fastest = min(forecasts, key=lambda forecast: forecast.wall_s)
        raise InputError(
            f"nothing ends within {deadline_s:.0f} s; the fastest is {fastest.ranks} ranks at batch size "
            f"{fastest.settings.prompts_a_batch} with {fastest.wall_s:.0f} s. Allow more time, more ranks or larger "
            "batches."
        )
    return in_time


def _because(best: Forecast, goal: str, price: float, deadline_s: float | None, pays_until: int) -> str:
    figures = {
        "throughput": f"{best.tokens_per_second:.0f} tokens/s, {best.wall_s:.1f} s in all",
        "first token": f"a prompt waits {best.mean_first_token_s:.2f} s for its first token, on average",
        "cost": f"{best.gpu_hours * price:.4g} for {best.gpu_hours:.4g} GPU-hours, {best.wall_s:.1f} s in all",
    }
    within = f" within {deadline_s:.0f} s" if deadline_s is not None else ""
    return (
        f"{best.ranks} rank{'s' if best.ranks != 1 else ''} at batch size {best.settings.prompts_a_batch}{within}: "
        f"{figures[goal]}. More ranks pay up to {pays_until}."
    )


def _left_out(forecasts: Sequence[Forecast]) -> str:
    """Which batch sizes do not fit, and up to how many ranks: with more, batches are smaller than was asked for."""
    most_ranks = {size: max(f.ranks for f in own) for size, own in _by_size(forecasts).items()}
    listed = ", ".join(f"batch size {size} on up to {ranks} ranks" for size, ranks in most_ranks.items())
    return f"Left out, for want of memory: {listed}."


def _by_size(forecasts: Sequence[Forecast]) -> dict[int | str, list[Forecast]]:
    by_size: dict[int | str, list[Forecast]] = {}
    for forecast in forecasts:
        by_size.setdefault(forecast.settings.prompts_a_batch, []).append(forecast)
    return by_size
