"""Generation: what every rank does with its share of the prompts, and the Run it becomes."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from nbkit import machine, schedule
from nbkit.engines import BatchDone, Prompt, Streamed, make_engine
from nbkit.errors import InputError, WorkersError
from nbkit.models import LoadedModel
from nbkit.records import Output, RankRecord, Run
from nbkit.settings import Settings

if TYPE_CHECKING:
    from accelerate import Accelerator

PROGRESS_EVERY_S = 0.2


class RankContext(Protocol):
    """What the job needs of its rank beside accelerate."""

    @property
    def cancelled(self) -> bool: ...

    @property
    def elapsed_s(self) -> float: ...

    def emit(self, value: object) -> None: ...

    def tickets(self) -> Iterator[int]: ...

    def load_model(self, name: str, dtype: str, device: Any) -> tuple[LoadedModel, float]: ...


@dataclass(frozen=True, slots=True)
class ShareBegun:
    """Event: a rank has its model and begins. ``load_s`` seconds went into loading.

    ``prompts`` is the size of its share; None where ranks take batches as they get free.
    """

    prompts: int | None
    load_s: float
    begin_s: float


@dataclass(frozen=True, slots=True)
class ShareDone:
    """Event: nothing is left for this rank to do."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Event, a few times a second: tokens computed so far in the batch under way, and some of its text.

    ``at_s`` is in seconds since the job was submitted.
    """

    at_s: float
    tokens: int
    streamed: tuple[Streamed, ...] = ()


def generate_on_rank(
    rank: RankContext, prompts: list[str], settings: Settings, ranks: int | None = None
) -> RankRecord:
    """On every rank: take prompts, generate, and gather, as in the article; only the first ``ranks``, if given.

    The outputs go to the notebook batch by batch, so that they can be watched and
    none is lost in a crash. The gather at the end is the article's all the same: it
    is measured, because it is what people suspect, and its count is checked. Ranks
    without a part wait in the barriers and join the gather with nothing.
    """
    from accelerate import Accelerator
    from accelerate.utils import gather_object

    accelerator = Accelerator()
    working = accelerator.num_processes if ranks is None else ranks
    has_part = accelerator.process_index < working
    work = _Work(rank, accelerator, prompts, settings, working) if has_part else None
    accelerator.wait_for_everyone()
    begin_s = rank.elapsed_s
    lengths = work.count_tokens() if work and settings.order == "by_length" else []
    if settings.order == "by_length" and settings.split == "dynamic":
        lengths = gather_object(lengths)
    ordered_s = rank.elapsed_s
    outputs = work.run(begin_s, lengths or None) if work else []
    done_s = rank.elapsed_s
    accelerator.wait_for_everyone()
    everyone_s = rank.elapsed_s
    gathered = gather_object(outputs)
    end_s = rank.elapsed_s
    return RankRecord(
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        node=socket.gethostname(),
        pid=os.getpid(),
        device=str(accelerator.device),
        dtype=work.loaded.dtype if work else "",
        load_s=work.load_s if work else 0.0,
        begin_s=begin_s,
        end_s=end_s,
        waiting_s=everyone_s - done_s,
        gather_s=end_s - everyone_s,
        gathered_prompts=len(gathered),
        order_s=ordered_s - begin_s,
    )


class _Work:
    """What one rank has to do in a generation."""

    def __init__(
        self, rank: RankContext, accelerator: Accelerator, prompts: list[str], settings: Settings, working: int
    ) -> None:
        self._rank = rank
        self._place = accelerator.process_index
        self._prompts = prompts
        self._settings = settings
        self._share = schedule.static_share(len(prompts), working, self._place)
        self.loaded, self.load_s = rank.load_model(settings.model, settings.dtype, accelerator.device)
        self._engine = make_engine(settings, self.loaded)
        check_lengths([self._prompt(place) for place in self._share], self.loaded, settings)

    def count_tokens(self) -> list[int]:
        """Tokens of each prompt of the rank's share."""
        texts = [self._prompts[place] for place in self._share]
        return [len(ids) for ids in self.loaded.tokenizer(texts).input_ids] if texts else []

    def run(self, begin_s: float, lengths: list[int] | None) -> list[Output]:
        """Generate, telling the notebook of each batch; the outputs, in the order they were made.

        ``lengths`` are those of the rank's share, in the dynamic split those of all prompts.
        """
        is_static = self._settings.split == "static"
        self._rank.emit(ShareBegun(len(self._share) if is_static else None, self.load_s, begin_s))
        places = self._share if is_static else range(len(self._prompts))
        batches = schedule.batches(places, self._settings.prompts_a_batch, lengths)
        mine = iter(batches) if is_static else schedule.taken_in_turn(batches, self._rank.tickets())
        outputs: list[Output] = []
        drawn = ([self._prompt(int(place)) for place in batch] for batch in mine)
        for batch in self._engine.generate(drawn, _Watch(self._rank, self._place)):
            self._rank.emit(batch)
            outputs.extend(batch.outputs)
        self._rank.emit(ShareDone())
        return outputs

    def _prompt(self, place: int) -> Prompt:
        return Prompt(place, self._prompts[place])


