"""Generation: what every rank does with its share of the prompts, and the Run it becomes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbkit.engines import BatchDone, Engine, Request, Streamed, UnderWay
from nbkit.errors import WorkersError
from nbkit.files import machine
from nbkit.inference import schedule
from nbkit.inference.engine_on_rank import EngineOnRank, Plan, Preparing, RankWatch, agreed_fallback
from nbkit.records import Fallback, OutOfMemory, Output, RankRecord
from nbkit.records.request import Conversation
from nbkit.records.run import Run
from nbkit.records.settings import Settings
from nbkit.runtime.context import JobContext, current_job

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["Preparing", "Progress", "ShareBegun", "ShareDone", "generate_on_rank", "run_of"]

PROGRESS_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class ShareBegun:
    """Event: a rank has its model and begins. ``load_s`` seconds went into loading.

    ``prompts`` is the size of its share; None where ranks take prompts as they get free.
    ``batch_size`` sequences are decoded side by side at most. ``fallback`` tells of another
    engine than the one asked for; ``rules`` and ``unheeded_rules`` are what the model's
    ``generation_config.json`` asks for and is kept, and is not.
    """

    prompts: int | None
    load_s: float
    begin_s: float
    batch_size: int
    fallback: Fallback | None = None
    rules: dict[str, Any] = field(default_factory=dict)
    unheeded_rules: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShareDone:
    """Event: nothing is left for this rank to do."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Event, a few times a second: tokens computed so far in the batch under way, and some of it.

    ``at_s`` is in seconds since the job was submitted.
    """

    at_s: float
    tokens: int
    streamed: tuple[Streamed, ...] = ()
    under_way: tuple[UnderWay, ...] = ()


def generate_on_rank(prompts: list[str | Conversation], settings: Settings) -> RankRecord:
    """On every rank of the job: take prompts, generate, and gather, as in the article.

    The outputs go to the notebook batch by batch, so that they can be watched and
    none is lost in a crash. The gather at the end is the article's all the same: it
    is measured, because it is what people suspect, and its count is checked.
    """
    from accelerate import Accelerator
    from accelerate.utils import gather_object

    job, accelerator = current_job(), Accelerator()
    work = _Work(job, accelerator, prompts, settings)
    # Ranks that take prompts from one list have to cut it alike.
    began_s = job.elapsed_s
    plan = work.plan()
    planned_s = job.elapsed_s
    plans = gather_object([plan])
    fallback = agreed_fallback(settings, plans)
    if fallback is not None:
        settings = Settings.of(settings, engine=fallback.engine)
    agreed_s = job.elapsed_s
    work.prepare(settings, fallback, min(plan.fitting for plan in plans))
    work.warm_up()
    paid_s = job.elapsed_s - agreed_s
    if settings.warm_up:
        accelerator.wait_for_everyone()
    begin_s = job.elapsed_s if settings.warm_up else agreed_s
    order_began_s = job.elapsed_s
    lengths = work.count_tokens() if _needs_lengths(settings) else []
    if _needs_lengths(settings) and settings.split == "dynamic":
        lengths = gather_object(lengths)
    ordered_s = job.elapsed_s
    outputs = work.run(begin_s, lengths)
    done_s = job.elapsed_s
    accelerator.wait_for_everyone()
    everyone_s = job.elapsed_s
    gathered = gather_object(outputs)
    end_s = job.elapsed_s
    return work.account(
        begin_s=begin_s,
        end_s=end_s,
        planning_s=planned_s - began_s,
        paid_s=paid_s,
        batch_size=work.engine.batch_size,
        waiting_s=everyone_s - done_s,
        gather_s=end_s - everyone_s,
        gathered_prompts=len(gathered),
        order_s=ordered_s - order_began_s,
    )


class _Work(EngineOnRank):
    """What one rank has to do in a generation."""

    engine: Engine

    def __init__(
        self, job: JobContext, accelerator: Accelerator, prompts: list[str | Conversation], settings: Settings
    ) -> None:
        super().__init__(job, accelerator, settings)
        self._prompts = prompts
        self._share = schedule.static_share(len(prompts), job.world_size, accelerator.process_index)
        self._is_static = settings.split == "static"

    def plan(self) -> Plan:
        """What this rank would do, its own share of the prompts checked: the ranks then agree.

        Raises
        ------
        InputError
            A prompt cannot be used, or the engine cannot be with this model.
        """
        from nbkit.engines.prompt_check import check_prompts_fit

        share = [self._prompt(index) for index in self._share]
        check_prompts_fit(share, self.loaded, self._settings)
        return self.plan_for(share, max((len(str(prompt).encode()) for prompt in self._prompts), default=0))

    def prepare(self, settings: Settings, fallback: Fallback | None, fitting: int) -> None:
        """Make the engine that the ranks agreed on, for so many sequences or fewer where batches are alike."""
        self.agree(
            settings, fallback, schedule.side_by_side(settings, len(self._prompts), self._job.world_size, fitting)
        )
        self.engine = self.new_engine()
        if self._settings.tokenize_first:
            prompts = [self._prompts[index] for index in self._indices]
            self.loaded.prompt_tokens.of(prompts, self._settings.special_tokens)

    def warm_up(self) -> None:
        """Compute once, for nothing, what this process will meet for the first time."""
        prompts = [self._prompts[index] for index in self._indices]
        self.warm_up_for(prompts, lambda lengths: self._batches_of(range(len(lengths)), lengths))

    def count_tokens(self) -> list[int]:
        """Tokens of each prompt of the rank's share."""
        share = [self._prompts[index] for index in self._share]
        return [len(ids) for ids in self.loaded.prompt_tokens.of(share, self._settings.special_tokens)]

    def run(self, begin_s: float, lengths: list[int]) -> list[Output]:
        """Generate, telling the notebook of each batch; the outputs, in the order they were made.

        ``lengths`` are those of the rank's share, in the dynamic split those of all
        prompts; none where the schedule does without.
        """
        share = len(self._share) if self._is_static else None
        self._job.emit(ShareBegun(share, self.load_s, begin_s, self.engine.batch_size, self._fallback, *self.rules))
        batches = self._batches(lengths)
        mine = iter(batches) if self._is_static else schedule.taken_in_turn(batches, self._job.work_counter())
        outputs: list[Output] = []
        drawn = ([self._prompt(int(index)) for index in batch] for batch in mine)
        for batch in self.engine.generate(drawn, _Reporter(self._job, str(self.loaded.device))):
            self._job.emit(batch)
            if isinstance(batch, BatchDone):
                # The gather is the article's: texts and counts, and no more that it would be measured with.
                outputs.extend(dataclasses.replace(output, times=None) for output in batch.outputs)
        self._job.emit(ShareDone())
        return outputs

    @property
    def _indices(self) -> range:
        """The indices of the prompts that may come to this rank."""
        return self._share if self._is_static else range(len(self._prompts))

    def _batches(self, lengths: list[int]) -> schedule.Batches:
        if self._settings.is_in_flight:
            # One by one: a rank takes as many as it has room for, and then one whenever one has ended.
            return schedule.batches(self._indices, 1, lengths if self._settings.order == "by_length" else None)
        return self._batches_of(self._indices, lengths)

    def _batches_of(self, indices: range, lengths: list[int]) -> schedule.Batches:
        """Prompts of these lengths, in batches as large as the engine takes them."""
        return self.batches_of(indices, lengths, self.engine.batch_size)

    def _prompt(self, index: int) -> Request:
        return Request(index, self._prompts[index])


