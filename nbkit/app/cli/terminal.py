"""The terminal: where the commands speak, and the codes with which they end."""

from __future__ import annotations

import sys

from rich.console import Console

from nbkit.errors import MissingExtra, NbkitError
from nbkit.files.machine import package_version

EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130

console = Console(highlight=False)


def fail(error: NbkitError, code: int) -> None:
    """Say an error in its own words and end with this code."""
    Console(stderr=True, highlight=False).print(f"nbkit: {error}", markup=False, soft_wrap=True)
    sys.exit(code)


def has_figures() -> bool:
    """Whether a report can be drawn; the command line does without, and says so."""
    has_plotly = package_version("plotly") is not None
    if not has_plotly:
        console.print(f"No report: {MissingExtra('lab', 'plotly')}", markup=False, soft_wrap=True)
    return has_plotly
