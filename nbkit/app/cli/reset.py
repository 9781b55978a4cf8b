"""``nbkit reset``: ends and removes what this user's sessions have left of the kit, and says what it does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nbkit.app.cli.terminal import EXIT_FAILED, console


def reset(
    results: Annotated[
        list[Path] | None,
        typer.Option(help="A folder with results of the kit that is to go; may be given several times."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
) -> None:
    """End your live workers, remove what the kit keeps in your folders; of other users nothing is touched."""
    from nbkit.app.reset import find_leftovers, remove_leftovers

    found = find_leftovers([path.absolute() for path in results or ()])
    for host in found.hosts:
        _say(f"ends      {host.in_words}")
    for path in found.paths:
        _say(f"removes   {path}")
    _say("removes   temporary folders of your processes that have ended")
    for kept in found.kept:
        _say(f"leaves    {kept}")
    if not yes and not typer.confirm("Do it?"):
        _say("Nothing was done.")
        return
    failed = remove_leftovers(found)
    for sentence in failed:
        _say(sentence)
    _say("Done." if not failed else "Not all is done.")
    sys.exit(EXIT_FAILED if failed else 0)


def _say(line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)
