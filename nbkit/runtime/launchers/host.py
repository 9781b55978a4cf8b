"""Host: the process between notebook and ranks; it imports once and calls notebook_launcher.

Started by ``nbkit.runtime.launchers.processes`` in a session of its own, with no device
touched and no other thread running, so that forking the ranks is safe. It ends when
its ranks end, or when the notebook is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import fcntl
import gc
import importlib
import io
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from logging import CRITICAL, getLogger
from pathlib import Path
from typing import Any

from nbkit.errors import InputError
from nbkit.files.machine import MAX_CORES, MAX_RANKS, most, threads_asked, usable_cores, uses_cpu
from nbkit.runtime import torch_private, wire
from nbkit.runtime.channel import Channel
from nbkit.runtime.session_end import end_session

DEFAULT_CPU_RANKS = 2
RANKS_PER_CORE = 4
RANKS_PER_GPU = 8
CPU_NICENESS = 5
SPINS_BEFORE_SLEEP = "10000"
"""Rounds that libgomp's threads wait awake for each other; its own 300,000 keep cores that another program needs."""
LOOPBACK_INTERFACE = "lo0" if sys.platform == "darwin" else "lo"
LOOPBACK_TIMEOUT_S = 2.0
_LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")


class _Refused(ValueError):
    """What is asked for makes no sense on this machine; the message says all there is to say."""


def main(control_fd: int, listener_fd: int, asked: int, folder: str, *preload: str) -> None:
    """Start ``asked`` ranks (0: as many as fit the machine) and stay until they end.

    ``folder`` takes the launcher's temporary files and what the ranks share; ``preload`` are functions,
    as ``module:name``, that import what the ranks need before they are forked; told whether on GPUs.
    """
    faulthandler.enable()
    control_socket = socket.socket(fileno=control_fd)
    control = Channel(control_socket)
    _end_with_notebook(control_socket, Path(folder))
    for name in _LAUNCHED:
        os.environ.pop(name, None)
    # Read when torch is imported.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS_BEFORE_SLEEP)
    try:
        plan = _plan(asked)
        control.send(plan)
        _set_environment(plan)
        _import_what_ranks_need(plan, preload)
        tempfile.tempdir = folder
        _launch(plan, listener_fd, Path(folder))
    except BaseException as error:
        control.send(wire.HostFailed(_explain(error), _exit_codes(error), isinstance(error, _Refused)))
        sys.exit(1)


