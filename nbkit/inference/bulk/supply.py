"""Supply: the prompts that are still to be generated for, in the order in which they are spooled."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from nbkit.inference.bulk.account import Account
from nbkit.inference.bulk.losses import Losses
from nbkit.inference.bulk.source import Window, Windows
from nbkit.inference.bulk.spool import decoded, encoded
from nbkit.prompts.files.streamed import Unreadable
from nbkit.records.request import Request

APART = 128
"""Prompts that were set apart and are given out together."""


class Supply:
    """Gives out what is open: first what came back from a lost rank, then the source, a window at a time.

    Parameters
    ----------
    unreadable : callable
        Told of a prompt, by its index, that cannot be read, and why.
    by_length : bool
        Whether the prompts of a window are given out with the longest texts first.
    """

    def __init__(
        self,
        windows: Windows,
        account: Account,
        losses: Losses,
        unreadable: Callable[[int, str], None],
        by_length: bool,
    ) -> None:
        self._windows: Iterator[Window] = iter(windows)
        self._account = account
        self._losses = losses
        self._unreadable = unreadable
        self._by_length = by_length
        self._back: list[Request] = []
        self.alone: list[Request] = []
        """Prompts that were under way at more than one loss: each is to be generated for by itself."""
        self.is_at_end = False

    @property
    def has_back(self) -> bool:
        """Whether something came back that is not given out again."""
        return bool(self._back)

    def give_back(self, requests: list[Request]) -> None:
        """These were spooled and are not done."""
        self._back += requests

    def next(self) -> list[Request] | None:
        """The next prompts, maybe none of a window; None at the end.

        Raises
        ------
        InputError
            The source cannot be read further, or is not what it was.
        """
        if self._back:
            back, self._back = self._back, []
            return self._without_suspects(back)
        window = next(self._windows, None)
        if window is None:
            self.is_at_end = True
            return None
        return self._without_suspects(self._open(window))

    def _open(self, window: Window) -> list[Request]:
        requests = []
        for index, item in enumerate(window.items, window.begin):
            if not self._account.is_open(index):
                continue
            if isinstance(item, Unreadable):
                self._unreadable(index, item.why)
            else:
                requests.append(Request(index, item))
        if self._by_length:
            requests.sort(key=lambda request: -len(str(request.prompt)))
        return requests

    def _without_suspects(self, requests: list[Request]) -> list[Request]:
        by_kind = {
            alone: list(these)
            for alone, these in itertools.groupby(sorted(requests, key=self._alone), key=self._alone)
        }
        self.alone += by_kind.get(True, [])
        return by_kind.get(False, [])

    def _alone(self, request: Request) -> bool:
        return self._losses.goes_alone(request.index)


class FewSupply:
    """Some prompts."""

    def __init__(self, requests: list[Request]) -> None:
        self._waiting: list[Request] | None = requests

    def next(self) -> list[Request] | None:
        """All of them; then None."""
        waiting, self._waiting = self._waiting, None
        return waiting


class ApartSupply:
    """Prompts that were set apart for the end, in a file, for they may be many."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_bytes = 0

    def add(self, request: Request) -> None:
        """One more; raises OSError."""
        with self._file.open("ab") as file:
            file.write(encoded(request))

    @property
    def has_more(self) -> bool:
        """Whether there are any that were not given out."""
        return self._file.exists() and self._file.stat().st_size > self._read_bytes

    def next(self) -> list[Request] | None:
        """The next of them; None at the end."""
        if not self.has_more:
            return None
        with self._file.open("rb") as file:
            file.seek(self._read_bytes)
            lines = list(itertools.islice(file, APART))
            self._read_bytes = file.tell()
        return [decoded(line) for line in lines]
