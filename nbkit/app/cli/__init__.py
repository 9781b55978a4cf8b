"""The command line: ``nbkit demo``, ``generate``, ``sweep``, ``doctor``."""

from nbkit.app.cli.commands import main

__all__ = ["main"]
