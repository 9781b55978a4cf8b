"""Source: the prompts of a bulk, read as they are needed, in windows that are the same each time."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Sized
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Protocol

from nbkit.errors import InputError, shorten
from nbkit.inference.bulk.lines import as_json
from nbkit.prompts.files.streamed import PromptStream, RequestOrigin, Unreadable, stream_prompts
from nbkit.records.request import Conversation, PromptLike, check_prompt

WINDOW = 1024
"""Prompts, at most, that are ordered by length among themselves."""
WINDOW_CHARACTERS = 8_000_000
WINDOW_S = 1.0
"""A window ends after so many seconds, where prompts come slowly."""
HASHED_BYTES = 2**20

Item = str | Conversation | Unreadable
Items = Generator[tuple[Item, RequestOrigin | None], None, None]


class Source(Protocol):
    """Where prompts come from."""

    def items(self) -> Items:
        """The prompts, from the first on, each checked, and the batch requests that they are of.

        What is wrong with a prompt stands in its place.
        """
        ...

    def share_read(self) -> float | None:
        """How much of it has been read, 0 to 1; None if that cannot be told."""
        ...

    def describe(self) -> dict[str, Any]:
        """What it is, for the manifest."""
        ...


class FileSource:
    """The prompts of a file."""

    def __init__(self, path: str | Path, column: str | None) -> None:
        self.path = Path(path).absolute()
        self.stream: PromptStream = stream_prompts(path, column)

    def items(self) -> Items:
        return _checked(self.stream.with_origins())

    def share_read(self) -> float | None:
        return self.stream.share_read

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "file",
            "path": str(self.path),
            "bytes": os.stat(self.path).st_size,
            "column": self.stream.column,
            "taken": self.stream.taken,
        }


class GivenSource:
    """Prompts that were given as a list, or as anything to iterate over, once."""

    def __init__(self, prompts: Iterable[PromptLike]) -> None:
        self._prompts = prompts
        self._count = len(prompts) if isinstance(prompts, Sized) else None
        self._read = 0

    def items(self) -> Items:
        for item in _checked((prompt, None) for prompt in self._prompts):
            self._read += 1
            yield item

    def share_read(self) -> float | None:
        return None if self._count is None else self._read / max(1, self._count)

    def describe(self) -> dict[str, Any]:
        return {"kind": "given", "prompts": self._count}


def source_of(source: str | Path | Iterable[PromptLike], column: str | None) -> Source:
    """A path of a file, or prompts.

    Raises
    ------
    InputError
        The file cannot be read, or what was given is neither.
    """
    if isinstance(source, str | Path):
        return FileSource(source, column)
    if column is not None:
        raise InputError(
            f"column={shorten(column)} is for files; these prompts were given as {type(source).__name__}."
        )
    if isinstance(source, Conversation) or not isinstance(source, Iterable):
        raise InputError(f"the prompts of a bulk are a file's path or a list of them, not {type(source).__name__}.")
    return GivenSource(source)


def _checked(prompts: Iterable[tuple[Any, RequestOrigin | None]]) -> Items:
    for index, (prompt, origin) in enumerate(prompts):
        if isinstance(prompt, Unreadable):
            yield prompt, origin
            continue
        try:
            yield check_prompt(index, prompt), origin
        except InputError as error:
            yield Unreadable(str(error)), origin


@dataclass(frozen=True, slots=True)
class Window:
    """Prompts that follow each other, the first of which has the index ``begin``."""

    begin: int
    items: list[Item]
    origins: list[RequestOrigin | None]

    @property
    def digest(self) -> str:
        """Of their texts, so that it is seen whether they are the same another time."""
        digest = hashlib.blake2b(digest_size=16)
        for item in self.items:
            value = [item.why] if isinstance(item, Unreadable) else as_json(item)
            digest.update(json.dumps(value).encode() + b"\n")
        return digest.hexdigest()


class Windows:
    """The windows of a source; those that were read before have to be what they were.

    What was read is written into ``file``, a line a window, before any of its prompts is used. Of prompts of batch
    requests these are written into ``requests``, a line a prompt, anew each time.
    """

    def __init__(self, source: Source, file: Path, requests: Path) -> None:
        self._items = source.items()
        self._file = file
        self._requests = requests
        requests.unlink(missing_ok=True)
        self._recorded = _recorded(file)
        self.total: int | None = None
        """How many prompts there are, once all are read."""
        self.read = 0
        """How many prompts are read."""

    def __iter__(self) -> Iterator[Window]:
        for count, digest in self._recorded:
            again = self._again(count, digest)
            self._keep_origins(again)
            yield again
        while window := self._next():
            self._keep_origins(window)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps([len(window.items), window.digest]) + "\n")
            yield window
        self.total = self.read

    def close(self) -> None:
        """Close what is read from; there are no more windows then."""
        self._recorded.close()
        self._items.close()

    def _keep_origins(self, window: Window) -> None:
        is_begun = self._requests.exists()
        if not is_begun and not any(window.origins):
            return
        before = 0 if is_begun else window.begin
        with self._requests.open("a", encoding="utf-8") as file:
            file.writelines("null\n" for _ in range(before))
            file.writelines(json.dumps(origin and astuple(origin)) + "\n" for origin in window.origins)

    def _again(self, count: int, digest: str) -> Window:
        read = list(itertools.islice(self._items, count))
        window = Window(self.read, [item for item, _ in read], [origin for _, origin in read])
        if len(window.items) < count:
            raise InputError(
                f"the source has {self.read + len(window.items):,} prompts now, and had {self.read + count:,} or "
                "more when this bulk began: give it the same source, or another folder."
            )
        self.read += count
        if window.digest != digest:
            raise InputError(
                f"among the prompts {window.begin:,} to {self.read - 1:,} of the source are others than when this "
                "bulk began: give it the same source, or another folder."
            )
        return window

    def _next(self) -> Window | None:
        items: list[Item] = []
        origins: list[RequestOrigin | None] = []
        characters, ends_s = 0, time.monotonic() + WINDOW_S
        for item, origin in self._items:
            items.append(item)
            origins.append(origin)
            characters += 0 if isinstance(item, Unreadable) else len(str(item))
            if len(items) >= WINDOW or characters >= WINDOW_CHARACTERS or time.monotonic() > ends_s:
                break
        if not items:
            return None
        window = Window(self.read, items, origins)
        self.read += len(items)
        return window


def _recorded(file: Path) -> Generator[tuple[int, str], None, None]:
    """What was read before; a torn last line is cut off."""
    try:
        with file.open("r+b") as recorded:
            whole = 0
            for line in recorded:
                if not line.endswith(b"]\n"):
                    recorded.truncate(whole)
                    return
                whole += len(line)
                count, digest = json.loads(line)
                yield count, digest
    except FileNotFoundError:
        return


class Hashing(threading.Thread):
    """The SHA-256 of a file, computed beside everything else; None until it is there, and where it cannot be."""

    def __init__(self, path: Path) -> None:
        super().__init__(name="nbkit-bulk-hash", daemon=True)
        self._path = path
        self._stopped = threading.Event()
        self.found: str | None = None

    def run(self) -> None:
        digest = hashlib.sha256()
        try:
            with self._path.open("rb", buffering=0) as file:
                while data := file.read(HASHED_BYTES):
                    if self._stopped.is_set():
                        return
                    digest.update(data)
        except OSError:
            return
        self.found = digest.hexdigest()

    def stop(self) -> None:
        """Leave it."""
        self._stopped.set()
