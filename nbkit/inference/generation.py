"""Generation: what every rank does with its share of the prompts, and the Run it becomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nbkit.engines import BatchDone, Engine, Request, Streamed, make_engine, sequences_that_fit
from nbkit.errors import WorkersError
from nbkit.files import machine
from nbkit.inference import schedule
from nbkit.inference.kept_model import load_model
from nbkit.records import Fallback, OutOfMemory, Output, RankRecord
from nbkit.records.request import Conversation
from nbkit.records.run import Run
from nbkit.records.settings import AUTO, Settings
from nbkit.runtime.context import JobContext, current_job

if TYPE_CHECKING:
    from accelerate import Accelerator

    from nbkit.engines.selection import Selected

PROGRESS_EVERY_S = 0.2
BYTES_A_TOKEN = 3
"""Of text in most languages: how long prompts are, before they are tokenised."""


@dataclass(frozen=True, slots=True)
class Preparing:
    """Event: a rank computes once, for nothing, what costs more the first time. ``words`` say what, and how long."""

    words: str


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
    """Event, a few times a second: tokens computed so far in the batch under way, and some of its text.

    ``at_s`` is in seconds since the job was submitted.
    """

    at_s: float
    tokens: int
    streamed: tuple[Streamed, ...] = ()


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
    fallback = _fallback(settings, plans)
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
    return RankRecord(
        rank=job.rank,
        world_size=job.info.world_size,
        node=job.info.node,
        pid=job.info.pid,
        device=str(accelerator.device),
        dtype=work.loaded.dtype,
        load_s=work.load_s,
        begin_s=begin_s,
        end_s=end_s,
        waiting_s=everyone_s - done_s,
        gather_s=end_s - everyone_s,
        gathered_prompts=len(gathered),
        order_s=ordered_s - order_began_s,
        batch_size=work.engine.batch_size,
        warm_up_s=planned_s - began_s + (paid_s if settings.warm_up else 0.0),
        cold_start_s=0.0 if settings.warm_up else paid_s,
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What one rank can do: the way that gives the model's own text, and sequences that it has room for."""

    selected: Selected
    fitting: int


