"""Rank: one rank's account of a run, and how busy it was."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RankRecord:
    """One rank's account of a run, from the barrier before it to the end of the gather.

    ``world_size`` counts the ranks that are started, those that this run left idle
    included. ``order_s`` went into counting tokens for the order, before the first batch.
    ``waiting_s`` is spent in the barrier until the slowest rank is done, ``gather_s``
    in ``gather_object``. ``load_s`` (loading the model, 0 when it was there) lies
    before ``begin_s`` and is no part of the run. ``warm_up_s`` went into what a process pays
    once (proving and making the engine, the shapes that it had not computed in yet) and lies before
    ``begin_s``, too. ``cold_start_s`` is the same where ``Settings.warm_up`` is False: it begins with
    ``begin_s`` and is a part of the run. ``gathered_prompts`` is what the
    gather brought together from all ranks. ``batch_size`` is what the rank had in the end,
    chosen, given or halved for want of memory.

    Of a bulk (``Run.open``) it is the account of all attempts: what lies before ``begin_s`` is summed over them, and
    so is ``waiting_s``, in which a rank had no prompt, or had none left while others did. Nothing is gathered.
    """

    rank: int
    world_size: int
    node: str
    pid: int
    device: str
    dtype: str
    load_s: float
    begin_s: float
    end_s: float
    waiting_s: float
    gather_s: float
    gathered_prompts: int
    order_s: float = 0.0
    batch_size: int = 0
    warm_up_s: float = 0.0
    cold_start_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LoadSample:
    """How busy a rank's process or a GPU was at one moment: exactly one of ``rank`` and ``gpu`` is set.

    ``at_s`` is on the Run's clock. ``busy_percent`` is 100 for one core kept busy (a
    process) or for a GPU that always computes. ``memory_bytes`` is a process's own share
    of memory (PSS, where shared pages are divided among those who share them; RSS where
    the system does not tell PSS), or all that is used on a GPU. Power and temperature
    are None where they are not known.
    """

    at_s: float
    rank: int | None
    gpu: int | None
    busy_percent: float
    memory_bytes: int
    power_w: float | None = None
    temperature_c: float | None = None

    @property
    def of(self) -> str:
        """Whose load it is: ``rank 0`` or ``GPU 0``."""
        return f"GPU {self.gpu}" if self.gpu is not None else f"rank {self.rank}"
