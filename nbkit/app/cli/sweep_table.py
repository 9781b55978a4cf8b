"""Terminal: a sweep's progress and its table, as the command line shows them."""

from __future__ import annotations

import itertools
from contextlib import closing

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from nbkit.analysis.scaling import explain_missing_accounts, points_by_series
from nbkit.app.cli.progress import BEAT_S, rate
from nbkit.app.durations import duration
from nbkit.inference.progress import RunProgress, follow
from nbkit.measure.sweep.record import Sweep
from nbkit.measure.sweep.runner import SweepRunner, SweepStep
from nbkit.runtime import Log


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


def _watch_run(step: SweepStep, bars: Progress, bar: TaskID, console: Console) -> None:
    assert step.job is not None
    for told in follow(step.job, RunProgress(step.point.settings, len(step.sweep.prompts)), BEAT_S):
        if isinstance(told, Log):
            console.print(told.labelled, markup=False, soft_wrap=True)
        else:
            bars.update(bar, completed=told.fraction_done, description=f"{step.point.label}: {rate(told)}")


def print_sweep(sweep: Sweep, console: Console) -> None:
    """Print a row for each series and number of ranks: medians, and in brackets the lowest and the highest."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("", "ranks", "wall s", "tokens/s", "speed-up"):
        table.add_column(column, justify="right" if column else "left")
    measured = points_by_series(sweep.runs)
    for label, points in measured.items():
        for point in points:
            figures = (point.wall_s.in_words(), f"{point.tokens_per_second.median:.1f}", point.speed_up.in_words())
            table.add_row(label, str(point.ranks), *figures)
    console.print(table)
    for sentence in explain_missing_accounts(itertools.chain(*measured.values())):
        console.print(sentence, markup=False, soft_wrap=True)
