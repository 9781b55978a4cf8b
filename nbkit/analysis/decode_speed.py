"""Decode speed: a run's decode steps and the whole of it, beside the device's limit. Pure: records -> numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from nbkit.analysis import roofline
from nbkit.measure.device_speed.speed import DeviceSpeed
from nbkit.models.model_arithmetic import ModelShape
from nbkit.records.run import Run


@dataclass(frozen=True, slots=True)
class DecodeSpeed:
    """A run's decode steps against the device's limit, and what part of the whole run they are.

    ``useful_tokens_per_s`` are of the whole run. ``decoded_tokens_per_s`` are of the decode
    steps alone, and ``limit_tokens_per_s`` what the device allows them, ``bound`` by memory or
    arithmetic. ``step_s`` is a mean over the steps. ``compile_s`` went into compiling
    and capturing within the run, a sum over the ranks.
    """

    useful_tokens_per_s: float
    decoded_tokens_per_s: float
    limit_tokens_per_s: float
    bound: str
    step_s: float
    decode_share: float
    wall_s: float
    compile_s: float

    @classmethod
    def of(cls, run: Run, shape: ModelShape, speed: DeviceSpeed) -> Self:
        """From a run and the speed of one of its ranks.

        Raises
        ------
        InputError
            As for ``roofline.of_run``.
        """
        held = roofline.of_run(run, shape, speed)
        decode_s, steps = sum(b.decode_s for b in run.batches), sum(b.steps - 1 for b in run.batches)
        return cls(
            useful_tokens_per_s=run.tokens_per_second,
            decoded_tokens_per_s=held.tokens_per_second,
            limit_tokens_per_s=held.limit_tokens_per_second,
            bound=held.limit.bound,
            step_s=decode_s / steps,
            decode_share=decode_s / (run.wall_s * held.ranks),
            wall_s=run.wall_s,
            compile_s=sum(b.compile_s for b in run.batches),
        )

    @property
    def limit_share(self) -> float:
        """Share of the limit that the decode steps reach."""
        return self.decoded_tokens_per_s / self.limit_tokens_per_s

    @property
    def limit_step_s(self) -> float:
        """Seconds of a step at the limit."""
        return self.step_s * self.limit_share
