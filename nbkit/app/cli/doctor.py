"""``nbkit doctor``: what this machine has and what it lacks, as a table."""

from __future__ import annotations

import sys

from rich.table import Table

from nbkit.app.cli.terminal import EXIT_FAILED, console


def doctor() -> None:
    """Say what this machine has, what nbkit will use, what is missing and how to get it."""
    from nbkit.app.doctor import examine

    checks = examine()
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("", "what", "found", "remedy"):
        table.add_column(column, overflow="fold")
    for check in checks:
        table.add_row(check.mark, check.what, check.found, check.remedy)
    console.print(table)
    broken = [check.what for check in checks if check.is_broken]
    console.print(f"\nnbkit cannot run here: {', '.join(broken)}." if broken else "\nnbkit can run here.")
    sys.exit(EXIT_FAILED if broken else 0)
