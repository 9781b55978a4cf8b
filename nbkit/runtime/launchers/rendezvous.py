"""Rendezvous: where torch's elastic agent, on which ``notebook_launcher`` is built, meets itself.

Its own rendezvous are made for several machines: a store that listens on every interface, to
everybody. On one machine there is one agent, and its store is memory of the host.
"""

from __future__ import annotations

import signal
import socket
from typing import Any

from torch.distributed import HashStore  # type: ignore[attr-defined]
from torch.distributed.elastic.rendezvous import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousParameters,
    RendezvousStoreInfo,
    rendezvous_handler_registry,
)

NAME = "nbkit"
LOOPBACK = "127.0.0.1"
_TAKEN = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


class OneHost(RendezvousHandler):
    """The agent of this host alone; nothing listens."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._gives_signals_back = True

    @property
    def use_agent_store(self) -> bool:
        return False

    def get_backend(self) -> str:
        return NAME

    def next_rendezvous(self) -> RendezvousInfo:
        # Nobody listens there; it is what code written for torchrun reads.
        address = RendezvousStoreInfo(LOOPBACK, free_port())
        return RendezvousInfo(HashStore(), 0, 1, address)

    def num_nodes_waiting(self) -> int:
        """None; the agent asks at each look at its ranks, from when they have started."""
        if self._gives_signals_back:
            self._gives_signals_back = False
            # The agent would first give the ranks 30 s to heed them: the host ends at once, and they with it.
            for number in _TAKEN:
                signal.signal(number, signal.SIG_DFL)
        return 0

    def is_closed(self) -> bool:
        return False

    def set_closed(self) -> None:
        pass

    def get_run_id(self) -> str:
        return self._run_id

    def shutdown(self) -> bool:
        return True


def free_port() -> int:
    """A port of this machine that nobody has at the moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def register() -> None:
    """Have ``notebook_launcher(rdzv_backend=NAME)`` find it; once in a process."""

    def one_host(parameters: RendezvousParameters) -> Any:
        return OneHost(parameters.run_id)

    rendezvous_handler_registry.register(NAME, one_host)
