"""``nbkit check``: everything that nbkit claims, tried on this machine, and the findings in one file."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from nbkit.app.cli.terminal import EXIT_FAILED, EXIT_INTERRUPTED, console
from nbkit.errors import InputError
from nbkit.files.atomic_write import check_writable

if TYPE_CHECKING:
    from nbkit.app.check.bench import Bench
    from nbkit.app.check.findings import Finding, Report
    from nbkit.app.check.runner import Check

STYLES = {"passed": "green", "failed": "bold red", "skipped": "dim", "noted": "cyan"}
MOST_COLUMNS = 110
SHORTEST_TOLD_S = 0.05
COLUMNS = "{:<8} {:<11} "
"""Outcome and check; then the finding, and the seconds it took."""


def check(
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Some of the checks, with commas; left out: all of them.", show_default=False),
    ] = None,
    minutes: Annotated[
        float, typer.Option("--minutes", help="For all together; what cannot begin any more is skipped and named.")
    ] = 8.0,
    notebooks: Annotated[
        Path | None,
        typer.Option("--notebooks", help="Their folder; left out: notebooks, if it is here.", show_default=False),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="One JSON file with all findings, to send in.")] = Path(
        "nbkit-check.json"
    ),
) -> None:
    """Try everything that nbkit claims on this machine: ranks, errors, kills, texts, speed, load, notebooks."""
    if not minutes > 0:
        raise InputError(f"--minutes must be above 0, not {minutes:g}.")
    from nbkit.app.check.bench import Bench, gpus_here
    from nbkit.app.check.findings import Report
    from nbkit.app.check.notebooks import find_folder
    from nbkit.app.check.runner import Clock

    chosen = _chosen(only)
    if notebooks is not None and not notebooks.is_dir():
        raise InputError(f"--notebooks names a folder, and {notebooks} is none.")
    check_writable(out)
    clock, gpus = Clock(minutes), gpus_here()
    report = Report(minutes, gpus)
    counted = f"{len(chosen)} check{'s' if len(chosen) > 1 else ''} on {_where(gpus)}"
    console.print(f"{counted}, in at most {minutes:g} minutes; Ctrl-C keeps what is found\n")
    with Bench(clock, gpus, find_folder(notebooks)) as bench:
        try:
            _run(chosen, bench, report, out)
            report.ended = "whole"
        except KeyboardInterrupt:
            report.ended = "interrupted"
        report.seconds = clock.elapsed_s
        report.write(out)
    _sum_up(report, out)
    if report.ended == "interrupted":
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(EXIT_FAILED if report.counts["failed"] else 0)


def _chosen(only: list[str] | None) -> list[Check]:
    """The checks that were named, in their own order.

    Raises
    ------
    InputError
        There is no check of a name.
    """
    from nbkit.app.check.catalog import CHECKS

    names = [name.strip() for given in only or () for name in given.split(",") if name.strip()]
    for name in names:
        if name not in CHECKS:
            raise InputError(f"--only takes {', '.join(CHECKS)}, not {name!r}.")
    return [each for name, each in CHECKS.items() if not names or name in names]


def _where(gpus: tuple[dict[str, object], ...]) -> str:
    if not gpus:
        return "the CPU"
    names = ", ".join(sorted({str(gpu["name"]) for gpu in gpus}))
    return f"{len(gpus)} GPU{'s' if len(gpus) > 1 else ''} ({names})"


def _run(chosen: list[Check], bench: Bench, report: Report, out: Path) -> None:
    """Print each finding as it comes, and keep the file in step, lest a machine that is lost takes all along."""
    from nbkit.app.check.runner import Part, run_checks

    with console.status("") as status:

        def on_part(check: Check, part: Part) -> None:
            status.update(Text(f"{check.name}: {part.name} ({bench.clock.left_s:.0f} s left)"))

        for finding in run_checks(chosen, bench, bench.clock, on_part):
            report.findings.append(finding)
            report.seconds = bench.clock.elapsed_s
            _print(finding)
            report.write(out)


def _print(finding: Finding) -> None:
    """One line, or what it takes, with the outcome, the check, what was found and the seconds it took."""
    head = COLUMNS.format(finding.outcome, finding.check)
    taken = f" ({finding.seconds:.1f} s)" if finding.seconds >= SHORTEST_TOLD_S else ""
    width = max(min(console.width, MOST_COLUMNS) - len(head), 30)
    for number, line in enumerate(textwrap.wrap(finding.said + taken, width) or [""]):
        text = Text(head if number == 0 else " " * len(head))
        text.stylize(STYLES[finding.outcome], 0, len(finding.outcome))
        console.print(text.append(line), soft_wrap=True)


def _sum_up(report: Report, out: Path) -> None:
    counts = ", ".join(f"{count} {outcome}" for outcome, count in report.counts.items() if count)
    console.print(f"\n{counts or 'nothing found'}, in {report.seconds:.0f} s")
    if report.ended == "interrupted":
        console.print("stopped by Ctrl-C: what came after that is not in the file")
    for name in _names_of_failures(report.findings):
        console.print(Text(f"failed: {name}", style=STYLES["failed"]), soft_wrap=True)
    console.print(f"written to {out}", soft_wrap=True)


def _names_of_failures(findings: Iterable[Finding]) -> list[str]:
    return [f"{each.check}: {each.part}" for each in findings if each.outcome == "failed"]
