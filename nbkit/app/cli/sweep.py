"""``nbkit sweep``: a grid measured in a terminal, in one file that the same command goes on with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from nbkit.app.cli.options import SettingOptions
from nbkit.app.cli.progress import STARTING
from nbkit.app.cli.sweep_table import print_sweep, watch_sweep
from nbkit.app.cli.terminal import EXIT_FAILED, EXIT_INTERRUPTED, console, has_figures
from nbkit.errors import InputError, shorten
from nbkit.files.atomic_write import check_writable
from nbkit.inference.workers import Workers
from nbkit.measure.sweep import Grid, Sweep, SweepRunner, resume_or_begin, whole_numbers
from nbkit.prompts import first_lines
from nbkit.prompts.files import read_prompts
from nbkit.records.request import Conversation
from nbkit.records.settings import ARTICLE, FIELDS, Settings

OPTIONS = SettingOptions(
    usual={name: (getattr(Settings(), name),) for name in FIELDS}
    | {name: (value,) for name, value in ARTICLE.items()}
    | {"batch_size": (1, 4, 16), "max_new_tokens": (20,), "ignore_eos": (True,)},
    takes_several=True,
    # --seed is of the order in which combinations are measured.
    called={"seed": "draw_seed"},
    hints={"batch_size": "not auto, which is one of them"},
)


@OPTIONS.added_to
def sweep(
    ranks: Annotated[str, typer.Option("--ranks", help="Numbers of ranks, with commas.")] = "1,2",
    repeats: Annotated[int, typer.Option("--repeats", help="How often each combination is measured.")] = 3,
    prompts: Annotated[
        str, typer.Option("--prompts", help="How many first lines, or a file as for generate.")
    ] = "40",
    column: Annotated[str | None, typer.Option("--column", help="The file's column with the prompts.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the order in which combinations are measured.")] = 0,
    out: Annotated[Path, typer.Option("--out", help="One JSON file; if it is there, it is gone on with.")] = Path(
        "results/sweep.json"
    ),
    **asked: Any,
) -> None:
    """Measure every combination of ranks and settings. After Ctrl-C the same command goes on."""
    grid = Grid(
        ranks=whole_numbers(ranks, "--ranks"),
        batch_sizes=whole_numbers(asked.pop("batch_size"), "--batch-size"),
        axes=OPTIONS.read(asked),
        repeats=repeats,
        seed=seed,
    )
    listed = _prompts(prompts, column)
    report = check_writable(out).with_suffix(".html")
    if report == out:
        raise InputError(f"--out names the file of the measurements, not {shorten(str(out))}: the report goes there.")
    measured = resume_or_begin(out, grid, listed)
    if measured.measurements:
        begins = f"{out} is complete" if measured.is_complete else f"going on with {out}"
        console.print(f"{begins}: {_how_far(measured)}", soft_wrap=True)
    if not measured.is_complete:
        _measure(measured, out)
    _show(measured, out, report)
    sys.exit(EXIT_FAILED if measured.failures else 0)


def _prompts(asked: str, column: str | None) -> list[str | Conversation]:
    is_number = asked.isascii() and asked.isdigit()
    return [*first_lines(int(asked))] if is_number else read_prompts(Path(asked), column)


def _measure(measured: Sweep, out: Path) -> None:
    """Measure what of a sweep is left; at an interrupt, say how to go on."""
    with Workers(max(measured.grid.ranks)) as live:
        try:
            runner = SweepRunner(live, measured, out)
            with console.status(STARTING):
                live.wait_until_ready()
            watch_sweep(runner, console)
        except KeyboardInterrupt:
            saved = f", saved in {out}" if measured.measurements else ""
            console.print(f"stopped: {_how_far(measured)}{saved}; the same command goes on.", soft_wrap=True)
            sys.exit(EXIT_INTERRUPTED)


def _show(measured: Sweep, out: Path, report: Path) -> None:
    print_sweep(measured, console)
    saved = [out]
    if measured.measurements and has_figures():
        from nbkit.figures.html.sweep_report import write_sweep_report

        saved.append(write_sweep_report(measured, report))
    for path in saved:
        console.print(f"saved {path}", soft_wrap=True)
    for failure in measured.failures:
        console.print(f"failed: {failure.point.label}: {failure.message}", markup=False, soft_wrap=True)


def _how_far(measured: Sweep) -> str:
    return f"{len(measured.measurements)} of {len(measured.grid.plan())} runs done"
