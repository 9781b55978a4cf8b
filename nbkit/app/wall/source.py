"""Source: the entries of a wall from wherever they are, made into what is shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from nbkit.analysis.wall import Board, Expected, Names
from nbkit.app.wall.address import Address, is_address, read_address
from nbkit.app.wall.folder import Reading, read_wall
from nbkit.errors import InputError, shorten
from nbkit.files.atomic_write import path_of

MOST_EXPECTED = 10_000


class Source(Protocol):
    """Where entries are."""

    def read(self) -> Reading:
        """All that are there now; may wait for a disk or a network."""


class FolderSource:
    """Entries in a folder."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = path_of(folder).expanduser().absolute()
        self._known: list[str] = []

    def read(self) -> Reading:
        """What is there now; see ``read_wall``."""
        reading = read_wall(self._folder, self._known)
        self._known = [entry.id for entry in reading.entries]
        return reading


class AddressSource:
    """Entries that another process's server has."""

    def __init__(self, address: str) -> None:
        self._address = Address(address)

    def read(self) -> Reading:
        """What is there now; see ``read_address``."""
        return read_address(self._address)


class Wall:
    """A wall to look at: who is there and how fast, as often as it is asked."""

    def __init__(self, source: Source, expected: Expected = 0) -> None:
        self._source = source
        self._names = Names()
        self._expected = _checked(expected)

    @classmethod
    def at(cls, where: str | Path, expected: Expected = 0) -> Wall:
        """The wall in a folder, or at an address.

        Raises
        ------
        InputError
            The address is none, or ``expected`` makes no sense.
        """
        source: Source = AddressSource(str(where)) if is_address(where) else FolderSource(where)
        return cls(source, expected)

    def read(self) -> Reading:
        """What is there now.

        Raises
        ------
        InputError
            The wall is gone.
        """
        return self._source.read()

    def board_of_nothing(self) -> Board:
        """What to show before anything was read."""
        return self._names.board([], self._expected)

    def board(self, reading: Reading, shown: tuple[str, str] | None = None) -> Board:
        """What to show of what was read, of one model and kind of device; left out, those with the most learners."""
        return self._names.board(reading.entries, self._expected, shown, reading.notes)


def _checked(expected: Expected) -> Expected:
    """How many are expected, or who.

    Raises
    ------
    InputError
        It is neither.
    """
    if isinstance(expected, int) and not isinstance(expected, bool) and 0 <= expected <= MOST_EXPECTED:
        return expected
    if (
        isinstance(expected, Sequence)
        and not isinstance(expected, str | bytes)
        and all(isinstance(name, str) for name in expected)
    ):
        return [" ".join(name.split()) for name in expected if name.strip()]
    raise InputError(f"expected must be how many learners come, or a list of their names, not {shorten(expected)}.")