class _Watch:
    """What an engine sees of its rank: the clock, whether to stop, and where to say how far it is."""

    def __init__(self, context: RankContext, rank: int) -> None:
        self._context = context
        self._said_s = -PROGRESS_EVERY_S  # the first token is news at once
        self.rank = rank

    @property
    def cancelled(self) -> bool:
        return self._context.cancelled

    @property
    def elapsed_s(self) -> float:
        return self._context.elapsed_s

    def report(self, tokens: int, streamed: Callable[[], Sequence[Streamed]]) -> None:
        now = self._context.elapsed_s
        if now - self._said_s >= PROGRESS_EVERY_S:
            self._said_s = now
            self._context.emit(Progress(now, tokens, tuple(streamed())))


def check_lengths(prompts: Sequence[Prompt], loaded: LoadedModel, settings: Settings) -> None:
    """Refuse, before any work, a prompt that does not fit the model's context with its new tokens.

    Raises
    ------
    InputError
        The prompt's number, its tokens and the model's limit.
    """
    limit = loaded.context_length
    if limit is None:
        return
    if settings.max_new_tokens >= limit:
        raise InputError(
            f"max_new_tokens={settings.max_new_tokens} leaves no room for a prompt: "
            f"the model's context is {limit} tokens, prompt and output together."
        )
    for prompt in prompts:
        # A token stands for at least one byte, so most prompts need not be
        # tokenised a second time to know that they fit.
        if len(prompt.text.encode()) + 8 + settings.max_new_tokens <= limit:
            continue
        tokens = len(loaded.tokenizer(prompt.text).input_ids)
        if tokens + settings.max_new_tokens > limit:
            raise InputError(
                f"prompt {prompt.index} has {tokens} tokens; with max_new_tokens={settings.max_new_tokens} that is "
                f"more than the model's context of {limit} tokens. Shorten the prompt or ask for fewer new tokens."
            )


def run_of(
    emitted: Sequence[Any], prompts: list[str], settings: Settings, ranks: list[RankRecord], is_partial: bool
) -> Run:
    """The Run, from the job's events and what its ranks returned; partial where it was stopped.

    Raises
    ------
    WorkersError
        The job has ended but not every prompt has exactly one output.
    """
    batches = [event.value for event in emitted if isinstance(event.value, BatchDone)]
    began = {event.rank for event in emitted if isinstance(event.value, ShareBegun)}
    taking_part = [record for record in ranks if record.rank in began]
    run = Run.assemble(
        settings,
        prompts,
        [(batch.record, batch.outputs) for batch in batches],
        taking_part,
        world_size=len(began),
        machine=machine.describe(),
    )
    answered = sum(len(batch.outputs) for batch in batches)
    if not is_partial and not (run.is_complete and answered == ranks[0].gathered_prompts == len(prompts)):
        raise WorkersError(
            f"the account does not add up: {len(prompts)} prompts, {answered} outputs, "
            f"{ranks[0].gathered_prompts} gathered. This is a mistake in nbkit; please report it."
        )
    return run
