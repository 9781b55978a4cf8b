"""The folder of a bulk: what stands where, who may write in it, and its log."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from nbkit.errors import InputError, NbkitError
from nbkit.records.bulk_manifest import MANIFEST, OUTPUTS, RECORDS, TIMES

LOCK_PATIENCE_S = 0.5
"""Who looks whether a bulk runs holds its lock for a moment."""
RANKS_PATIENCE_S = 30.0
"""Ranks whose notebook is gone end at once, and the system needs a moment to clear them away."""
OWNER = "owner"
"""Who writes beside the ranks."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class BulkFolder:
    """Where the files of a bulk are.

    Attributes
    ----------
    manifest : Path
        What was asked for.
    outputs : Path
        All outputs in the prompts' order, a line each: there when the bulk is finished.
    parts, spool : Path
        Until then: outputs as they finish, a file for each attempt and rank; prompts on their way to the ranks.
    records, times, rank_records : Path
        What the ranks told of batches and of when tokens came, merged when the bulk is finished; until then a file
        for each attempt and rank.
    requests : Path
        Of which batch request each prompt is, where the source is lines of such.
    windows, losses : Path
        What was read of the source, and which prompts were under way when a rank was lost.
    failures, history : Path
        The prompts that failed, and how far it was when, for who looks.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.manifest = self.path / MANIFEST
        self.outputs = self.path / OUTPUTS
        self.records = self.path / RECORDS
        self.times = self.path / TIMES
        self.rank_records = self.path / "rank_records"
        self.parts = self.path / "parts"
        self.spool = self.path / "spool"
        self.requests = self.path / "requests.jsonl"
        self.windows = self.path / "windows.jsonl"
        self.losses = self.path / "losses.jsonl"
        self.failures = self.path / "failures.jsonl"
        self.history = self.path / "history.jsonl"
        self.status = self.path / "status.json"
        self.log = self.path / "log.txt"
        self._lock = self.path / "lock"
        self._ranks_lock = self.path / "ranks.lock"

    def part(self, attempt: int, who: str) -> Path:
        """The file to which somebody appends the outputs of an attempt."""
        return self.parts / f"{attempt:06d}-{who}.jsonl"

    def part_files(self) -> list[Path]:
        """The parts that there are, the oldest attempt first."""
        return sorted(self.parts.glob("*.jsonl"))

    def records_of(self, attempt: int, who: str) -> Path:
        """The file to which somebody appends what there is to tell of an attempt."""
        return self.rank_records / f"{attempt:06d}-{who}.jsonl"

    def rank_record_files(self) -> list[Path]:
        """The files of ``records_of`` that there are, the oldest attempt first."""
        return sorted(self.rank_records.glob("*.jsonl"))

    @property
    def has_outputs(self) -> bool:
        """Whether any prompt is done."""
        return self.outputs.exists() or any(file.stat().st_size for file in self.part_files())

    def something_else(self) -> str | None:
        """What stands there that is not of a bulk; None if nothing does."""
        own = (self.parts, self.rank_records, self._lock, self._ranks_lock)
        others = [each.name for each in self.path.iterdir() if each not in own and not each.name.startswith(".")]
        return min(others, default=None)

    def next_attempt(self) -> int:
        """A number that no attempt has had."""
        numbers = [int(file.name.partition("-")[0]) for file in self.part_files() + self.rank_record_files()]
        numbers += [int(each.name) for each in self.spool.glob("[0-9]*")]
        return max(numbers, default=0) + 1

    def note(self, sentence: str) -> None:
        """Write what happened into the log; where there is no room for it, that is not the worst."""
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{stamp} {sentence.rstrip()}\n")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Be the only one who writes here; it ends with the process, however that ends.

        Raises
        ------
        InputError
            Another process is at it, or the folder cannot be written.
        """
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
            self.rank_records.mkdir(exist_ok=True)
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise InputError(
                f"cannot write in {self.path}: {error.strerror or error}; name another folder."
            ) from None
        try:
            if not _locked(descriptor, fcntl.LOCK_EX, LOCK_PATIENCE_S):
                raise InputError(
                    f"another process is at the bulk in {self.path}: wait for it, or end it; "
                    "nbkit.Bulk.open(folder).status() tells how far it is."
                )
            yield
        finally:
            os.close(descriptor)

    @property
    def is_held(self) -> bool:
        """Whether a process is at it."""
        try:
            descriptor = os.open(self._lock, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return not _locked(descriptor, fcntl.LOCK_SH, 0.0)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def held_by_rank(self) -> Iterator[None]:
        """On a rank: others can see that it may write here."""
        descriptor = os.open(self._ranks_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _locked(descriptor, fcntl.LOCK_SH, RANKS_PATIENCE_S)
            yield
        finally:
            os.close(descriptor)

    def wait_for_ranks(self) -> None:
        """Wait until no rank, of whatever process, can write here any more.

        Raises
        ------
        NbkitError
            Some do not end.
        """
        descriptor = os.open(self._ranks_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not _locked(descriptor, fcntl.LOCK_EX, RANKS_PATIENCE_S):
                raise NbkitError(f"ranks that were at the bulk in {self.path} do not end: end them, and go on.")
        finally:
            os.close(descriptor)


def _locked(descriptor: int, kind: int, patience_s: float) -> bool:
    """Whether the lock could be had; where a file system has none, it is had."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        except OSError:
            return True


def is_no_room(error: BaseException | None) -> bool:
    """Whether an error says that nothing more can be written."""
    return isinstance(error, OSError) and error.errno in NO_ROOM