def _end_with_notebook(control: socket.socket, folder: Path) -> None:
    """Kill this session when the notebook closes its end, by a signal: a thread would not survive a fork well."""

    def on_readable(*_: object) -> None:
        with contextlib.suppress(BlockingIOError):
            if control.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b"":
                end_session(folder)

    signal.signal(signal.SIGIO, on_readable)
    fcntl.fcntl(control, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(control, fcntl.F_SETFL, fcntl.fcntl(control, fcntl.F_GETFL) | os.O_ASYNC)
    on_readable()


def _plan(asked: int) -> wire.Plan:
    """How many ranks on which devices.

    Raises
    ------
    _Refused
        More ranks are asked for than make sense here.
    InputError
        Nobody can tell whether on GPUs, or how many the environment allows.
    """
    # Counted before any device is touched: torch asks the driver's library, not CUDA.
    import torch

    cores = usable_cores()
    gpus = 0 if uses_cpu() else torch.cuda.device_count()
    allowed, most_cores = most(MAX_RANKS), most(MAX_CORES)
    usual = gpus or DEFAULT_CPU_RANKS
    world_size = asked or min(usual, allowed or usual)
    if allowed and world_size > allowed:
        raise _Refused(
            f"{world_size} workers are asked for; {MAX_RANKS}={allowed} in the environment allows no more."
        )
    limit = RANKS_PER_GPU * gpus if gpus else max(DEFAULT_CPU_RANKS, RANKS_PER_CORE * cores)
    if world_size > limit:
        here = f"{gpus} GPU(s)" if gpus else f"no GPU and {cores} core(s)"
        raise _Refused(
            f"{world_size} workers do not make sense on this machine, which has {here}; ask for at most {limit}."
        )
    notes = _shared_node_notes(world_size, usual, gpus, allowed, most_cores)
    if gpus and world_size > gpus:
        notes.append(f"{world_size} workers share {gpus} GPU(s)")
    elif not gpus and world_size > cores:
        notes.append(f"{world_size} workers share {cores} core(s): each is slower than it would be alone")
    try:
        threads_asked()
    except InputError as error:
        notes.append(f"{str(error).rstrip('.')}: each worker takes {_threads(world_size)}")
    return wire.Plan(world_size, "cuda" if gpus else "cpu", gpus, "; ".join(notes) or None)


def _shared_node_notes(
    world_size: int, usual: int, gpus: int, allowed: int | None, most_cores: int | None
) -> list[str]:
    """What the environment keeps from this user, where it makes a difference."""
    notes = []
    if allowed and world_size == allowed < usual:
        notes.append(f"{MAX_RANKS}={allowed} in the environment allows {world_size} of {usual} workers")
    if most_cores and most_cores == usable_cores() and not gpus:
        notes.append(f"{MAX_CORES}={most_cores} in the environment: so many cores for all workers together")
    return notes


def _threads(world_size: int) -> int:
    """Threads of a rank: as many as are asked for, else its part of the cores."""
    with contextlib.suppress(InputError):
        if asked := threads_asked():
            return asked
    return max(1, usable_cores() // world_size)


def _set_environment(plan: wire.Plan) -> None:
    """What accelerate and torch read in the ranks."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    # In the plainest form: accelerate raises at a list of threads and at a blank.
    os.environ["OMP_NUM_THREADS"] = str(_threads(plan.world_size))
    if "ACCELERATE_USE_CPU" in os.environ:
        os.environ["ACCELERATE_USE_CPU"] = str(int(uses_cpu()))
    if plan.world_size > 1:
        # On one machine nothing has to be reached from another.
        for interface in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
            os.environ.setdefault(interface, LOOPBACK_INTERFACE)
    if plan.device_type == "cpu":
        # Without it every process started by notebook_launcher believes to be rank 0 of 1.
        os.environ["ACCELERATE_USE_CPU"] = "1"
        # Ranks use every core; the notebook and its browser shall answer all the same.
        os.nice(CPU_NICENESS)


def _import_what_ranks_need(plan: wire.Plan, preload: Sequence[str]) -> None:
    """Import before the fork, once for all ranks."""
    import torch
    from accelerate import Accelerator, notebook_launcher  # noqa: F401
    from accelerate.utils import gather_object  # noqa: F401

    torch_private.check()
    for name in preload:
        module, _, function = name.partition(":")
        getattr(importlib.import_module(module), function)(plan.gpus > 0)
    # What it says of a lost rank, the notebook says in the kit's words.
    for launcher in ("torch.distributed.elastic", "torch.multiprocessing"):
        getLogger(launcher).setLevel(CRITICAL)
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    # Python's garbage collection writes into each object that it looks at: of those imported here, host and ranks
    # would come to have 67 MB each that they share.
    gc.freeze()


def _launch(plan: wire.Plan, listener_fd: int, folder: Path) -> None:
    from accelerate import notebook_launcher

    from nbkit.runtime.launchers import rendezvous

    if plan.world_size > 1:
        _check_semaphores()
        _check_loopback()
    rendezvous.register()
    # Its 'Launching training on 2 CUDAs.' is not true of what happens here.
    with contextlib.redirect_stdout(io.StringIO()):
        notebook_launcher(
            _rank_main,
            (listener_fd, plan, folder),
            num_processes=plan.world_size,
            rdzv_backend=rendezvous.NAME,
            use_port=str(rendezvous.free_port()),
        )


def _check_semaphores() -> None:
    """The launcher makes some, and says nothing of where.

    Raises
    ------
    _Refused
        There can be none.
    """
    try:
        multiprocessing.Lock()
    except OSError as error:
        place = "/dev/shm" if sys.platform == "linux" else "the system's shared memory"
        raise _Refused(
            f"no semaphore can be made in {place} ({error.strerror or error}), and the launcher of the ranks needs "
            f"some: let this user write to {place} (in a container: --tmpfs /dev/shm or --shm-size)."
        ) from None


def _check_loopback() -> None:
    """The ranks reach each other through it, and would try for minutes.

    Raises
    ------
    _Refused
        Nothing gets through.
    """
    if os.environ["GLOO_SOCKET_IFNAME"] != LOOPBACK_INTERFACE:
        return
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), LOOPBACK_TIMEOUT_S).close()
    except OSError as error:
        raise _Refused(
            f"the ranks cannot reach each other: this machine's loopback interface ({LOOPBACK_INTERFACE}, 127.0.0.1) "
            f"is missing or down ({error.strerror or error}). Bring it up (ip link set {LOOPBACK_INTERFACE} up), or "
            "name another in GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME; a single worker, Workers(1), needs none."
        ) from None


def _rank_main(listener_fd: int, plan: wire.Plan, folder: Path) -> None:
    """A rank's first steps: die with the host, hand one end of a socketpair to the notebook."""
    from nbkit.runtime.rank import Rank

    tempfile.tempdir = None
    placement = wire.Placement.of(int(os.environ.get("RANK", "0")), plan)
    if os.environ.get("RANK") is not None:  # forked: one rank alone runs in the host itself
        _die_with_parent()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            # The launcher's handlers, inherited, would raise in the running job instead.
            signal.signal(number, signal.SIG_DFL)
        if placement.gpu is not None:
            os.environ["LOCAL_RANK"] = str(placement.gpu)  # accelerate takes the GPU of this number
    mine, notebooks = socket.socketpair()
    with notebooks, socket.socket(fileno=listener_fd) as listener:
        socket.send_fds(listener, [wire.GREETING.pack(placement.rank)], [notebooks.fileno()])
    Rank(Channel(mine), placement, folder).serve()


def _die_with_parent() -> None:
    """Linux: be killed when the host dies, however it dies. Elsewhere the notebook's end-of-file does it."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def _exit_codes(error: BaseException) -> dict[int, int]:
    failures: dict[int, Any] = getattr(error, "failures", {})
    return {rank: failure.exitcode for rank, failure in failures.items()}


def _explain(error: BaseException) -> str:
    for failure in getattr(error, "failures", {}).values():
        message = failure.message
        return str(message.get("message", message) if isinstance(message, dict) else message)
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
