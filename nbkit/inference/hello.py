"""Hello: the first thing to run on several devices, a gather of one greeting from each rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from nbkit.errors import WorkersError
from nbkit.runtime.context import current_job


@dataclass(frozen=True, slots=True)
class Greeting:
    """What one rank says of itself."""

    rank: int
    text: str
    device: str
    pid: int
    node: str


@dataclass(frozen=True, slots=True)
class HelloGather:
    """The gathered greetings, in rank order, and the seconds each rank spent in the gather."""

    greetings: list[Greeting]
    gather_s: list[float]

    @classmethod
    def of(cls, values: Sequence[tuple[list[Greeting], float]]) -> Self:
        """From every rank's value: the gather gave the same list to each.

        Raises
        ------
        WorkersError
            The ranks did not gather the same greetings.
        """
        gathered = values[0][0]
        if any(greetings != gathered for greetings, _ in values):
            raise WorkersError("the ranks gathered different greetings: their process group is not one.")
        return cls(gathered, [seconds for _, seconds in values])

    @property
    def messages(self) -> list[str]:
        """The greetings' texts."""
        return [greeting.text for greeting in self.greetings]


def hello_on_rank() -> tuple[list[Greeting], float]:
    """On every rank: say hello, gather everyone's greeting; the greetings and the seconds the gather took."""
    from accelerate import Accelerator
    from accelerate.utils import gather_object

    job, accelerator = current_job(), Accelerator()
    greeting = Greeting(
        rank=job.rank,
        text=_greeting(accelerator),
        device=str(accelerator.device),
        pid=job.info.pid,
        node=job.info.node,
    )
    accelerator.wait_for_everyone()
    began = job.elapsed_s
    # A list: gather_object flattens one level, and a bare string would come back as letters.
    gathered = gather_object([greeting])
    return gathered, job.elapsed_s - began


def _greeting(accelerator: Any) -> str:
    kind = {"cuda": "GPU", "cpu": "CPU worker"}.get(accelerator.device.type, accelerator.device.type)
    return f"Hello this is {kind} {accelerator.process_index}"
