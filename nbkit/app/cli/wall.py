"""``nbkit wall``: makes the wall of a room and serves it as a web page, until it is interrupted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from nbkit.app.cli.terminal import console
from nbkit.errors import InputError, shorten

LOCAL = ("127.0.0.1", "localhost", "::1")


def wall(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Where learners join by files of their own; made if need be. Left out: at the address."),
    ] = None,
    port: Annotated[int, typer.Option(help="Where the page is served; 0: any that is free.", min=0, max=65535)] = 0,
    host: Annotated[
        str, typer.Option(help="Who can reach it: 127.0.0.1 this machine alone, 0.0.0.0 everybody on its networks.")
    ] = "127.0.0.1",
    token: Annotated[
        str,
        typer.Option(help="The address's token, from 16 characters on; left out, one is drawn.", show_default=False),
    ] = "",
    expect: Annotated[str, typer.Option(help="How many learners come, or their names with commas.")] = "",
) -> None:
    """Show the runs of a room of learners live: everyone's batch size and tokens/s, the best, who has not started."""
    import asyncio

    from nbkit.app.wall.folder import make_wall
    from nbkit.app.wall.server import WallServer, wall_server

    there = None if folder is None else make_wall(folder)
    server = wall_server(there, _expected(expect), _token(token))

    async def serve(server: WallServer) -> None:
        address = server.start(port, host)
        _say(f"The wall:  {address}")
        _say(f"To join, in a notebook:  {server.join}")
        if there is None:
            _say("Whoever has the address can look and join; entries are kept until this ends.")
        if host in LOCAL:
            _say("It listens on this machine alone; for notebooks and browsers elsewhere name another --host.")
        else:
            _say(
                f"It listens on {host} without encryption: whoever sees the network's traffic sees names and speeds."
            )
        _say("Ctrl+C ends it.")
        await asyncio.Event().wait()

    asyncio.run(serve(server))


def _say(line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)


def _token(text: str) -> str | None:
    """A token that can stand in an address; None where one is to be drawn.

    Raises
    ------
    InputError
        It is too short, or has other characters.
    """
    if text and not re.fullmatch("[A-Za-z0-9_-]{16,100}", text, re.ASCII):
        raise InputError("--token is of 16 to 100 letters, digits, - and _, so that nobody guesses it.")
    return text or None


def _expected(text: str) -> int | list[str]:
    """A number, or names.

    Raises
    ------
    InputError
        The number is too long to be one.
    """
    if not text.strip().isdecimal():
        return [name for name in text.split(",") if name.strip()]
    if len(text.strip()) > 9:
        raise InputError(f"--expect is how many learners come, not {shorten(text)}.")
    return int(text)
