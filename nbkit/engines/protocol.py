"""The protocol of engines: prompts in, batches out as they finish.

An engine knows one model on one device. It knows nothing of other ranks' work, of
sockets or of who watches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from nbkit.records import BatchRecord, OutOfMemory, Output
from nbkit.records.request import Request

if TYPE_CHECKING:
    from nbkit.engines.warm_up import Preparation


@dataclass(frozen=True, slots=True)
class Streamed:
    """The end of what a sequence of the batch under way has become so far."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class UnderWay:
    """How far a sequence under way is, in tokens; those after its end are counted where the engine has not looked."""

    index: int
    prompt_tokens: int
    padding_tokens: int
    new_tokens: int


class Watch(Protocol):
    """What an engine sees of its surroundings."""

    @property
    def rank(self) -> int:
        """The rank to write into records."""
        ...

    @property
    def device(self) -> str:
        """The rank's device, for messages."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether to stop: an engine looks once a token."""
        ...

    @property
    def elapsed_s(self) -> float:
        """The clock, in seconds."""
        ...

    def report(
        self,
        tokens: int,
        streamed: Callable[[], Sequence[Streamed]],
        under_way: Callable[[], Sequence[UnderWay]],
    ) -> None:
        """Say how many tokens the batch under way has computed, and offer its text; cheap to call once a token.

        ``streamed`` and ``under_way`` are called only when the report is passed on: decoding text costs time.
        """
        ...


@dataclass(frozen=True, slots=True)
class BatchDone:
    """A finished batch: its record and its outputs."""

    record: BatchRecord
    outputs: tuple[Output, ...]


class Engine(Protocol):
    """Turns batches of prompts into text.

    ``batch_size`` is how many sequences are decoded side by side at most; it is halved
    where memory does not suffice.
    """

    @property
    def batch_size(self) -> int: ...

    def preparations(self, batches: Sequence[Sequence[int]]) -> list[Preparation]:
        """What a run will compute that costs more the first time, the costliest first.

        Parameters
        ----------
        batches : sequence of sequences of int
            The tokens of each prompt, in the batches in which they will be drawn.
        """
        ...

    def generate(self, batches: Iterable[Sequence[Request]], watch: Watch) -> Iterator[BatchDone | OutOfMemory]:
        """Yield each batch as it finishes, and each that did not fit; when cancelled, end without the one under way.

        ``batches`` is drawn from only when the engine is free for the next: another
        rank may take what is not drawn. An empty batch says that there are no prompts yet: what
        is under way goes on, and then the next is drawn. A batch that does not fit into memory is
        begun anew in smaller ones.

        Raises
        ------
        PromptError
            A prompt does not fit into memory even alone; what was under way beside it is lost.
        """
        ...
