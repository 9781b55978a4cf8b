"""Engine on a rank: the model that it has, the engine that the ranks of a job agree on, and its warm-up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbkit.engines import Engine, Request, Streamed, UnderWay, make_engine, sequences_that_fit
from nbkit.inference import schedule
from nbkit.inference.kept_model import load_model
from nbkit.records import Fallback, RankRecord
from nbkit.records.request import Conversation
from nbkit.records.settings import Settings
from nbkit.runtime.context import JobContext

if TYPE_CHECKING:
    from accelerate import Accelerator

    from nbkit.engines.selection import Selected

BYTES_A_TOKEN = 3
"""Of text in most languages: how long prompts are, before they are tokenised."""


@dataclass(frozen=True, slots=True)
class Preparing:
    """Event: a rank computes once, for nothing, what costs more the first time. ``words`` say what, and how long."""

    words: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What one rank can do: the way that gives the model's own text, and sequences that it has room for."""

    selected: Selected
    fitting: int


class RankWatch:
    """What an engine sees of its rank: the clock, and whether to stop. What it reports, nobody hears."""

    def __init__(self, job: JobContext, device: str) -> None:
        self._job = job
        self.device = device
        self.rank = job.rank

    @property
    def cancelled(self) -> bool:
        return self._job.cancelled

    @property
    def elapsed_s(self) -> float:
        return self._job.elapsed_s

    def report(
        self,
        tokens: int,
        streamed: Callable[[], Sequence[Streamed]],
        under_way: Callable[[], Sequence[UnderWay]],
    ) -> None:
        """See ``Watch``."""


class EngineOnRank:
    """A rank's model, loaded or kept from an earlier job, and the engine by which it generates.

    ``load_s`` seconds went into loading. ``rules`` are those of the model's own file that are kept, and
    that are not, once the ranks have agreed.
    """

    rules: tuple[dict[str, Any], dict[str, Any]]

    def __init__(self, job: JobContext, accelerator: Accelerator, settings: Settings) -> None:
        self._job = job
        self._settings = settings
        self._is_first = accelerator.is_main_process
        self._device = str(accelerator.device)
        with_weights = not settings.engine_spec.loads_itself
        self.loaded, self.load_s = load_model(job, settings.model, settings.dtype, accelerator.device, with_weights)

    def account(
        self, *, begin_s: float, end_s: float, planning_s: float, paid_s: float, batch_size: int, **of_the_run: Any
    ) -> RankRecord:
        """This rank's record of a run.

        Parameters
        ----------
        planning_s, paid_s : float
            Seconds that went into proving and making the engine, and into the shapes that were new; the second are
            the run's own where ``Settings.warm_up`` is False.
        of_the_run
            Further fields of the record.
        """
        is_warm, info = self._settings.warm_up, self._job.info
        return RankRecord(
            rank=self._job.rank,
            world_size=info.world_size,
            node=info.node,
            pid=info.pid,
            device=self._device,
            dtype=self.loaded.dtype,
            load_s=self.load_s,
            begin_s=begin_s,
            end_s=end_s,
            batch_size=batch_size,
            warm_up_s=planning_s + (paid_s if is_warm else 0.0),
            cold_start_s=0.0 if is_warm else paid_s,
            **of_the_run,
        )

    def plan_for(self, requests: Sequence[Request], longest_bytes: int) -> Plan:
        """What this rank would do for such requests, the longest of which has so many bytes.

        Raises
        ------
        InputError
            The engine cannot be with this model.
        """
        from nbkit.engines.selection import Selected, select

        is_library = self._settings.engine_spec.loads_itself
        selected = Selected(0, ()) if is_library else select(self._settings, self.loaded, requests)
        asked = self._settings.prompts_a_batch
        if isinstance(asked, int):
            return Plan(selected, asked)
        longest = longest_bytes // BYTES_A_TOKEN
        return Plan(selected, sequences_that_fit(self._settings, self.loaded, longest, sharing=self.loaded.sharing))

    def agree(self, settings: Settings, fallback: Fallback | None, fitting: int) -> None:
        """Go on as the ranks have agreed: these settings, so many sequences side by side."""
        self._settings, self._fallback = settings, fallback
        self._fitting, self._pads = fitting, fallback is None or fallback.pads
        self._say_what_differs()

    @property
    def alike_up_to(self) -> int | None:
        """Positions up to which the way agreed on computes a prompt alike beside any other; None: any number."""
        from nbkit.engines.model_state import ModelState

        spec = self._settings.engine_spec
        if spec.loads_itself or not spec.batches or not self._pads:
            return None
        limit = ModelState.of(self.loaded).alike_up_to
        padding = self._settings.pad_to_multiple_of - 1 if spec.pads else 0
        return None if limit is None else limit - padding

    def new_engine(self) -> Engine:
        """An engine as agreed."""
        return make_engine(self._settings, self.loaded, self._fitting, pads=self._pads)

    def warm_up_for(
        self, prompts: Sequence[str | Conversation], batches_of: Callable[[list[int]], schedule.Batches]
    ) -> None:
        """Compute once, for nothing, what this process will meet for the first time with such prompts.

        ``batches_of`` cuts prompts of some lengths into the batches in which they will be drawn.
        """
        from nbkit.engines.warm_up import lengths_of_some, warm_up

        if not prompts:
            return
        some = lengths_of_some(prompts, self.loaded, self._settings)
        # By an engine of its own: that of the run keeps nothing of it.
        batches = [[some[int(i)] for i in batch] for batch in batches_of(some)]
        for words in warm_up(self.new_engine().preparations(batches), self.loaded, lambda: self._job.cancelled):
            self._job.emit(Preparing(words))
            if self._is_first:
                print(words)

    def batches_of(
        self, indices: Sequence[int] | schedule.Indices, lengths: list[int], size: int
    ) -> schedule.Batches:
        """Prompts of these lengths, in batches of ``size``, fewer where the token budget asks for it."""
        sizes = lengths if self._settings.order == "by_length" else None
        budget = None
        if self._settings.token_budget is not None:
            budget = schedule.TokenBudget(
                self._settings.token_budget,
                lengths,
                self._settings.max_new_tokens,
                self._settings.pad_to_multiple_of if self._settings.engine_spec.pads else 1,
            )
        return schedule.batches(indices, size, sizes, budget)

    def _say_what_differs(self) -> None:
        """Say once what the model's own file asks for, and where the engine is another than the one asked for."""
        from nbkit.engines.generation_rules import GenerationRules

        rules = GenerationRules(self._settings, self.loaded)
        self.rules = rules.heeded, rules.unheeded
        if self.load_s and self._is_first and (words := rules.words):
            print(f"The model's generation_config.json asks for {words}.")
        if self._fallback is not None and self._is_first:
            print(
                f"{type(self.loaded.model).__name__} would not give its own text by "
                f"{'; '.join(self._fallback.reasons)}. So this run goes on with {self._fallback.words}."
            )


def agreed_fallback(settings: Settings, plans: Sequence[Plan]) -> Fallback | None:
    """What all ranks go on with: the same, for they take prompts from one list."""
    selected = max((plan.selected for plan in plans), key=lambda selected: selected.index)
    if selected.index == 0:
        return None
    from nbkit.engines.selection import WAYS

    way = WAYS[settings.engine][selected.index]
    return Fallback(way.engine, way.pads, selected.reasons)
