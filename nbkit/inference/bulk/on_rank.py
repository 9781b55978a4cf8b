"""What every rank does in a bulk: draw prompts, generate, and append the outputs to a part of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nbkit.engines import BatchDone, Request
from nbkit.errors import InputError, PromptError
from nbkit.inference import schedule
from nbkit.inference.bulk.folder import BulkFolder
from nbkit.inference.bulk.lines import failed_line, output_line, write_whole
from nbkit.inference.bulk.rank_records import RankBegun, RankRecords, TokensCame
from nbkit.inference.bulk.spool import SpoolReader, TakenLog, taken_log
from nbkit.inference.engine_on_rank import EngineOnRank, RankWatch, agreed_fallback
from nbkit.models import LoadedModel
from nbkit.records import Fallback, OutOfMemory, Output, RankRecord
from nbkit.records.latency import MICROSECONDS
from nbkit.records.settings import Settings
from nbkit.records.stored_times import columns_of
from nbkit.runtime.context import JobContext, current_job

if TYPE_CHECKING:
    import torch

MOST_TOKENS_KEPT = 100_000
"""Of prompts that are encoded; none comes twice."""
WAIT_S = 0.005
"""Between two looks for prompts that are not there yet, where nothing is under way."""
FOR_WARM_UP = 256
"""Prompts whose lengths are looked at before the begin."""


@dataclass(frozen=True, slots=True)
class BulkOrder:
    """What the ranks of one attempt are told.

    ``prompts`` is how many there are for this attempt, None if that is not known yet; the longest
    that is known has ``longest_bytes``. ``stops_at_error`` raises at the first prompt that fails. ``is_apart``
    tells of prompts as ``SetApart`` has them: they are generated for in the way that is right for them.
    """

    folder: Path
    attempt: int
    settings: Settings
    prompts: int | None
    longest_bytes: int
    stops_at_error: bool
    is_apart: bool = False


@dataclass(frozen=True, slots=True)
class BulkBegun:
    """Event: a rank has its model and begins; see ``ShareBegun``."""

    dtype: str
    batch_size: int
    fallback: Fallback | None


@dataclass(frozen=True, slots=True)
class SetApart:
    """Event: this prompt is longer than the model computes alike beside others (LongRoPE, dynamic NTK), so that it
    needs another way than the rest."""

    index: int


def bulk_on_rank(order: BulkOrder) -> None:
    """On every rank of the job: draw prompts until none is left, and write down what comes of each."""
    from accelerate import Accelerator
    from accelerate.utils import gather_object

    from nbkit.engines.rounded_rows import rounding_rows

    job, accelerator = current_job(), Accelerator()
    folder = BulkFolder(order.folder)
    reader = SpoolReader(folder.spool / f"{order.attempt:06d}")
    with folder.held_by_rank(), contextlib.closing(reader) as spool:
        work = EngineOnRank(job, accelerator, order.settings)
        began_s = job.elapsed_s
        # Before the ranks meet: later the first prompts may be done and gone.
        some = spool.first(FOR_WARM_UP)
        plan = work.plan_for(_unlike(work.loaded) if order.is_apart else [], order.longest_bytes)
        planned_s = job.elapsed_s
        plans = gather_object([plan])
        agreed_s = job.elapsed_s
        settings, fallback = order.settings, agreed_fallback(order.settings, plans)
        if fallback is not None:
            settings = Settings.of(settings, engine=fallback.engine)
        fitting = min(plan.fitting for plan in plans)
        if order.prompts is not None:
            fitting = schedule.side_by_side(settings, order.prompts, job.world_size, fitting)
        work.agree(settings, fallback, fitting)
        with work.loaded.prompt_tokens.keeping(MOST_TOKENS_KEPT), rounding_rows():
            work.warm_up_for(
                [request.prompt for request in some],
                lambda lengths: work.batches_of(range(len(lengths)), lengths, fitting),
            )
            paid_s = job.elapsed_s - agreed_s
            accelerator.wait_for_everyone()
            begin_s = job.elapsed_s if settings.warm_up else agreed_s
            record = work.account(
                begin_s=begin_s,
                end_s=begin_s,
                planning_s=planned_s - began_s,
                paid_s=paid_s,
                batch_size=fitting,
                waiting_s=0.0,
                gather_s=0.0,
                gathered_prompts=0,
            )
            at_work = _RankAtWork(job, work, settings, record, fallback, spool, folder, order)
            # Its part is there now.
            job.emit(BulkBegun(work.loaded.dtype, fitting, fallback))
            at_work.run()


def _unlike(loaded: LoadedModel) -> list[Request]:
    """Requests that are longer than the model computes alike beside others; none where it always does."""
    from nbkit.engines.model_state import ModelState

    if loaded.model is None or (limit := ModelState.of(loaded).alike_up_to) is None:
        return []
    return [Request(0, "a " * (limit + 1))]


class _Drawn(NamedTuple):
    """A prompt under way, and when it was drawn, in seconds on the job's clock."""

    request: Request
    drawn_s: float


