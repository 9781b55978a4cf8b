"""Prompts as a stream: the prompts of a file of any size, one after the other, in little memory.

What of the file they are is decided on its first rows. A row that cannot be read stands in
the stream as what is wrong with it: who is at it all night need not end with one.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from nbkit.errors import InputError
from nbkit.prompts.files.choice import USUAL_COLUMN, Choice, choose_column, describe_column
from nbkit.prompts.files.endings import CHUNK_BYTES, GZ, prompt_ending
from nbkit.prompts.files.forms import REQUEST_BODIES, REQUEST_ID, SYSTEM_KEYS, Taken
from nbkit.prompts.files.json_values import Entries, Entry, parse_line
from nbkit.prompts.files.parquet_tables import ParquetTable
from nbkit.prompts.files.prompt_file import COLUMN, KEY, parse_prompt_file, prompts_of_entry, prompts_of_row
from nbkit.prompts.files.sentences import in_words, in_words_without_key
from nbkit.prompts.files.text_tables import USUAL_SEPARATORS, stream_text_table
from nbkit.records.request import Conversation

SAMPLED_ROWS = 1000
"""Of which it is decided what the prompts are."""
LONGEST_LINE_BYTES = 2**26
MOST_WHOLE_BYTES = 64 * 10**6
"""Of a file that can only be read as a whole."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In the place of a prompt: why there is none."""

    why: str


Streamed = str | Conversation | Unreadable


@dataclass(frozen=True, slots=True)
class RequestOrigin:
    """Of which batch request a prompt is: its ``custom_id``, its ``url`` if it has one, and which of its prompts."""

    custom_id: str
    url: str | None
    choice: int


Asked = tuple[Streamed, RequestOrigin | None]


class PromptStream:
    """The prompts of a file; iterates over them, each time from the first.

    Attributes
    ----------
    column : str or None
        The column, or key, that was taken; None where there is none.
    taken : str
        What of the file the prompts are, as far as its first rows tell.
    unused : Counter
        Of lines of JSON, in the latest pass over them: what stood beside the prompts of a line or in its batch
        request, such as ``max_tokens``, and was not used; in how many lines.
    """

    def __init__(
        self,
        column: str | None,
        taken: str,
        read: Callable[[_Position], Iterator[Streamed | Asked]],
        size_bytes: int,
    ) -> None:
        self.column = column
        self.taken = taken
        self._read = read
        self._position = _Position(size_bytes)

    def __iter__(self) -> Iterator[Streamed]:
        return (prompt for prompt, _ in self.with_origins())

    def with_origins(self) -> Iterator[Asked]:
        """The prompts, each with the batch request that it is of, where the file is lines of such."""
        self._position.share, self._position.reader = 0.0, None
        self.unused.clear()
        return (each if isinstance(each, tuple) else (each, None) for each in self._read(self._position))

    @property
    def unused(self) -> Counter[str]:
        return self._position.unused

    @property
    def share_read(self) -> float:
        """How much of the file has been read in the latest pass over it, 0 to 1."""
        return self._position.look()


@dataclass
class _Position:
    """How far a file is read: by its reader, while it is open; by its rows, where they are counted."""

    size_bytes: int
    share: float = 0.0
    reader: BinaryIO | None = None
    unused: Counter[str] = field(default_factory=Counter)

    def look(self) -> float:
        if self.reader is not None and not self.reader.closed and self.size_bytes:
            self.share = min(1.0, self.reader.tell() / self.size_bytes)
        return self.share


def stream_prompts(path: str | Path, column: str | None = None) -> PromptStream:
    """The prompts of a file, chosen as ``read_prompts`` chooses, but on the first rows; read as they are asked for.

    ``.json``, and ``.parquet`` that is packed, are read as a whole, up to ``MOST_WHOLE_BYTES``.

    Raises
    ------
    InputError
        As ``read_prompts`` where the first rows show it, or the file is too large to be read as a whole.
    """
    path, name = Path(path), str(path)
    ending = prompt_ending(name)
    is_packed = path.suffix.lower() == GZ
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except OSError as error:
        raise InputError(f"cannot read the prompts in {name}: {error.strerror or error}.") from None
    if ending == ".json" or (ending == ".parquet" and is_packed):
        return _whole(path, name, column, size)
    if ending == ".txt":
        return _text(path, name, column, size)
    if ending in USUAL_SEPARATORS:
        return _table(path, name, ending, column, size)
    if ending == ".parquet":
        return _parquet(path, name, column, size)
    return _json_lines(path, name, column, size)


