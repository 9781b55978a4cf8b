"""Runs in the terminal: side by side, what each brings over the one before, and what was not as asked for."""

from __future__ import annotations

import itertools

from rich.table import Table

from nbkit.app.cli.terminal import console
from nbkit.records.headline import run_note
from nbkit.records.run import Run
from nbkit.records.run_tables import shown_names
from nbkit.records.settings import with_batch_size


def print_table(runs: dict[str, Run]) -> None:
    """Runs side by side, a column each."""
    summaries = [shown_names(run.summary()) for run in runs.values()]
    table = Table(box=None, padding=(0, 3, 0, 0))
    table.add_column("")
    for name in runs:
        table.add_column(name, justify="right", style="bold")
    for row in summaries[0]:
        if row != "engine":
            table.add_row(row, *("-" if summary[row] is None else str(summary[row]) for summary in summaries))
    console.print(table)


def print_gains(runs: dict[str, Run]) -> None:
    """What each run brings over the one before it."""
    console.print()
    for (before, slower), (name, faster) in itertools.pairwise(runs.items()):
        times = faster.tokens_per_second / slower.tokens_per_second
        told = with_batch_size(faster.engine, faster.batch_size, name)
        console.print(f"{told}: {times:.1f} times the throughput of {before}.")
    print_notes(runs)
    console.print()


def print_notes(runs: dict[str, Run]) -> None:
    """What was not as asked for, or as usual."""
    for name, run in runs.items():
        if note := run_note(run):
            console.print(f"{name}: {note}.", soft_wrap=True)
