"""Generation: what every rank does with its share of the prompts, and the Run it becomes."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nbkit import machine
from nbkit.engines import BatchDone, Prompt, Streamed, make_engine
from nbkit.errors import InputError, WorkersError
from nbkit.models import LoadedModel
from nbkit.records import Output, RankRecord, Run
from nbkit.settings import Settings

PROGRESS_EVERY_S = 0.2


class RankContext(Protocol):
    """What the job needs of its rank beside accelerate."""

    @property
    def cancelled(self) -> bool: ...

    @property
    def elapsed_s(self) -> float: ...

    def emit(self, value: object) -> None: ...

    def load_model(self, name: str, dtype: str, device: Any) -> tuple[LoadedModel, float]: ...


@dataclass(frozen=True, slots=True)
class ShareBegun:
    """Event: a rank has its model and begins. ``load_s`` seconds went into loading."""

    prompts: int
    load_s: float
    begin_s: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Event, a few times a second: tokens computed so far in the batch under way, and some of its text.

    ``at_s`` is in seconds since the job was submitted.
    """

    at_s: float
    tokens: int
    streamed: tuple[Streamed, ...] = ()


def generate_on_rank(rank: RankContext, prompts: list[str], settings: Settings) -> RankRecord:
    """On every rank: take a share of the prompts, generate, and gather, as in the article.

    The outputs go to the notebook batch by batch, so that they can be watched and
    none is lost in a crash. The gather at the end is the article's all the same: it
    is measured, because it is what people suspect, and its count is checked.
    """
    from accelerate import Accelerator
    from accelerate.utils import gather_object

    accelerator = Accelerator()
    loaded, load_s = rank.load_model(settings.model, settings.dtype, accelerator.device)
    engine = make_engine(settings, loaded)
    outputs: list[Output] = []
    with accelerator.split_between_processes([Prompt(i, text) for i, text in enumerate(prompts)]) as share:
        check_lengths(share, loaded, settings)
        accelerator.wait_for_everyone()
        begin_s = rank.elapsed_s
        rank.emit(ShareBegun(len(share), load_s, begin_s))
        for batch in engine.generate(share, _Watch(rank, accelerator.process_index)):
            rank.emit(batch)
            outputs.extend(batch.outputs)
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
        dtype=loaded.dtype,
        load_s=load_s,
        begin_s=begin_s,
        end_s=end_s,
        waiting_s=everyone_s - done_s,
        gather_s=end_s - everyone_s,
        gathered_prompts=len(gathered),
    )


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
    run = Run.assemble(
        settings,
        prompts,
        [(batch.record, batch.outputs) for batch in batches],
        ranks,
        world_size=ranks[0].world_size if ranks else len(began),
        machine=machine.describe(),
    )
    answered = sum(len(batch.outputs) for batch in batches)
    if not is_partial and not (run.is_complete and answered == ranks[0].gathered_prompts == len(prompts)):
        raise WorkersError(
            f"the account does not add up: {len(prompts)} prompts, {answered} outputs, "
            f"{ranks[0].gathered_prompts} gathered. This is a mistake in nbkit; please report it."
        )
    return run
