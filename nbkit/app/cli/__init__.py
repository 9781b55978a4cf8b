"""The command line: ``nbkit demo``, ``generate``, ``sweep``, ``doctor``, ``check``, ``wall``, ``reset``."""

from nbkit.app.cli.commands import main

__all__ = ["main"]
