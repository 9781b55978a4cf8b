"""The command line: ``nbkit demo``, ``generate``, ``sweep``, ``doctor``, ``check``, ``wall``, ``reset``."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from nbkit.app.cli.check import check
from nbkit.app.cli.demo import demo
from nbkit.app.cli.doctor import doctor
from nbkit.app.cli.generate import generate
from nbkit.app.cli.reset import reset
from nbkit.app.cli.sweep import sweep
from nbkit.app.cli.terminal import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_INTERRUPTED, console, fail
from nbkit.app.cli.wall import wall
from nbkit.errors import InputError, JobCancelled, NbkitError

app = typer.Typer(
    help="Learn, explore and run multi-GPU LLM inference.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (demo, generate, sweep, doctor, check, wall, reset):
    app.command()(command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, of this process or of ``arguments``.

    Errors end it with a sentence and an exit code, not a traceback.
    """
    try:
        app(arguments)
    except InputError as error:
        fail(error, EXIT_BAD_INPUT)
    except NbkitError as error:
        fail(error, EXIT_FAILED)
    except (KeyboardInterrupt, JobCancelled):
        console.print("stopped.")
        sys.exit(EXIT_INTERRUPTED)