class _Work:
    """What one rank has to do in a generation."""

    engine: Engine

    def __init__(
        self, job: JobContext, accelerator: Accelerator, prompts: list[str | Conversation], settings: Settings
    ) -> None:
        self._job = job
        self._prompts = prompts
        self._settings = settings
        self._is_first = accelerator.is_main_process
        self._share = schedule.static_share(len(prompts), job.world_size, accelerator.process_index)
        self._is_static = settings.split == "static"
        with_weights = not settings.engine_spec.loads_itself
        self.loaded, self.load_s = load_model(job, settings.model, settings.dtype, accelerator.device, with_weights)

    def plan(self) -> Plan:
        """What this rank would do, its own share of the prompts checked: the ranks then agree.

        Raises
        ------
        InputError
            A prompt cannot be used, or the engine cannot be with this model.
        """
        from nbkit.engines.prompt_check import check_prompts_fit
        from nbkit.engines.selection import Selected, select

        share = [self._prompt(index) for index in self._share]
        check_prompts_fit(share, self.loaded, self._settings)
        is_library = self._settings.engine_spec.loads_itself
        selected = Selected(0, ()) if is_library else select(self._settings, self.loaded, share)
        asked = self._settings.prompts_a_batch
        return Plan(selected, asked if isinstance(asked, int) else self._fitting_sequences())

    def _fitting_sequences(self) -> int:
        """How many sequences of this run the rank's memory holds at once."""
        longest = max((len(str(prompt).encode()) for prompt in self._prompts), default=0) // BYTES_A_TOKEN
        return sequences_that_fit(self._settings, self.loaded, longest, sharing=self.loaded.sharing)

    def prepare(self, settings: Settings, fallback: Fallback | None, fitting: int) -> None:
        """Make the engine that the ranks agreed on, for so many sequences or fewer where batches are alike."""
        self._settings, self._fallback = settings, fallback
        self._say_what_differs()
        if self._settings.prompts_a_batch == AUTO:
            fitting = schedule.even_batch_size(len(self._prompts), self._job.world_size, fitting)
        elif self._settings.is_in_flight:
            # The first rank to be ready must not take what the others could do at the same time.
            fitting = min(
                fitting, schedule.even_batch_size(len(self._prompts), self._job.world_size, len(self._prompts))
            )
        self._fitting, self._pads = fitting, fallback is None or fallback.pads
        self.engine = self._new_engine()
        if self._settings.tokenize_first:
            prompts = [self._prompts[index] for index in self._indices]
            self.loaded.prompt_tokens.of(prompts, self._settings.special_tokens)

    def _new_engine(self) -> Engine:
        return make_engine(self._settings, self.loaded, self._fitting, pads=self._pads)

    def warm_up(self) -> None:
        """Compute once, for nothing, what this process will meet for the first time."""
        from nbkit.engines.warm_up import lengths_of_some, warm_up

        if not self._indices:
            return
        some = lengths_of_some([self._prompts[index] for index in self._indices], self.loaded, self._settings)
        batches = self._batches_of(range(len(some)), some)
        # By an engine of its own: that of the run keeps nothing of it.
        preparations = self._new_engine().preparations([[some[int(i)] for i in batch] for batch in batches])
        for words in warm_up(preparations, self.loaded, lambda: self._job.cancelled):
            self._job.emit(Preparing(words))
            if self._is_first:
                print(words)

    def _say_what_differs(self) -> None:
        """Say once what the model's own file asks for, and where the engine is another than the one asked for."""
        from nbkit.engines.generation_rules import GenerationRules

        rules = GenerationRules(self._settings, self.loaded)
        self._rules = rules.heeded, rules.unheeded
        if self.load_s and self._is_first and (words := rules.words):
            print(f"The model's generation_config.json asks for {words}.")
        if self._fallback is not None and self._is_first:
            print(
                f"{type(self.loaded.model).__name__} would not give its own text by "
                f"{'; '.join(self._fallback.reasons)}. So this run goes on with {self._fallback.words}."
            )

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
        self._job.emit(ShareBegun(share, self.load_s, begin_s, self.engine.batch_size, self._fallback, *self._rules))
        batches = self._batches(lengths)
        mine = iter(batches) if self._is_static else schedule.taken_in_turn(batches, self._job.work_counter())
        outputs: list[Output] = []
        drawn = ([self._prompt(int(index)) for index in batch] for batch in mine)
        for batch in self.engine.generate(drawn, _Reporter(self._job, str(self.loaded.device))):
            self._job.emit(batch)
            if isinstance(batch, BatchDone):
                outputs.extend(batch.outputs)
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
        sizes = lengths if self._settings.order == "by_length" else None
        budget = None
        if self._settings.token_budget is not None:
            budget = schedule.TokenBudget(
                self._settings.token_budget,
                lengths,
                self._settings.max_new_tokens,
                self._settings.pad_to_multiple_of if self._settings.engine_spec.pads else 1,
            )
        return schedule.batches(indices, self.engine.batch_size, sizes, budget)

    def _prompt(self, index: int) -> Request:
        return Request(index, self._prompts[index])


def _fallback(settings: Settings, plans: Sequence[Plan]) -> Fallback | None:
    """What all ranks go on with: the same, for they take prompts from one list."""
    selected = max((plan.selected for plan in plans), key=lambda selected: selected.index)
    if selected.index == 0:
        return None
    from nbkit.engines.selection import WAYS

    way = WAYS[settings.engine][selected.index]
    return Fallback(way.engine, way.pads, selected.reasons)


def _needs_lengths(settings: Settings) -> bool:
    """Whether the schedule depends on the prompts' lengths."""
    return settings.order == "by_length" or (settings.token_budget is not None and not settings.is_in_flight)


class _Reporter:
    """What an engine sees of its rank: the clock, whether to stop, and where to say how far it is."""

    def __init__(self, job: JobContext, device: str) -> None:
        self._job = job
        self.device = device
        self._said_s = -PROGRESS_EVERY_S  # the first token is news at once
        self.rank = job.rank

    @property
    def cancelled(self) -> bool:
        return self._job.cancelled

    @property
    def elapsed_s(self) -> float:
        return self._job.elapsed_s

    def report(self, tokens: int, streamed: Callable[[], Sequence[Streamed]]) -> None:
        now = self._job.elapsed_s
        if now - self._said_s >= PROGRESS_EVERY_S:
            self._said_s = now
            self._job.emit(Progress(now, tokens, tuple(streamed())), passing=True)


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
