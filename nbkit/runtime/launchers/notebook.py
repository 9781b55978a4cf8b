"""The notebook launcher: accelerate's ``notebook_launcher`` on this machine, called by a host process."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable

from nbkit.runtime import wire
from nbkit.runtime.channel import Channel
from nbkit.runtime.event_loop import EventLoop
from nbkit.runtime.launchers.launcher import Death, LauncherEvents
from nbkit.runtime.launchers.processes import Processes
from nbkit.runtime.outgoing import Outgoing

EXIT_REPORT_S = 2.0
OTHERS_GRACE_S = 0.5
"""From a rank's end to that of the others, which the launcher would wait for, 30 s if need be, before it tells."""


class NotebookLauncher:
    """Ranks on this machine, forked by a host; control travels on inherited sockets.

    Parameters
    ----------
    asked : int
        How many ranks; 0 for as many as fit the machine.
    loop : EventLoop
        Reads the sockets.
    preload : tuple of str
        Functions, as ``module:name``, that import what ranks need before they are forked.
    """

    def __init__(self, asked: int, loop: EventLoop, preload: tuple[str, ...] = ()) -> None:
        self._asked = asked
        self._loop = loop
        self._preload = preload
        self._outgoing = Outgoing(loop, self._took_nothing)
        self._processes: Processes | None = None
        self._events: LauncherEvents | None = None
        self._world_size: int | None = None
        self._pids: dict[int, int] = {}
        self._gone: set[int] = set()
        self._first_gone: int | None = None
        self._has_ended_others = False

    def start(self, events: LauncherEvents) -> None:
        """Start the host, which tells its plan and then starts the ranks."""
        self._events, self._world_size, self._first_gone = events, None, None
        self._pids, self._gone, self._has_ended_others = {}, set(), False
        try:
            self._processes = processes = Processes(self._asked, self._preload)
        except OSError as error:
            why = _why_no_host(error)
            self._loop.deadlines.set("no host", 0.0, lambda: events.failed_to_start(why, ""))
            return
        self._loop.watch(processes.control, self._read_host)
        self._loop.watch(processes.listener, self._connect)

    def send(self, message: object, ranks: Iterable[int]) -> None:
        """Have a message taken to each of these ranks."""
        assert self._processes is not None
        self._outgoing.send(message, {rank: self._processes.ranks[rank] for rank in ranks})

    def kill(self) -> None:
        """End host and ranks, and forget them."""
        processes, self._processes = self._processes, None
        self._loop.deadlines.call_off("exit report", "others", "no host")
        if processes is None:
            return
        for file in (processes.control, processes.listener):
            self._loop.unwatch(file)
        for rank, channel in processes.ranks.items():
            self._loop.unwatch(channel)
            self._outgoing.forget(rank)
        processes.kill()

    def log_tail(self) -> str:
        """The end of what host and ranks wrote past the jobs' streams."""
        return self._processes.log_tail() if self._processes is not None else ""

    def _connect(self) -> None:
        assert self._processes is not None
        try:
            connected = self._processes.connect()
        except OSError:
            connected = None
        if connected is None:
            self._loop.unwatch(self._processes.listener)
            return
        rank, channel = connected
        self._loop.watch(channel, lambda: self._read_rank(rank, channel))

    def _read_host(self) -> None:
        assert self._processes is not None and self._events is not None
        try:
            for message in self._processes.control.receive():
                if isinstance(message, wire.Plan):
                    self._world_size = message.world_size
                    self._events.planned(message)
                else:
                    self._host_failed(message)
                    return
        except EOFError:
            how = self._processes.how_it_ended(self._processes.host_exit_code(EXIT_REPORT_S))
            self._host_failed(wire.HostFailed(f"their host process {how}", {}))

    def _host_failed(self, failed: wire.HostFailed) -> None:
        assert self._processes is not None and self._events is not None
        if self._world_size is None or len(self._pids) < self._world_size:
            self._events.failed_to_start(failed.message, "" if failed.is_refusal else self._processes.log_tail())
            return
        exit_codes: dict[int, int | None] = {**failed.exit_codes}
        if self._world_size == 1:
            # A single rank runs in the host itself.
            exit_codes = {0: self._processes.host_exit_code(EXIT_REPORT_S)}
        if not exit_codes:
            # The host is gone, and its ranks with it.
            self._tell_death(None, self._processes.host_exit_code(EXIT_REPORT_S))
            return
        # Of those that were ended here the launcher may tell as well.
        knows_first = self._first_gone in exit_codes or self._has_ended_others
        rank = self._first_gone if knows_first and self._first_gone is not None else next(iter(exit_codes))
        self._tell_death(rank, exit_codes.get(rank))

    def _read_rank(self, rank: int, channel: Channel) -> None:
        assert self._events is not None
        self._outgoing.go_on(rank, channel)
        processes = self._processes
        try:
            for message in channel.receive():
                if isinstance(message, wire.Ready):
                    self._pids[rank] = message.info.pid
                self._events.received(rank, message)
                if self._processes is not processes:
                    return
        except EOFError:
            self._loop.unwatch(channel)
            self._gone.add(rank)
            if self._first_gone is None:  # the elastic agent ends the other ranks after the first
                self._first_gone = rank
                # The host, the ranks' parent, knows the exit code a moment later.
                self._loop.deadlines.set("exit report", EXIT_REPORT_S, lambda: self._tell_death(rank, None))
                self._loop.deadlines.set("others", OTHERS_GRACE_S, self._end_others)
                self._events.vanished(rank)

    def _end_others(self) -> None:
        """They end with the first in any case, and may heed no other signal."""
        self._has_ended_others = True
        for rank, pid in self._pids.items():
            if rank not in self._gone:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _took_nothing(self, rank: int, how: str) -> None:
        assert self._processes is not None and self._events is not None
        self._events.died(Death(rank, None, how))

    def _tell_death(self, rank: int | None, exit_code: int | None) -> None:
        assert self._processes is not None and self._events is not None
        self._loop.deadlines.call_off("exit report", "others")
        # Of a kill the log knows nothing.
        log = self._processes.log_tail() if exit_code != -signal.SIGKILL else ""
        pid = self._processes.host_pid if rank is None else None
        self._events.died(Death(rank, pid, self._processes.how_it_ended(exit_code), log))


def _why_no_host(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    return f"their host process cannot be started: {error.strerror or error}{where}"
