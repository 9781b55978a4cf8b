"""Spool: prompts on their way from the source to the ranks, in chunk files; no rank has them all.

A prompt's *place* is its number in the spool of one attempt, in the order in which ranks draw. The file ``ends``
has the place at which each chunk ends, as it is written, and at last ``THE_END``: so a rank sees which chunks are
there, and where in them its place is. A chunk goes when all of its prompts are done.
"""

from __future__ import annotations

import json
import os
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbkit.inference.bulk.lines import as_json, write_whole
from nbkit.records.request import Conversation, Request

CHUNK = 128
"""Prompts, at most, of a chunk."""
THE_END = -1
_PLACE = struct.Struct("=q")


def encoded(request: Request) -> bytes:
    """A prompt and its index, as a line."""
    return json.dumps([request.index, as_json(request.prompt)], ensure_ascii=False).encode() + b"\n"


def decoded(line: bytes) -> Request:
    """What ``encoded`` made a line of."""
    index, prompt = json.loads(line)
    return Request(index, prompt if isinstance(prompt, str) else Conversation.of(prompt))


class SpoolWriter:
    """Writes chunks into a folder of its own, and knows which of their prompts are not done."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._ends = os.open(folder / "ends", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._chunk_of: dict[int, int] = {}
        self._left_of: dict[int, int] = {}
        self._chunks = 0
        self.places = 0
        self.is_ended = False

    @property
    def waiting(self) -> int:
        """Prompts that are spooled and not done."""
        return len(self._chunk_of)

    def add(self, requests: Sequence[Request]) -> None:
        """Spool prompts after those that are there; raises OSError."""
        for begin in range(0, len(requests), CHUNK):
            self._add_chunk(requests[begin : begin + CHUNK])

    def _add_chunk(self, requests: Sequence[Request]) -> None:
        number = self._chunks
        (self._folder / f"{number:09d}").write_bytes(b"".join(map(encoded, requests)))
        self._chunks += 1
        self._left_of[number] = len(requests)
        self._chunk_of.update((request.index, number) for request in requests)
        self.places += len(requests)
        # Only now can it be seen.
        write_whole(self._ends, _PLACE.pack(self.places))

    def end(self) -> None:
        """Say that there is nothing more; raises OSError."""
        if not self.is_ended:
            write_whole(self._ends, _PLACE.pack(THE_END))
            self.is_ended = True

    def done(self, index: int) -> None:
        """A prompt is done."""
        number = self._chunk_of.pop(index, None)
        if number is None:
            return
        self._left_of[number] -= 1
        if not self._left_of[number]:
            del self._left_of[number]
            (self._folder / f"{number:09d}").unlink(missing_ok=True)

    def take_out(self, index: int) -> Request | None:
        """A prompt that is to be spooled another time; None where it is done already."""
        number = self._chunk_of.get(index)
        if number is None:
            return None
        lines = (self._folder / f"{number:09d}").read_bytes().splitlines()
        request = next(request for request in map(decoded, lines) if request.index == index)
        self.done(index)
        return request

    def left(self) -> list[Request]:
        """The prompts that are not done, in the order in which they were spooled."""
        requests: Iterable[Request] = (
            decoded(line)
            for number in sorted(self._left_of)
            for line in (self._folder / f"{number:09d}").read_bytes().splitlines()
        )
        return [request for request in requests if request.index in self._chunk_of]

    def close(self) -> None:
        os.close(self._ends)


@dataclass(frozen=True, slots=True)
class _Chunk:
    number: int
    begin: int
    end: int


class SpoolReader:
    """On a rank: the prompts by their places, which it asks for in ascending order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ends = os.open(folder / "ends", os.O_RDONLY | os.O_CLOEXEC)
        self._read_bytes = 0
        self._chunks: deque[_Chunk] = deque()
        self._lines: dict[int, list[bytes]] = {}
        self._known = 0
        self._number = 0
        self._is_ended = False

    def first(self, most: int) -> list[Request]:
        """Prompts at the beginning, as many as are there."""
        self._look()
        return self.at(range(min(most, self._known))) or []

    def at(self, places: range) -> list[Request] | None:
        """The prompts at these places; fewer, or none, where the spool ends before; None: not there yet."""
        if places.stop > self._known and not self._is_ended:
            self._look()
        if places.stop > self._known and not self._is_ended:
            return None
        while self._chunks and self._chunks[0].end <= places.start:
            self._lines.pop(self._chunks.popleft().number, None)
        return [self._request(place) for place in places if place < self._known]

    def _request(self, place: int) -> Request:
        chunk = next(chunk for chunk in self._chunks if place < chunk.end)
        if chunk.number not in self._lines:
            # Lines of bytes: only those that are drawn here become prompts. JSON has no line break within a line.
            self._lines[chunk.number] = (self._folder / f"{chunk.number:09d}").read_bytes().split(b"\n")
        return decoded(self._lines[chunk.number][place - chunk.begin])

    def _look(self) -> None:
        """See what was written since."""
        while len(data := os.pread(self._ends, _PLACE.size, self._read_bytes)) == _PLACE.size:
            self._read_bytes += _PLACE.size
            (end,) = _PLACE.unpack(data)
            if end == THE_END:
                self._is_ended = True
                return
            self._chunks.append(_Chunk(self._number, self._known, end))
            self._known = end
            self._number += 1

    def close(self) -> None:
        os.close(self._ends)


class TakenLog:
    """What a rank has taken, so that after its death it is known what was under way."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def add(self, requests: Sequence[Request]) -> None:
        """These are taken."""
        write_whole(self._descriptor, b"".join(_PLACE.pack(request.index) for request in requests))

    def close(self) -> None:
        os.close(self._descriptor)


def taken_log(folder: Path, rank: int) -> Path:
    """Where a rank says what it has taken."""
    return folder / f"taken-{rank}"


def read_taken(path: Path) -> Iterable[int]:
    """The indices of the prompts that a rank has taken."""
    try:
        with path.open("rb") as file:
            while len(data := file.read(_PLACE.size)) == _PLACE.size:
                yield _PLACE.unpack(data)[0]
    except FileNotFoundError:
        return
