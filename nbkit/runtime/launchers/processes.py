"""Processes: one host with its ranks, as the notebook sees and ends them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from nbkit.files import cgroups
from nbkit.files.owned_folder import OwnedFolder
from nbkit.runtime import wire
from nbkit.runtime.channel import Channel

LOG_TAIL_BYTES = 4000
LESS_MEMORY = "take a smaller model, a smaller batch size or fewer workers"
START_HOST = (
    "import sys; from nbkit.runtime.launchers.host import main; main(*map(int, sys.argv[1:4]), *sys.argv[4:])"
)


class Processes:
    """A started host: its control channel, a listener for ranks, and a channel to each that has connected."""

    def __init__(self, asked: int, preload: Sequence[str] = ()) -> None:
        # For what the ranks share, and the launcher's files, which it leaves behind when it is killed.
        self._folder = OwnedFolder("nbkit-")
        self._memory_kills = cgroups.memory_kills()
        control, hosts_control = socket.socketpair()
        listener, hosts_listener = socket.socketpair()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the processes
        handed = (hosts_control.fileno(), hosts_listener.fileno())
        with hosts_control, hosts_listener:
            self._host = subprocess.Popen(
                [sys.executable, "-c", START_HOST, *map(str, handed), str(asked), str(self._folder.path), *preload],
                pass_fds=handed,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                env=_environment(),
                cwd=_working_directory(),
                # Jupyter signals the kernel's whole process group; the workers must
                # not be in it, or an interrupt would kill them.
                start_new_session=True,
            )
        self.control = Channel(control)
        self.listener = listener
        self.ranks: dict[int, Channel] = {}

    @property
    def host_pid(self) -> int:
        """Process id of the host, which is also its process group's."""
        return self._host.pid

    def connect(self) -> tuple[int, Channel] | None:
        """Take the channel of a rank that has sent one; None when no more will come."""
        greeting, fds, _, _ = socket.recv_fds(self.listener, wire.GREETING.size, 1)
        if not greeting:
            return None
        rank_socket = socket.socket(fileno=fds[0])
        rank_socket.setblocking(False)
        (rank,) = wire.GREETING.unpack(greeting)
        self.ranks[rank] = Channel(rank_socket)
        return rank, self.ranks[rank]

    def log_tail(self) -> str:
        """The end of what host and ranks wrote to their own standard streams."""
        end = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, end - LOG_TAIL_BYTES))
        return self._log.read().decode(errors="replace").strip()

    def host_exit_code(self, timeout_s: float) -> int | None:
        """The host's exit code, once it has ended; None if it has not within the time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._host.wait(timeout_s)
        return None

    def how_it_ended(self, exit_code: int | None) -> str:
        """The end of the host or of a rank in words, by its exit code (negative: the signal; None: unknown)."""
        return how_it_ended(exit_code, cgroups.memory_kills() > self._memory_kills)

    def kill(self) -> None:
        """End host and ranks at once; safe to call again."""
        # The group outlives the host while a rank lives, so this reaches orphans too.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._host.pid, signal.SIGKILL)
        self.host_exit_code(timeout_s=5.0)
        for channel in (self.control, *self.ranks.values()):
            channel.close()
        self.listener.close()
        self._log.close()
        self._folder.remove()


def _working_directory() -> str:
    """The notebook's; where that was deleted another, for torch cannot be loaded then."""
    try:
        return os.getcwd()
    except OSError:
        return tempfile.gettempdir()


def _environment() -> dict[str, str]:
    """The notebook's environment, with its import path, so that ranks find the same modules."""
    # The whole path comes with each job; some entries cannot be written here.
    plain = [entry or os.curdir for entry in sys.path if isinstance(entry, str) and os.pathsep not in entry]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(plain), "PYTHONUNBUFFERED": "1"}


def how_it_ended(exit_code: int | None, has_killed_for_memory: bool = False) -> str:
    """A process's end in words, by its exit code (negative: the signal; None: unknown).

    ``has_killed_for_memory``: the system has, meanwhile, killed processes of this one's control group.
    """
    if exit_code is None:
        return "ended"
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    name = signal.Signals(-exit_code).name
    if exit_code == -signal.SIGKILL and has_killed_for_memory:
        return (
            f"was killed ({name}) because the memory that this container or batch job may use was used up: "
            f"{LESS_MEMORY}, or ask for more memory"
        )
    if exit_code == -signal.SIGKILL:
        return f"was killed ({name}); if nobody did that on purpose, the machine ran out of memory: {LESS_MEMORY}"
    return f"was ended by {name}"
