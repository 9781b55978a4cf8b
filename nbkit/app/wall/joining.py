"""Joining: from ``nbkit.join_wall`` on each finished run of this kernel goes onto the wall, and none waits for it."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import os
import secrets
import sys
import threading
import time
from pathlib import Path
from typing import Protocol

from nbkit.app.wall.address import AddressSender, is_address
from nbkit.app.wall.folder import FolderSender
from nbkit.errors import InputError, NbkitError
from nbkit.inference import finished_runs
from nbkit.records.run import Run
from nbkit.records.wall_entry import WallEntry, WallRun, check_learner_name

ENVIRONMENT = "NBKIT_WALL"
"""The wall, for learners who name none: a folder or an address."""
AGAIN_AFTER_S = 10.0
BETWEEN_S = 0.5
"""Runs that finish sooner after each other are sent together."""
LAST_WORD_S = 2.0
"""The most that the end of this process waits for the last run to be sent."""


class Sender(Protocol):
    """The way to a wall: a folder's, or an address's."""

    def begin(self, entry: WallEntry) -> WallEntry: ...
    def send(self, entry: WallEntry) -> None: ...
    def leave(self, entry: WallEntry) -> None: ...


class OnTheWall:
    """A learner on a wall. A thread of its own sends: no run waits for a wall, and none fails by it.

    Attributes
    ----------
    name : str
        As the wall shows it, but for a number behind it where two have the same.
    problem : str
        Why the newest could not be sent; empty if it was.
    has_left : bool
        Whether ``leave`` was called.
    """

    def __init__(self, sender: Sender, entry: WallEntry) -> None:
        self.name = entry.name
        self.problem = ""
        self.has_left = False
        self._sender = sender
        self._entry = sender.begin(entry)
        self._finished: list[WallRun | None] = []
        self._is_sent, self._is_closed, self._has_said = True, False, False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._send_all, name="nbkit-wall", daemon=True)
        self._thread.start()
        finished_runs.observe(self._take)
        atexit.register(self.wait_until_sent, LAST_WORD_S)

    def __repr__(self) -> str:
        if self.has_left:
            return f"<{self.name} has left the wall {self._sender}>"
        state = f"; not sent: {self.problem}" if self.problem else ""
        return f"<{self.name} on the wall {self._sender}: {self.runs_done} run(s){state}>"

    @property
    def runs_done(self) -> int:
        """Finished runs so far, those of an earlier kernel that this one goes on for included."""
        return self._entry.runs_done

    def wait_until_sent(self, timeout_s: float) -> bool:
        """Wait until all runs so far are on the wall, at most ``timeout_s`` seconds; whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_sent or self._is_closed, timeout_s) and not self.problem

    def leave(self) -> None:
        """Take the own entry off the wall, and show it nothing more; safe to call again."""
        self._end()
        self.has_left = True
        self._sender.leave(self._entry)

    def _end(self) -> None:
        finished_runs.forget(self._take)
        atexit.unregister(self.wait_until_sent)
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(LAST_WORD_S)

    def _take(self, run: Run) -> None:
        shown = _shown(run)
        with self._changed:
            self._finished.append(shown)
            self._is_sent = False
            self._changed.notify_all()

    def _send_all(self) -> None:
        while True:
            with self._changed:
                # What could not be sent is sent again, though no run follows it.
                self._changed.wait_for(
                    lambda: self._finished or self._is_closed, AGAIN_AFTER_S if self.problem else None
                )
                for run in self._finished:
                    self._entry = self._entry.with_run(run)
                self._finished.clear()
                if self._is_closed:
                    return
            self._send()
            with self._changed:
                self._is_sent = not self._finished
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._is_closed, BETWEEN_S)

    def _send(self) -> None:
        try:
            self._sender.send(self._entry)
            self.problem = ""
        # Whatever it is: a wall harms no run.
        except Exception as error:
            self.problem = str(error).removesuffix(".") if isinstance(error, NbkitError) else repr(error)
            if not self._has_said:
                self._has_said = True
                print(
                    f"nbkit: {self.problem}. Your runs go on without the wall, which is tried again now and then.",
                    file=sys.stderr,
                )


_joined: list[OnTheWall] = []
"""The one wall that this kernel is on."""


def join_wall(where: str | Path | None = None, *, name: str) -> OnTheWall:
    """Show the room, from now on, how fast each finished run of this kernel was.

    What is shown: the name, and of each run the model, engine, dtype, kind of device, ranks, batch size, counts of
    prompts and tokens, tokens per second and the time; never a prompt or an output. Where the wall is gone or full,
    runs go on, and one sentence says so. Called again, it goes on under another name or on another wall.

    Parameters
    ----------
    where : str or Path, optional
        The wall's folder, or its address, as the instructor has said it. Left out: ``NBKIT_WALL`` of the environment.
    name : str
        What to be called: 1 to 24 characters that can be printed.

    Raises
    ------
    InputError
        There is no such wall, it takes nobody, or this is no name.
    """
    chosen = check_learner_name(name)
    where = where if where is not None else os.environ.get(ENVIRONMENT, "").strip()
    if not where:
        raise InputError(
            f"which wall? Give its folder or address, or set {ENVIRONMENT}: nbkit.join_wall('/srv/wall', name='Ada')."
        )
    sender: Sender = AddressSender(str(where)) if is_address(where) else FolderSender(where)
    now_s = round(time.time(), 1)
    entry = WallEntry(secrets.token_hex(8), chosen, now_s, now_s, 0, [])
    while _joined:
        earlier = _joined.pop()
        earlier._end()
        if str(earlier._sender) == str(sender) and not earlier.has_left:
            sender, entry = earlier._sender, dataclasses.replace(earlier._entry, name=chosen, seen_s=now_s)
    _joined.append(OnTheWall(sender, entry))
    return _joined[0]


def _shown(run: Run) -> WallRun | None:
    """What the wall shows of a run; nothing, if it cannot be told."""
    with contextlib.suppress(Exception):
        return WallRun.of(run)
    return None
