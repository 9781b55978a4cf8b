"""A stand-in for ranks in tests of a bulk: one thread that draws from the spool as a rank does, without a model."""

from __future__ import annotations

import errno
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from nbkit.errors import RankDied, RankError
from nbkit.inference.bulk.folder import BulkFolder
from nbkit.inference.bulk.lines import output_line, write_whole
from nbkit.inference.bulk.on_rank import BulkBegun, BulkOrder
from nbkit.inference.bulk.rank_records import RankBegun, RankRecords, TokensCame
from nbkit.inference.bulk.spool import SpoolReader, TakenLog, taken_log
from nbkit.records import BatchRecord, Output, OutputTimes, RankRecord, StepWork
from nbkit.records.request import Request
from nbkit.records.stored_times import columns_of
from nbkit.runtime import Emitted, Job

SEQUENCES = 4
WRITES_ON_FROM = 200
"""Place of the first prompt that another rank had taken when one raised."""


class PlayedRanks:
    """Gives a prompt's text in capitals. ``before`` is called with each prompt before its output, and may raise.

    ``writes_on_s`` seconds after that another rank still writes outputs: it is being stopped.
    """

    numbers = None

    def __init__(self, before: Callable[[Request], None] = lambda request: None, writes_on_s: float = 0.0) -> None:
        self.pool = self
        self.is_closed = False
        self.orders: list[BulkOrder] = []
        self._before = before
        self._writes_on_s = writes_on_s

    def give(self, fn: Any, args: tuple[BulkOrder], kwargs: Any, numbers: Any, heeds_cancel: bool) -> Job:
        cancelled = threading.Event()
        job = Job("bulk", lambda *_: None, lambda job: cancelled.set())
        self.orders.append(args[0])
        threading.Thread(target=self._run, args=(job, args[0], cancelled)).start()
        return job

    def _run(self, job: Job, order: BulkOrder, cancelled: threading.Event) -> None:
        job.set_running_or_notify_cancel()
        folder = BulkFolder(order.folder)
        spooled = folder.spool / f"{order.attempt:06d}"
        reader, taken = SpoolReader(spooled), TakenLog(taken_log(spooled, 0))
        part = os.open(folder.part(order.attempt, "rank-0"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._records = RankRecords(folder.records_of(order.attempt, "rank-0"))
        begin_s = self._elapsed_s(job)
        record = RankRecord(0, 1, "node", 1, "cpu", "float32", 0.5, begin_s, begin_s, 0.0, 0.0, 0, batch_size=4)
        self._records.add(RankBegun(time.time()))
        self._records.add(record)
        job.add_event(Emitted(0, BulkBegun("float32", SEQUENCES, None)))
        with folder.held_by_rank():
            try:
                self._generate(job, order, reader, taken, part, cancelled)
                self._records.add(replace(record, end_s=self._elapsed_s(job)))
            except BaseException as error:
                job.set_exception(error)
                self._write_on(reader, part)
            else:
                job.set_result(None)
            finally:
                self._records.close()
                os.close(part)
                reader.close()
                taken.close()

    def _write_on(self, reader: SpoolReader, part: int) -> None:
        ends_s = time.monotonic() + self._writes_on_s
        for place in itertools.count(WRITES_ON_FROM):
            if time.monotonic() > ends_s:
                return
            time.sleep(0.01)
            write_whole(part, b"".join(map(_line, reader.at(range(place, place + 1)) or [])))

    @staticmethod
    def _elapsed_s(job: Job) -> float:
        return time.monotonic() - job.submitted

    def _generate(
        self, job: Job, order: BulkOrder, reader: SpoolReader, taken: TakenLog, part: int, cancelled: threading.Event
    ) -> None:
        side_by_side = 1 if order.settings.batch_size == 1 else SEQUENCES
        for number in itertools.count():
            while (requests := reader.at(range(number * side_by_side, (number + 1) * side_by_side))) is None:
                if cancelled.wait(0.001):
                    return
            if not requests or cancelled.is_set():
                return
            taken.add(requests)
            begin_s = self._elapsed_s(job)
            for request in requests:
                self._before(request)
            write_whole(part, b"".join(map(_line, requests)))
            end_s = self._elapsed_s(job)
            self._records.add(self._batch(requests, begin_s, end_s))
            times = OutputTimes.of(begin_s, [(begin_s + end_s) / 2, end_s])
            self._records.add(TokensCame(tuple(r.index for r in requests), columns_of([times] * len(requests))))

    @staticmethod
    def _batch(requests: list[Request], begin_s: float, end_s: float) -> BatchRecord:
        n, whole_s = len(requests), end_s - begin_s
        indices = tuple(request.index for request in requests)
        # As of an engine in flight: one prefill, and two steps of all.
        work = StepWork(prefills=1, prompts=n, positions=n, squares=n, sequence_steps=2 * n, cached_positions=3 * n)
        return BatchRecord(
            *(0, indices, n, 0, 2 * n, 2 * n, 0.0, whole_s / 4, whole_s / 2, 0.0, begin_s, end_s, 1),
            decode_steps=2,
            first_token_s=n * whole_s / 2,
            after_first_s=n * whole_s / 2,
            work=work,
        )


def _line(request: Request) -> bytes:
    return output_line(request, Output(request.index, str(request.prompt).upper(), 1, 2, "length"))


def dies_at(indices: Iterable[int], times: int = 1_000_000) -> Callable[[Request], None]:
    """A rank that dies, so many times at most, whenever one of these prompts is under way."""
    left = dict.fromkeys(indices, times)

    def die(request: Request) -> None:
        if left.get(request.index, 0):
            left[request.index] -= 1
            raise RankDied(0, "rank 0 (process 1) was killed (SIGKILL).")

    return die


def no_room_at(index: int) -> Callable[[Request], None]:
    """A rank that cannot write when it comes to this prompt."""

    def raise_it(request: Request) -> None:
        if request.index == index:
            error = RankError(0, "OSError", "")
            error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
            raise error

    return raise_it