class _RankAtWork:
    """One rank in one attempt."""

    def __init__(
        self,
        job: JobContext,
        work: EngineOnRank,
        settings: Settings,
        record: RankRecord,
        fallback: Fallback | None,
        spool: SpoolReader,
        folder: BulkFolder,
        order: BulkOrder,
    ) -> None:
        self._job = job
        self._work = work
        self._settings = settings
        self._stops_at_error = order.stops_at_error
        # In flight, one by one: a rank takes as many as it has room for, and then one whenever one has ended.
        self._unit = 1 if settings.is_in_flight else record.batch_size
        self._spool = spool
        self._taken = TakenLog(taken_log(folder.spool / f"{order.attempt:06d}", job.rank))
        part = folder.part(order.attempt, f"rank-{job.rank}")
        self._part = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._record = record
        self._waited_s = 0.0
        self._records = RankRecords(folder.records_of(order.attempt, f"rank-{job.rank}"))
        at_s = time.time() - (job.elapsed_s - record.begin_s)
        self._records.add(RankBegun(at_s, fallback, *work.rules))
        self._records.add(record)
        self._under_way: dict[int, _Drawn] = {}
        self._again: list[Request] = []
        self._wanted: range | None = None
        self._alike_up_to = None if order.is_apart else work.alike_up_to

    def run(self) -> None:
        """Generate until nothing is left, or the job is cancelled."""
        watch, numbers = RankWatch(self._job, str(self._work.loaded.device)), self._job.work_counter()
        places = (range(number * self._unit, (number + 1) * self._unit) for number in numbers)
        try:
            while not self._is_done(watch, places):
                # What was under way beside a prompt that failed begins again.
                self._again = [drawn.request for drawn in self._under_way.values()]
            self._records.add(replace(self._record, end_s=self._job.elapsed_s, waiting_s=self._waited_s))
        except Exception:
            _end_if_broken(self._work.loaded.device)
            raise
        finally:
            self._records.close()
            os.close(self._part)
            self._taken.close()

    def _is_done(self, watch: RankWatch, places: Iterator[range]) -> bool:
        """Generate to the end with one engine; False if a prompt has ended that before."""
        try:
            engine = self._work.new_engine()
            for done in engine.generate(self._batches(places), watch):
                if isinstance(done, BatchDone):
                    drawn = self._write(done.outputs)
                    self._records.add(done.record)
                    self._records.add(_tokens_came(done.outputs, drawn))
                else:
                    self._say_too_many(done)
                    self._records.add(done)
                    self._record = replace(self._record, batch_size=engine.batch_size)
        except PromptError as error:
            if error.index not in self._under_way:
                raise
            self._fail(self._under_way[error.index].request, error)
            return False
        return True

    def _say_too_many(self, told: OutOfMemory) -> None:
        print(f"{told.sequences} sequences did not fit into memory, and were begun anew, {told.then} at a time.")

    def _batches(self, places: Iterator[range]) -> Iterator[list[Request]]:
        """Prompts as the engine draws them; an empty batch where there are none yet."""
        while self._again:
            batch, self._again = self._again[: self._unit], self._again[self._unit :]
            yield from self._cut(batch)
        while (wanted := self._wanted or next(places, None)) is not None:
            # Not lost where an engine ends before it is there.
            self._wanted = wanted
            asked_s = 0.0
            while (requests := self._spool.at(wanted)) is None:
                if self._job.cancelled:
                    return
                if (sleeps_s := time.monotonic()) - asked_s < WAIT_S:
                    # Who asks again at once has nothing else to do.
                    time.sleep(WAIT_S)
                    self._waited_s += time.monotonic() - sleeps_s
                asked_s = time.monotonic()
                yield []
            if not requests:
                return
            self._wanted = None
            self._taken.add(requests)
            drawn_s = self._job.elapsed_s
            self._under_way.update((request.index, _Drawn(request, drawn_s)) for request in requests)
            usable = [request for request in requests if self._can_be_used(request)]
            if usable:
                yield from self._cut(usable)

    def _cut(self, requests: list[Request]) -> Iterator[list[Request]]:
        """A batch, in several where the token budget asks for it."""
        if self._settings.token_budget is None or self._settings.is_in_flight:
            yield requests
            return
        prompts = [request.prompt for request in requests]
        lengths = [len(ids) for ids in self._work.loaded.prompt_tokens.of(prompts, self._settings.special_tokens)]
        for batch in self._work.batches_of(range(len(requests)), lengths, self._unit):
            yield [requests[int(number)] for number in batch]

    def _can_be_used(self, request: Request) -> bool:
        """Whether the model can be given a prompt now; what it cannot is written down as failed, or set apart."""
        from nbkit.engines.prompt_check import check_prompts_fit, exceeds

        try:
            check_prompts_fit([request], self._work.loaded, self._settings)
            limit = self._alike_up_to
            if limit is None or not exceeds(limit, [request], self._work.loaded, self._settings):
                return True
        except PromptError as error:
            self._fail(request, error)
        except InputError:
            raise  # of the settings: no prompt would do
        except Exception as error:  # whatever a tokenizer raises
            self._fail(request, PromptError(f"prompt {request.index} cannot be tokenised: {error!r}", request.index))
        else:
            self._under_way.pop(request.index)
            self._job.emit(SetApart(request.index))
        return False

    def _fail(self, request: Request, error: PromptError) -> None:
        if self._stops_at_error:
            raise error
        self._under_way.pop(request.index)
        write_whole(self._part, failed_line(request.index, request.prompt, str(error)))

    def _write(self, outputs: Sequence[Output]) -> list[_Drawn]:
        """Append the outputs of a batch, in one go; of which prompts they are."""
        drawn = [self._under_way.pop(output.index) for output in outputs]
        lines = [output_line(each.request, output) for each, output in zip(drawn, outputs, strict=True)]
        write_whole(self._part, b"".join(lines))
        return drawn


def _tokens_came(outputs: Sequence[Output], drawn: Sequence[_Drawn]) -> TokensCame:
    """When their tokens came. What is drawn again, after another prompt has failed, was taken the first time."""
    times = [
        None if output.times is None else replace(output.times, taken_s=round(each.drawn_s, MICROSECONDS))
        for output, each in zip(outputs, drawn, strict=True)
    ]
    return TokensCame(tuple(output.index for output in outputs), columns_of(times))


def _end_if_broken(device: torch.device) -> None:
    """End this process where a GPU's error has left it unable to compute anything: a new one can."""
    import torch

    if device.type != "cuda":
        return
    try:
        torch.cuda.synchronize(device)
    except Exception:
        traceback.print_exc(file=sys.__stderr__)
        os.kill(os.getpid(), signal.SIGKILL)