def _needs_lengths(settings: Settings) -> bool:
    """Whether the schedule depends on the prompts' lengths."""
    return settings.order == "by_length" or (settings.token_budget is not None and not settings.is_in_flight)


class _Reporter(RankWatch):
    """Passes on what an engine reports, a few times a second."""

    _said_s = -PROGRESS_EVERY_S  # the first token is news at once

    def report(
        self,
        tokens: int,
        streamed: Callable[[], Sequence[Streamed]],
        under_way: Callable[[], Sequence[UnderWay]],
    ) -> None:
        now = self._job.elapsed_s
        if now - self._said_s >= PROGRESS_EVERY_S:
            self._said_s = now
            self._job.emit(Progress(now, tokens, tuple(streamed()), tuple(under_way())), passing=True)


def run_of(
    emitted: Sequence[Any],
    prompts: list[str | Conversation],
    settings: Settings,
    ranks: list[RankRecord],
    is_partial: bool,
) -> Run:
    """The Run, from the job's events and what its ranks returned; partial where it was stopped.

    Raises
    ------
    WorkersError
        The job has ended but not every prompt has exactly one output.
    """
    batches = [event.value for event in emitted if isinstance(event.value, BatchDone)]
    began = {event.rank: event.value for event in emitted if isinstance(event.value, ShareBegun)}
    first = next(iter(began.values()), None)
    run = Run.assemble(
        settings,
        prompts,
        [(batch.record, batch.outputs) for batch in batches],
        ranks,
        world_size=len(began),
        machine=machine.describe(),
        out_of_memory=[event.value for event in emitted if isinstance(event.value, OutOfMemory)],
        fallback=first.fallback if first else None,
        generation_rules=first.rules if first else {},
        unheeded_rules=first.unheeded_rules if first else {},
        rank_numbers=list(began),
    )
    answered = sum(len(batch.outputs) for batch in batches)
    if not is_partial and not (run.is_complete and answered == ranks[0].gathered_prompts == len(prompts)):
        raise WorkersError(
            f"the account does not add up: {len(prompts)} prompts, {answered} outputs, "
            f"{ranks[0].gathered_prompts} gathered. This is a mistake in nbkit; please report it."
        )
    return run
