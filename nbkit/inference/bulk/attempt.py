"""Attempt: one job of the ranks over what is open, spooled a bounded number ahead, until it is done or lost."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nbkit.errors import NbkitError, WorkersError
from nbkit.inference.bulk.account import Account, Tails
from nbkit.inference.bulk.folder import OWNER, BulkFolder
from nbkit.inference.bulk.losses import Losses
from nbkit.inference.bulk.on_rank import BulkBegun, BulkOrder, SetApart, bulk_on_rank
from nbkit.inference.bulk.rank_records import note_end
from nbkit.inference.bulk.spool import SpoolWriter, read_taken, taken_log
from nbkit.inference.engine_on_rank import Preparing
from nbkit.records.request import Request
from nbkit.records.settings import Settings
from nbkit.runtime.job import Emitted, Job, Log

if TYPE_CHECKING:
    from nbkit.runtime.pool import Ranks

BEAT_S = 0.1
AHEAD = 2048
"""Prompts, at least, that are spooled beyond those that are done."""
AHEAD_OF_SEQUENCES = 4
"""The same for each sequence that the ranks decode side by side."""
SYNC_EVERY_S = 1.0
"""The outputs of so many seconds can be lost where the machine loses its power."""
STOP_GRACE_S = 20.0


class SuppliesRequests(Protocol):
    """Where the prompts of an attempt come from."""

    def next(self) -> list[Request] | None:
        """The next prompts; None at the end."""
        ...


class Attempt:
    """One job over a supply.

    Parameters
    ----------
    beat : callable
        Called about every ``BEAT_S`` seconds; what it raises ends the attempt.
    say : callable
        Given what the ranks print.
    begun : callable
        Told what the ranks compute in.
    failed : callable
        Given the part of a prompt that failed, and where its line begins there.
    set_apart : callable
        Given what needs another way than the rest; ``is_apart`` tells that the supply is of such.
    """

    def __init__(
        self,
        folder: BulkFolder,
        supply: SuppliesRequests,
        account: Account,
        losses: Losses,
        settings: Settings,
        *,
        stops_at_error: bool,
        beat: Callable[[], None],
        say: Callable[[str], None],
        begun: Callable[[str], None],
        failed: Callable[[Path, int], None],
        set_apart: Callable[[Request], None],
        is_apart: bool,
    ) -> None:
        self._folder = folder
        self._supply = supply
        self._account = account
        self._losses = losses
        self._settings = settings
        self._stops_at_error = stops_at_error
        self._beat = beat
        self._say = say
        self._begun = begun
        self._failed = failed
        self._set_apart = set_apart
        self._is_apart = is_apart
        self._number = folder.next_attempt()
        self._spool_folder = folder.spool / f"{self._number:06d}"
        self._spool = SpoolWriter(self._spool_folder)
        self._sequences: dict[int, int] = {}
        self._longest_bytes = 0
        self._tails = Tails()
        self._synced_s = time.monotonic()

    def run(self, ranks: Ranks) -> None:
        """Have the ranks generate for all that the supply gives.

        Raises
        ------
        RankError, WorkersError
            The job was lost; ``left`` has what is open.
        NbkitError, OSError
            It cannot go on.
        """
        self._top_up()
        if not self._spool.places:
            return
        job = ranks.pool.give(bulk_on_rank, (self._order(),), {}, ranks.numbers, heeds_cancel=True)
        try:
            self._watch(job)
            job.result()
        except BaseException:
            self._stop(job)
            raise
        finally:
            note_end(self._folder.records_of(self._number, OWNER), time.monotonic() - job.submitted)
            # Of a rank that was lost before it was heard of, too.
            for path in self._folder.parts.glob(f"{self._number:06d}-rank-*.jsonl"):
                self._tails.add(path)
            self.look()
        if self._spool.waiting:
            raise WorkersError(f"the ranks left {self._spool.waiting} prompts without a word.")

    def _order(self) -> BulkOrder:
        prompts = self._spool.places if self._spool.is_ended else None
        return BulkOrder(
            self._folder.path.absolute(),
            self._number,
            self._settings,
            prompts,
            self._longest_bytes,
            self._stops_at_error,
            self._is_apart,
        )

    def _watch(self, job: Job) -> None:
        for event in job.events(timeout=BEAT_S):
            if isinstance(event, Log):
                self._say(event.labelled)
            elif isinstance(event, Emitted):
                self._take(event.rank, event.value)
            self.look()
            self._top_up()
            self._beat()
            if time.monotonic() - self._synced_s > SYNC_EVERY_S:
                self._tails.sync()
                self._synced_s = time.monotonic()

    def _take(self, rank: int, value: object) -> None:
        if isinstance(value, BulkBegun):
            self._take_begun(rank, value)
        elif isinstance(value, Preparing):
            self._folder.note(value.words)
        elif isinstance(value, SetApart) and (request := self._spool.take_out(value.index)) is not None:
            self._set_apart(request)

    def _take_begun(self, rank: int, value: BulkBegun) -> None:
        self._sequences[rank] = value.batch_size
        self._tails.add(self._folder.part(self._number, f"rank-{rank}"))
        self._begun(value.dtype)

    def _top_up(self) -> None:
        """Spool prompts until enough wait."""
        ahead = max(AHEAD, AHEAD_OF_SEQUENCES * sum(self._sequences.values()))
        while self._spool.waiting < ahead and not self._spool.is_ended:
            requests = self._supply.next()
            if requests is None:
                self._spool.end()
                return
            self._spool.add(requests)
            lengths = (len(str(request.prompt).encode()) for request in requests)
            self._longest_bytes = max(self._longest_bytes, max(lengths, default=0))

    def look(self) -> None:
        """Take what the ranks have written since."""
        for path, offset, head in self._tails.new():
            if self._account.take(head) and head.new_tokens is None:
                self._failed(path, offset)
            self._spool.done(head.index)
            self._losses.done(head.index)

    def under_way(self, rank: int) -> list[int]:
        """The prompts that a rank had taken and that are open."""
        return [index for index in read_taken(taken_log(self._spool_folder, rank)) if self._account.is_open(index)]

    def left(self) -> list[Request]:
        """What was spooled and is open."""
        return self._spool.left()

    def _stop(self, job: Job) -> None:
        """Cancel the job and wait until the ranks have let go of it: nothing is written after the last look."""
        if job.cancel():
            for _ in itertools.takewhile(lambda event: event is not None, job.events(timeout=STOP_GRACE_S)):
                pass
        # A job has failed as soon as one rank has: the others are still being stopped. Of ranks that do not end, who
        # goes on with the bulk is told.
        with contextlib.suppress(NbkitError, OSError):
            self._folder.wait_for_ranks()

    def close(self) -> None:
        self._tails.sync()
        self._tails.close()
        self._spool.close()
