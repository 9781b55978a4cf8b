"""Driver: keeps a bulk going until every prompt has its output or its error, whatever ends ranks on the way."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nbkit.errors import InputError, NbkitError, PromptError, RankDied, RankError, WorkersError, shorten
from nbkit.inference.bulk.account import count_parts, read_parts
from nbkit.inference.bulk.attempt import Attempt, SuppliesRequests
from nbkit.inference.bulk.folder import OWNER, BulkFolder, is_no_room
from nbkit.inference.bulk.history import HistoryWriter
from nbkit.inference.bulk.latest import Failures
from nbkit.inference.bulk.lines import Head, failed_line, write_whole
from nbkit.inference.bulk.losses import SET_ASIDE, SET_ASIDE_AFTER, Losses
from nbkit.inference.bulk.merging import merge_records
from nbkit.inference.bulk.openai_batch import repeated_ids
from nbkit.inference.bulk.ordering import order_outputs
from nbkit.inference.bulk.record import Bulk
from nbkit.inference.bulk.source import FileSource, Hashing, Source, Windows, source_of
from nbkit.inference.bulk.status import BulkStatus, Pace, write_status
from nbkit.inference.bulk.supply import ApartSupply, FewSupply, Supply
from nbkit.records.bulk_manifest import Manifest
from nbkit.records.request import PromptLike, Request
from nbkit.records.settings import Settings

if TYPE_CHECKING:
    from nbkit.runtime.pool import Ranks

ON_ERROR = ("record", "stop")
TELL_EVERY_S = 1.0
MOST_BARREN_LOSSES = 10
"""Losses one after the other without an output between them: then it is no prompt that ends the ranks."""
MOST_LOSSES_WITHOUT_PROMPTS = 5
"""Losses one after the other with nothing under way: the ranks end before they begin."""

Tell = Callable[[BulkStatus], None]


def run_bulk(
    ranks: Ranks,
    source: str | Path | Iterable[PromptLike],
    folder: str | Path,
    settings: Settings,
    *,
    column: str | None = None,
    on_error: str = "record",
    tell: Tell = lambda status: None,
    say: Callable[[str], None] = print,
) -> Bulk:
    """Generate for every prompt of a source, into a folder; see ``InferenceRanks.bulk``.

    ``tell`` is told about once a second how far it is, ``say`` is given what ranks print and what goes wrong.
    What ``tell`` raises while it runs ends the bulk, as an interrupt does: the same call goes on.
    """
    if on_error not in ON_ERROR:
        raise InputError(f"on_error must be one of {', '.join(ON_ERROR)}, not {on_error!r}.")
    there, opened = BulkFolder(folder), source_of(source, column)
    with there.held():
        manifest = _begin_or_go_on(there, opened, settings, say)
        if there.outputs.exists():
            _clear(there)
            return Bulk(there, manifest)
        with _told_of_no_room(there):
            run = _BulkRun(ranks, opened, there, manifest, settings, on_error == "stop", tell, say)
            try:
                run.to_the_end()
            finally:
                run.close()
        return Bulk(there, manifest)


@contextlib.contextmanager
def _told_of_no_room(there: BulkFolder) -> Iterator[None]:
    """In the place of an error of a disk that is full, here or on a rank, a sentence."""
    try:
        yield
    except (OSError, RankError) as error:
        cause = error.__cause__ if isinstance(error, RankError) else error
        if not is_no_room(cause):
            raise
        # Counted, as where there is no room for it a status may not tell.
        done = count_parts(there).done
        sentence = (
            f"nothing more can be written in {there.path} ({getattr(cause, 'strerror', cause)}). The {done:,} "
            "prompts that are done are kept: make room, and the same call goes on."
        )
        there.note(sentence)
        raise NbkitError(sentence) from None


def _begin_or_go_on(there: BulkFolder, source: Source, settings: Settings, say: Callable[[str], None]) -> Manifest:
    described = source.describe()
    manifest = Manifest.load(there.manifest) if there.manifest.exists() else None
    differs = manifest.difference(settings, described) if manifest else ""
    if manifest and differs and there.has_outputs:
        raise InputError(f"{there.path} holds another bulk: {differs}. Ask for the same, or name another folder.")
    if manifest and not differs:
        if others := manifest.other_versions():
            sentence = f"begun with {others}: other versions may compute another text."
            there.note(sentence)
            say(sentence)
        return manifest
    if manifest is None and (other := there.something_else()):
        raise InputError(f"{there.path} holds something else ({other}): name a new or an empty folder.")
    # A bulk that has come to nothing, by a name that was mistyped for one, binds nobody.
    kept = (there.windows, there.losses, there.failures, there.history)
    for file in (*kept, *there.rank_record_files()):
        file.unlink(missing_ok=True)
    manifest = Manifest(settings, described)
    manifest.save(there.manifest)
    if isinstance(source, FileSource):
        say(f"{source.path.name}: taking {source.stream.taken}.")
    return manifest


def _clear(there: BulkFolder) -> None:
    """Remove what a finished bulk needs no more."""
    for folder in (there.parts, there.spool, there.rank_records):
        shutil.rmtree(folder, ignore_errors=True)


class _BulkRun:
    """One process at a bulk."""

    def __init__(
        self,
        ranks: Ranks,
        source: Source,
        folder: BulkFolder,
        manifest: Manifest,
        settings: Settings,
        stops_at_error: bool,
        tell: Tell,
        say: Callable[[str], None],
    ) -> None:
        self._ranks = ranks
        self._source = source
        self._folder = folder
        self._manifest = manifest
        self._settings = settings
        self._stops_at_error = stops_at_error
        self._tell = tell
        self._say = say
        self._pace = Pace()
        self._told_s = 0.0
        self._barren = self._without_prompts = 0
        folder.wait_for_ranks()
        shutil.rmtree(folder.spool, ignore_errors=True)
        folder.spool.mkdir()
        self._failures = Failures(folder.failures)
        self._account = read_parts(folder, self._failures.add_from)
        self._history = HistoryWriter(folder.history, self._account)
        self._losses = Losses(folder.losses)
        self._own_part: int | None = None
        self._own_attempt = folder.next_attempt()
        self._windows = Windows(source, folder.windows, folder.requests)
        by_length = settings.order == "by_length"
        self._supply = Supply(self._windows, self._account, self._losses, self._give_up, by_length)
        self._apart = ApartSupply(folder.spool / "apart.jsonl")
        self._hashing = self._begin_hashing()
        done = f"{self._account.done:,} prompts are done" if self._account.done else "nothing is done yet"
        folder.note(f"begun, with nbkit {manifest.nbkit}: {done}.")

    def to_the_end(self) -> None:
        """Make attempts until nothing is open, then put the outputs in order.

        Raises
        ------
        NbkitError, OSError, KeyboardInterrupt
            What ended it; what was written stays.
        """
        self._pace.count(self._account.done, self._account.new_tokens)
        while True:
            if not self._supply.is_at_end or self._supply.has_back:
                self._attempt(self._supply, self._settings)
            elif self._supply.alone:
                # One at a time: if a rank is lost now, it is known by which prompt.
                many = len(self._supply.alone)
                self._say_and_note(f"{many} prompts were under way at more than one loss: they go one by one.")
                alone, self._supply.alone = self._supply.alone, []
                settings = Settings.of(self._settings, batch_size=1, token_budget=None)
                self._attempt(FewSupply(alone), settings, is_apart=True)
            elif self._apart.has_more:
                self._say_and_note(
                    "The prompts that are longer than this model computes alike beside others are left, and go in a "
                    "way of their own."
                )
                self._attempt(self._apart, self._settings, is_apart=True)
            else:
                break
        self._finish()

    def _attempt(self, supply: SuppliesRequests, settings: Settings, is_apart: bool = False) -> None:
        """Have the ranks generate for what the supply has; what comes to nothing by a loss goes back to it."""
        attempt = Attempt(
            self._folder,
            supply,
            self._account,
            self._losses,
            settings,
            stops_at_error=self._stops_at_error,
            beat=self._beat,
            say=self._say_and_note,
            begun=self._check_dtype,
            failed=self._failures.add_from,
            set_apart=self._apart.add,
            is_apart=is_apart,
        )
        done = self._account.done
        try:
            attempt.run(self._ranks)
        except (WorkersError, RankError) as error:
            self._note_loss(attempt, error, self._account.done > done)
        finally:
            attempt.close()

    def _note_loss(self, attempt: Attempt, error: WorkersError | RankError, was_fruitful: bool) -> None:
        """Note who was under way, and give all that is open back; raise what is beyond that."""
        if self._ranks.pool.is_closed or is_no_room(error.__cause__):
            raise error
        self._folder.wait_for_ranks()
        attempt.look()
        rank = error.rank if isinstance(error, RankDied | RankError) else None
        under_way = attempt.under_way(rank) if rank is not None else []
        self._barren = 0 if was_fruitful else self._barren + 1
        self._without_prompts = self._without_prompts + 1 if not (under_way or was_fruitful) else 0
        self._folder.note(f"lost: {error}")
        if self._barren >= MOST_BARREN_LOSSES or self._without_prompts >= MOST_LOSSES_WITHOUT_PROMPTS:
            raise error
        self._losses.note(under_way)
        self._history.lost()
        sentence = str(error).strip().splitlines()[0]
        told = f" {len(under_way)} prompts were under way on it." if under_way else ""
        self._say(f"{sentence}{told} The bulk goes on.")
        self._supply.give_back(self._without_set_aside(attempt.left(), sentence))

    def _without_set_aside(self, requests: list[Request], why: str) -> list[Request]:
        kept = []
        for request in requests:
            if self._losses.is_set_aside(request.index):
                self._give_up(
                    request.index,
                    f"{SET_ASIDE}: a rank was lost {SET_ASIDE_AFTER} times while this prompt was under way: {why}",
                    request,
                )
            else:
                kept.append(request)
        return kept

    def _give_up(self, index: int, why: str, request: Request | None = None) -> None:
        """Write down a prompt as failed."""
        if self._stops_at_error:
            raise PromptError(why, index)
        if self._own_part is None:
            path = self._folder.part(self._own_attempt, OWNER)
            self._own_part = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        line = failed_line(index, request.prompt if request else None, why)
        write_whole(self._own_part, line)
        if self._account.take(Head(index, None)):
            self._failures.add(line)
        self._losses.done(index)

    def _beat(self) -> None:
        """A few times a second."""
        now_s = time.monotonic()
        if now_s - self._told_s < TELL_EVERY_S:
            return
        self._told_s = now_s
        if self._own_part is not None:
            os.fsync(self._own_part)
        self._pace.count(self._account.done, self._account.new_tokens, now_s)
        self._look_at_hash()
        self._history.look()
        self._tell_status(is_running=True)

    def _tell_status(self, is_running: bool) -> None:
        status = self._status(is_running)
        # Outputs matter more than word of them.
        with contextlib.suppress(OSError):
            write_status(self._folder.status, status)
        self._tell(status)

    def _status(self, is_running: bool) -> BulkStatus:
        expected = total = self._windows.total
        share = self._source.share_read()
        if total is None and share:
            expected = round(self._windows.read / share)
        left = None if expected is None else self._pace.seconds_for(max(0, expected - self._account.done))
        return BulkStatus(
            finished=self._account.finished,
            failed=self._account.failed,
            total=total,
            expected=expected,
            tokens_per_second=self._pace.tokens_per_second,
            seconds_left=left,
            is_running=is_running,
        )

    def _begin_hashing(self) -> Hashing | None:
        if not isinstance(self._source, FileSource):
            return None
        hashing = Hashing(self._source.path)
        hashing.start()
        return hashing

    def _look_at_hash(self) -> None:
        """Keep the source's hash once it is there, or hold it against the one that was kept."""
        if self._hashing is None or self._hashing.found is None:
            return
        found, known = self._hashing.found, self._manifest.source.get("sha256")
        self._hashing = None
        if known is None:
            self._manifest.source["sha256"] = found
            self._manifest.save(self._folder.manifest)
        elif known != found:
            raise InputError(
                f"{self._manifest.source['path']} is not what it was when this bulk began (its SHA-256 is {found}, "
                f"not {known}): give it the same source, or another folder."
            )

    def _check_dtype(self, dtype: str) -> None:
        """Going on with other arithmetic would be another text."""
        if self._manifest.dtype is None:
            self._manifest.dtype = dtype
            self._manifest.save(self._folder.manifest)
        elif self._manifest.dtype != dtype:
            raise InputError(
                f"this bulk was begun in {self._manifest.dtype}, and these ranks compute in {dtype}: go on with a "
                "device as before, or name another folder. A dtype other than auto is the same on every device."
            )

    def _finish(self) -> None:
        total = self._windows.total
        assert total is not None
        if not total:
            raise InputError("the source has no prompts; write one a line, in a table one a row.")
        if self._hashing is not None:
            self._hashing.join()
            self._look_at_hash()
        self._manifest.total = total
        self._manifest.save(self._folder.manifest)
        self._folder.wait_for_ranks()
        self._tell_status(is_running=True)
        merge_records(self._folder, self._account.failed)
        order_outputs(self._folder, total)
        failed = f", {self._account.failed:,} of them failed" if self._account.failed else ""
        self._say_what_was_not_heeded()
        self._folder.note(f"finished: {total:,} prompts{failed}.")
        _clear(self._folder)

    def _say_what_was_not_heeded(self) -> None:
        unused = self._source.stream.unused if isinstance(self._source, FileSource) else {}
        if unused:
            listed = ", ".join(f"{shorten(name)} in {count:,} lines" for name, count in unused.items())
            self._say_and_note(f"Not heeded of the source, where the settings decide instead: {listed}.")
        if repeated := repeated_ids(self._folder.requests):
            self._say_and_note(repeated)

    def _say_and_note(self, sentence: str) -> None:
        self._folder.note(sentence)
        self._say(sentence)

    def close(self) -> None:
        """Leave everything as somebody else can go on with it."""
        if self._hashing is not None:
            self._hashing.stop()
        self._windows.close()
        self._history.close()
        self._tell_status(is_running=False)
        if self._own_part is not None:
            os.close(self._own_part)
