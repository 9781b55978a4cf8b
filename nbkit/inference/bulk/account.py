"""Account: which prompts are done, a byte each, and the outputs that the ranks have written since the last look."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from nbkit.inference.bulk.folder import BulkFolder
from nbkit.inference.bulk.lines import Head, cut_torn_end, heads

OPEN, FINISHED, FAILED = range(3)


class Account:
    """Which prompts have their output, or their error."""

    def __init__(self) -> None:
        self._states = bytearray()
        self.finished = 0
        self.failed = 0
        self.new_tokens = 0

    @property
    def done(self) -> int:
        """Prompts for which nothing is left to do."""
        return self.finished + self.failed

    def is_open(self, index: int) -> bool:
        """Whether a prompt has nothing yet."""
        return index >= len(self._states) or self._states[index] == OPEN

    def take(self, head: Head) -> bool:
        """Count a line; False if its prompt had one before."""
        if not self.is_open(head.index):
            return False
        if head.index >= len(self._states):
            # At least doubled, so that it is seldom copied.
            self._states.extend(bytes(max(head.index + 1 - len(self._states), len(self._states))))
        self._states[head.index] = FAILED if head.new_tokens is None else FINISHED
        if head.new_tokens is None:
            self.failed += 1
        else:
            self.finished += 1
            self.new_tokens += head.new_tokens
        return True


def read_parts(folder: BulkFolder, failed: Callable[[Path, int], None]) -> Account:
    """What is done already; what a crash has left of a last line is cut off.

    ``failed`` is given the part of each prompt that failed, and where its line begins there.
    """
    for path in folder.part_files():
        if torn := cut_torn_end(path):
            folder.note(f"{path.name}: {torn} bytes after its last whole line were cut off.")
    return count_parts(folder, failed)


def count_parts(folder: BulkFolder, failed: Callable[[Path, int], None] = lambda part, offset: None) -> Account:
    """What is done, as the parts have it; nothing is changed, so that anyone may look, whoever writes."""
    account = Account()
    for path in folder.part_files():
        with path.open("rb") as file:
            for offset, head in heads(file):
                if account.take(head) and head.new_tokens is None:
                    failed(path, offset)
    return account


class Tails:
    """The parts of an attempt, read as they grow."""

    def __init__(self) -> None:
        self._files: dict[Path, BinaryIO] = {}
        self._unsynced: set[int] = set()

    def add(self, path: Path) -> None:
        """Read this one, too; it is there."""
        if path not in self._files:
            self._files[path] = path.open("rb")

    def new(self) -> Iterator[tuple[Path, int, Head]]:
        """The lines that were written since the last look: each with its part and where it begins there."""
        for path, file in self._files.items():
            for offset, head in heads(file):
                self._unsynced.add(file.fileno())
                yield path, offset, head

    def sync(self) -> None:
        """Have what was read reach the disk."""
        for descriptor in self._unsynced:
            os.fsync(descriptor)
        self._unsynced.clear()

    def close(self) -> None:
        for file in self._files.values():
            file.close()
