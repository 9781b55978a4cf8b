"""Terminal: a sweep's progress and its table, as the command line shows them, and the series in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from nbkit.analysis.cost_model import CostModel
from nbkit.analysis.lost_time import LostTime
from nbkit.analysis.published import published_cost_model
from nbkit.analysis.scaling import ScalingPoint, explain, kind, kinds, scaling, series
from nbkit.durations import duration
from nbkit.errors import InputError
from nbkit.progress import RunProgress
from nbkit.records import Run
from nbkit.sweep.record import Sweep
from nbkit.sweep.runner import Step, SweepRunner
from nbkit.workers import Emitted, Log

NO_ACCOUNT = LostTime(0, 0.0, 0.0, {})


@dataclass(frozen=True, slots=True)
class MeasuredSeries:
    """The points of a series, and why there is no account of its lost time.

    ``why_no_account`` is a sentence, and the points' ``lost`` and ``gap`` are then empty; None
    where there is an account.
    """

    points: Sequence[ScalingPoint]
    why_no_account: str | None = None

    @property
    def in_words(self) -> list[str]:
        """A sentence for each number of ranks but the fewest, and the one that says why there is no account."""
        if self.why_no_account is None:
            return [explain(point) for point in self.points[1:]]
        said = [f"{point.ranks} ranks are {point.speed_up.median:.2f} times as fast." for point in self.points[1:]]
        return [*said, f"Where the time went is not told: {self.why_no_account}"]


def measured_series(runs: Sequence[Run]) -> dict[str, MeasuredSeries]:
    """Every series of a sweep's runs by its label, with an account of lost time where a cost model can be fitted."""
    models = {name: _fitted(own) for name, own in kinds(runs).items()}
    return {label: _measured(own, models[kind(own[0])]) for label, own in series(runs).items()}


def why_no_account(measured: Mapping[str, MeasuredSeries]) -> list[str]:
    """The sentences that say why series have no account of lost time, each once."""
    return list(dict.fromkeys(own.why_no_account for own in measured.values() if own.why_no_account))


def _fitted(runs: Sequence[Run]) -> CostModel | str:
    """The cost model of runs of one kind, or why there is none."""
    try:
        return CostModel.fit(runs)
    except InputError as error:
        return str(error)


def _measured(runs: Sequence[Run], model: CostModel | str) -> MeasuredSeries:
    if isinstance(model, CostModel):
        return MeasuredSeries(scaling(runs, model))
    # Speed-ups need no model: any will do, and the account that is made with it is dropped.
    points = scaling(runs, published_cost_model())
    return MeasuredSeries([replace(point, lost=NO_ACCOUNT, gap=NO_ACCOUNT) for point in points], model)


def watch_sweep(runner: SweepRunner, console: Console) -> None:
    """Measure, showing the runs done and the one under way; what interrupts it cancels that one.

    Raises
    ------
    InputError, ModelError, WorkersError
        As for ``SweepRunner.steps``.
    """
    columns = (BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars, closing(runner.steps()) as steps:
        whole = bars.add_task("starting", total=None)
        under_way = bars.add_task("", total=1.0)
        for step in steps:
            left = f", about {duration(step.remaining_s)} left" if step.remaining_s else ""
            said = f"{step.done} of {step.total} runs{left}"
            bars.update(whole, completed=step.done, total=step.total, description=said)
            bars.reset(under_way, description=f"{step.kind}: {step.point.label}")
            if step.kind == "measuring":
                _watch_run(step, bars, under_way, console)


def _watch_run(step: Step, bars: Progress, bar: TaskID, console: Console) -> None:
    assert step.job is not None
    progress = RunProgress(step.point.settings, len(step.sweep.prompts))
    for event in step.job.events(timeout=0.2):
        if isinstance(event, Log):
            console.print(event.labelled, markup=False, soft_wrap=True)
        elif isinstance(event, Emitted):
            progress.take(event.rank, event.value)
            rate = f"{progress.tokens_per_second:.0f} computed tokens/s"
            bars.update(bar, completed=progress.fraction_done, description=f"{step.point.label}: {rate}")


def print_sweep(sweep: Sweep, console: Console) -> None:
    """Print a row for each series and number of ranks: medians, and in brackets the lowest and the highest."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("", "ranks", "wall s", "tokens/s", "speed-up"):
        table.add_column(column, justify="right" if column else "left")
    measured = measured_series(sweep.runs)
    for label, own in measured.items():
        for point in own.points:
            figures = (point.wall_s.in_words(), f"{point.tokens_per_second.median:.1f}", point.speed_up.in_words())
            table.add_row(label, str(point.ranks), *figures)
    console.print(table)
    for sentence in why_no_account(measured):
        console.print(f"Where the time went is not told: {sentence}", markup=False, soft_wrap=True)
