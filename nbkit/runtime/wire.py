"""Wire: the messages between the notebook and the ranks. Nothing of what a job does is in them but bytes.

They travel on socketpairs that nobody else can reach; how the ranks reach each other is in ``process_group``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

GREETING = struct.Struct("!I")
"""What a rank sends with its end of a socketpair: its number."""


@dataclass(frozen=True, slots=True)
class RankInfo:
    """Who a rank is: its number among the workers, its process and its device.

    ``sharing`` counts the ranks whose models share the memory of its device, itself included.
    """

    rank: int
    local_rank: int
    world_size: int
    node: str
    pid: int
    device: str
    device_name: str
    backend: str | None
    sharing: int = 1


# From the host to the notebook.


@dataclass(frozen=True, slots=True)
class Plan:
    """What the host is about to start."""

    world_size: int
    device_type: str
    gpus: int
    note: str | None


@dataclass(frozen=True, slots=True)
class HostFailed:
    """The host could not start the ranks, or lost them.

    ``is_refusal``: what was asked for does not make sense here, and the message says all there is to say.
    """

    message: str
    exit_codes: dict[int, int]
    is_refusal: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one rank stands: its number, and what it may use of its machine.

    ``gpu`` is the index of its GPU on this machine, None on a CPU; ``sharing`` counts the ranks
    that share this GPU, or the machine's memory, itself included. ``needs_gloo``: some ranks share a
    GPU, which NCCL refuses.
    """

    rank: int
    world_size: int
    gpu: int | None
    sharing: int
    needs_gloo: bool = False

    @classmethod
    def of(cls, rank: int, plan: Plan) -> Placement:
        """Ranks are dealt to GPUs in turn."""
        if not plan.gpus:
            return cls(rank, plan.world_size, None, plan.world_size)
        gpu = rank % plan.gpus
        sharing = len(range(gpu, plan.world_size, plan.gpus))
        return cls(rank, plan.world_size, gpu, sharing, needs_gloo=plan.world_size > plan.gpus)


# From a rank to the notebook.


@dataclass(frozen=True, slots=True)
class Ready:
    """The rank has met all others once, and waits for jobs."""

    info: RankInfo


@dataclass(frozen=True, slots=True)
class Begun:
    """The rank is in the job's process group, and calls the function now."""

    job: int


@dataclass(frozen=True, slots=True)
class HeedsCancel:
    """The running function has looked whether it should stop: it will do so by itself."""

    job: int


@dataclass(frozen=True, slots=True)
class RankLog:
    """What the rank printed: a line, or several that follow each other, with a newline between them."""

    job: int
    stream: str
    text: str


@dataclass(frozen=True, slots=True)
class RankEvent:
    """A value the running function emitted, pickled; ``passing``: a later one takes its place."""

    job: int
    payload: bytes
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Returned:
    """The function's return value, pickled."""

    job: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """One traceback entry; the notebook, which has its cells' source, adds the line."""

    filename: str
    lineno: int
    name: str


@dataclass(frozen=True, slots=True)
class Raised:
    """The function raised. ``in_collective``: most likely because another rank had left."""

    job: int
    summary: str
    frames: tuple[Frame, ...]
    details: str
    payload: bytes | None
    cancelled: bool
    in_collective: bool


# From the notebook to a rank.


HowLoaded = Literal["imported", "reloaded", "upgraded"]
"""Upgraded: with what others hold of the module, as IPython's autoreload does it."""


@dataclass(frozen=True, slots=True)
class ModuleLoaded:
    """The notebook has loaded a module; ``stamp`` tells of which state of its file, None if that is gone."""

    name: str
    stamp: tuple[int, int] | None
    how: HowLoaded


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The notebook's working directory (None: deleted) and import path when the job was submitted."""

    folder: str | None
    path: tuple[str, ...]


FIRST_GROUP = 0
"""The number of the group that all ranks are in when they have started."""


@dataclass(frozen=True, slots=True)
class Group:
    """The ranks that meet for a job, in ascending order: a process group of their own, told by its number."""

    number: int
    ranks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RunJob:
    """Call the pickled function in a group. ``submitted`` is the job's zero on the monotonic clock.

    ``loaded`` has the modules that the notebook has loaded since the rank's last job;
    ``surroundings`` are to be taken on, if there are any.
    """

    job: int
    payload: bytes
    group: Group
    submitted: float
    surroundings: Surroundings | None = None
    loaded: tuple[ModuleLoaded, ...] = ()


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask the job to stop by itself at its next check."""

    job: int


@dataclass(frozen=True, slots=True)
class Abort:
    """Raise in the job now, and leave whatever collective it waits in."""

    job: int