def _whole(path: Path, name: str, column: str | None, size: int) -> PromptStream:
    if size > MOST_WHOLE_BYTES:
        raise InputError(
            f"{name} is {size / 1e6:,.0f} MB, and a file of its kind is read as a whole, up to "
            f"{MOST_WHOLE_BYTES / 1e6:.0f} MB: write a value a line (jq -c '.[]' makes such a .jsonl of a list), or "
            "unpack a .parquet.gz."
        )
    found = parse_prompt_file(name, path.read_bytes(), column)

    def read(position: _Position) -> Iterator[Streamed]:
        for number, prompt in enumerate(found.prompts, 1):
            position.share = number / len(found.prompts)
            yield prompt

    return PromptStream(column, found.taken, read, size)


def _text(path: Path, name: str, column: str | None, size: int) -> PromptStream:
    if column is not None:
        raise InputError(f"{name} is text without columns; do not choose a column of it ({column!r}).")

    def read(position: _Position) -> Iterator[Streamed]:
        for _, line in _lines(path, name, position):
            yield line

    return PromptStream(None, "each line", read, size)


def _json_lines(path: Path, name: str, column: str | None, size: int) -> PromptStream:
    def entries(position: _Position) -> Iterator[Entry | Unreadable]:
        for number, line in _lines(path, name, position):
            if isinstance(line, Unreadable):
                yield line
                continue
            try:
                yield parse_line(name, number, line)
            except InputError as error:
                yield Unreadable(str(error))

    sample = list(itertools.islice(entries(_Position(size)), SAMPLED_ROWS))
    readable = [entry for entry in sample if isinstance(entry, Entry)]
    if sample and not readable:
        raise InputError(next(entry.why for entry in sample if isinstance(entry, Unreadable)))
    columns = Entries(readable).columns()
    choice = Choice(column or USUAL_COLUMN, is_plain=True)
    if columns:
        choice = choose_column(name, KEY, columns, column)

    def read(position: _Position) -> Iterator[Streamed | Asked]:
        for entry in entries(position):
            if isinstance(entry, Unreadable):
                yield entry
                continue
            taken = Taken()
            found = list(_each(prompts_of_entry, name, entry, choice.name, taken, taken))
            position.unused.update(list(taken.unused))
            yield from zip(found, _origins(entry.value, choice.name, len(found)), strict=True)

    taken, strings = Taken(), Taken()
    for entry in readable:
        list(_each(prompts_of_entry, name, entry, choice.name, taken, strings))
    said = [in_words_without_key(strings)] if strings.forms else []
    said += [in_words(KEY, choice, taken)] if taken.forms else []
    return PromptStream(choice.name if columns else None, " and ".join(said), read, size)


def _table(path: Path, name: str, ending: str, column: str | None, size: int) -> PromptStream:
    head = _head(path, name)

    with _open_text(path) as text:
        _, header, rows = stream_text_table(name, ending, head, text)
        sample = [cells for _, cells in itertools.islice(rows, SAMPLED_ROWS) if isinstance(cells, list)]
    columns = [
        describe_column(each, (cells[number] for cells in sample), header) for number, each in enumerate(header)
    ]
    choice = choose_column(name, COLUMN, columns, column)
    at = {key: header.index(key) for key in (choice.name, *SYSTEM_KEYS) if key in header}

    def read(position: _Position) -> Iterator[Streamed]:
        with _open_text(path, position) as text:
            for line, cells in _unpacked(name, stream_text_table(name, ending, head, text)[2]):
                if isinstance(cells, InputError):
                    yield Unreadable(str(cells))
                    continue
                row = {key: cells[number] for key, number in at.items()}
                yield from _each(prompts_of_row, name, f"line {line}", choice.name, row, Taken())

    rows_taken = Taken()
    for cells in sample:
        row = {key: cells[number] for key, number in at.items()}
        list(_each(prompts_of_row, name, "", choice.name, row, rows_taken))
    return PromptStream(choice.name, in_words(COLUMN, choice, rows_taken), read, size)


def _parquet(path: Path, name: str, column: str | None, size: int) -> PromptStream:
    table = ParquetTable(name, path)
    choice = choose_column(name, COLUMN, table.columns(), column)
    keys = [choice.name, *(key for key in SYSTEM_KEYS if key in table.names and key != choice.name)]

    def read(position: _Position) -> Iterator[Streamed]:
        again = ParquetTable(name, path)
        for number, row in enumerate(again.stream(keys), 1):
            position.share = number / again.count
            yield from _each(prompts_of_row, name, f"row {number}", choice.name, row, Taken())

    return PromptStream(choice.name, in_words(COLUMN, choice, Taken()), read, size)


def _each(read: Callable[..., Iterable[str | Conversation]], *of: Any) -> Iterator[Streamed]:
    """The prompts of a row, or why there are none."""
    try:
        yield from list(read(*of))
    except InputError as error:
        yield Unreadable(str(error))
    except RecursionError:
        yield Unreadable("a value holds lists within lists, too deep to read.")


def _origins(value: Any, key: str, count: int) -> list[RequestOrigin | None]:
    """Of which request the prompts of a line are."""
    if key not in REQUEST_BODIES or not isinstance(value, dict) or not isinstance(value.get(REQUEST_ID), str):
        return [None] * count
    url, asked = value.get("url"), value[key].get("prompt") if isinstance(value.get(key), dict) else None
    # Blank ones are left out.
    choices = [n for n, one in enumerate(asked) if str(one).strip()] if isinstance(asked, list) else []
    if len(choices) != count:
        choices = list(range(count))
    return [RequestOrigin(value[REQUEST_ID], url if isinstance(url, str) else None, choice) for choice in choices]


def _lines(path: Path, name: str, position: _Position) -> Iterator[tuple[int, str | Unreadable]]:
    """The lines that are not blank, each with its number from 1."""
    with _open(path, position) as file:
        for number in itertools.count(1):
            line = _next_line(name, number, file)
            if not line:
                return
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\n").rstrip("\r")
            except UnicodeDecodeError as error:
                yield number, Unreadable(f"{name}, line {number} is not UTF-8 text (byte {error.start} of it).")
                continue
            if text.strip():
                yield number, text


def _next_line(name: str, number: int, file: BinaryIO) -> bytes:
    try:
        line = file.readline(LONGEST_LINE_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(name, error) from None
    if len(line) == LONGEST_LINE_BYTES:
        raise InputError(f"{name}, line {number} is longer than {LONGEST_LINE_BYTES / 1e6:.0f} MB: no prompt is.")
    return line


def _unpacked(name: str, rows: Iterator[Any]) -> Iterator[Any]:
    """Rows, or which file cannot be unpacked."""
    try:
        yield from rows
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(name, error) from None


def _unreadable(name: str, error: Exception) -> InputError:
    return InputError(f"{name} cannot be read to its end: {str(error).rstrip('.')}.")


@contextlib.contextmanager
def _open(path: Path, position: _Position | None = None) -> Iterator[BinaryIO]:
    """The bytes of a file, those of a ``.gz`` unpacked; its position is told as it is read."""
    with path.open("rb", buffering=CHUNK_BYTES) as buffered:
        if position is not None:
            position.reader = buffered
        if path.suffix.lower() != GZ:
            yield buffered
        else:
            with gzip.GzipFile(fileobj=buffered) as unpacked:
                yield cast(BinaryIO, unpacked)
        if position is not None:
            position.share, position.reader = 1.0, None


@contextlib.contextmanager
def _open_text(path: Path, position: _Position | None = None) -> Iterator[TextIO]:
    """The text of a file; what is no UTF-8 is seen in its cell, and is no end of the file."""
    with (
        _open(path, position) as file,
        io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as text,
    ):
        yield text


def _head(path: Path, name: str) -> str:
    """The first lines of a table: as many as tell its separator."""
    try:
        with _open(path) as file:
            head = file.read(CHUNK_BYTES)
            if len(head) == CHUNK_BYTES:
                head += file.readline(LONGEST_LINE_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(name, error) from None
    return head.decode("utf-8-sig", errors="surrogateescape")
