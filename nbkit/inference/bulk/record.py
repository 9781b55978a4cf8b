"""Bulk: what a folder holds of a night's work, read from any process, while it runs and afterwards."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from nbkit.errors import InputError, shorten
from nbkit.files.atomic_write import check_writable
from nbkit.inference.bulk.account import count_parts
from nbkit.inference.bulk.folder import BulkFolder
from nbkit.inference.bulk.history import History, read_history
from nbkit.inference.bulk.latest import last_lines, latest_failures, latest_outputs
from nbkit.inference.bulk.lines import COLUMNS, head_of, row_of
from nbkit.inference.bulk.openai_batch import openai_lines, repeated_ids
from nbkit.inference.bulk.status import BulkStatus, read_status
from nbkit.records.bulk_manifest import Manifest
from nbkit.records.export import without_formula
from nbkit.records.settings import Settings

if TYPE_CHECKING:
    import pandas

ROWS = 10_000
"""Of a table, unless more or fewer are asked for."""
FORMS = ("rows", "openai")
EXPORT_ENDINGS = (".jsonl", ".csv", ".parquet")


class Bulk:
    """A bulk, by its folder. Nothing of its outputs is in memory: they are read as they are asked for.

    Iterating gives a dict a prompt: ``index``, ``prompt``, ``output``, ``prompt_tokens``, ``new_tokens``,
    ``finish_reason`` and ``error``; of a prompt that failed the output is None, of another the error. They
    come in the prompts' order, once each; of a bulk that is not finished, in the order in which they finished.
    """

    def __init__(self, folder: BulkFolder, manifest: Manifest) -> None:
        self._folder = folder
        self._manifest = manifest

    @classmethod
    def open(cls, folder: str | Path) -> Bulk:
        """The bulk in a folder, whether it runs, was stopped or is finished.

        Raises
        ------
        InputError
            The folder holds none.
        """
        there = BulkFolder(folder)
        return cls(there, Manifest.load(there.manifest))

    def __repr__(self) -> str:
        status = self.status()
        of = f" of {status.total:,}" if status.total is not None else ""
        return f"<Bulk in {self.folder}: {status.finished:,}{of} finished, {status.failed:,} failed>"

    @property
    def folder(self) -> Path:
        """Where it is."""
        return self._folder.path

    @property
    def settings(self) -> Settings:
        """What was asked for at its beginning."""
        return self._manifest.settings

    @property
    def source(self) -> dict[str, Any]:
        """What its prompts are from; of a file its path, size and column, and its SHA-256 once that is known."""
        return Manifest.load(self._folder.manifest).source

    def status(self) -> BulkStatus:
        """How far it is now."""
        status, is_running = read_status(self._folder.status), self._folder.is_held
        if status.is_running and not is_running and not self._folder.outputs.exists():
            # Its owner was killed, and more may be done than it has told.
            counted = count_parts(self._folder)
            status = replace(status, finished=counted.finished, failed=counted.failed)
        if not is_running:
            status = replace(status, tokens_per_second=0.0, seconds_left=None)
        return replace(status, is_running=is_running, is_complete=self._folder.outputs.exists())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(row_of, self._lines())

    def failures(self) -> Iterator[dict[str, Any]]:
        """The prompts that failed."""
        return (row for row in self if row["error"] is not None)

    def latest(self, count: int = 5) -> list[dict[str, Any]]:
        """The rows of the outputs that were written last, the newest first; only the ends of files are read.

        Which of two ranks was the later one is not known. Of a finished bulk they are the last in the prompts' order.
        """
        return latest_outputs(self._folder, count)

    def latest_failures(self, count: int = 5) -> list[dict[str, Any]]:
        """The prompts that failed last, the newest first: ``index``, ``prompt`` and ``error``, long texts cut."""
        return latest_failures(self._folder, count)

    def log_lines(self, count: int = 10) -> list[str]:
        """The last lines of the log: what went wrong, and when, the newest last."""
        return [line.decode(errors="replace").rstrip() for line in last_lines(self._folder.log, count)]

    def history(self) -> History:
        """How it went, over all processes that were at it."""
        return read_history(self._folder.history)

    def to_table(self, rows: int = ROWS) -> Iterator[pandas.DataFrame]:
        """Pandas tables of up to so many prompts, one after the other."""
        import pandas

        for some in _in_pieces(iter(self), rows):
            yield pandas.DataFrame(some, columns=list(COLUMNS))

    def export(self, path: str | Path, form: Literal["rows", "openai"] = "rows") -> Path:
        """Write all outputs as ``.jsonl``, ``.csv`` or ``.parquet``, as the path's ending asks, and return the path.

        With ``form="openai"`` a finished bulk is written as an output file of OpenAI's Batch API, a ``.jsonl``
        with a line a request in the source's order: ``id``, ``custom_id``, ``response`` and ``error``. The body is a
        ``chat.completion`` or a ``text_completion``, as the request's ``url`` says, else as its prompt is messages or
        text. ``custom_id`` is the request's where the source is lines of batch requests, else ``prompt-0`` and so
        on by index. ``model`` is the one that answered, whatever the request named; ``created`` is the bulk's begin;
        ``completion_tokens`` count the end of sequence. What failed has status 400 and its error in the body, or 500
        where ranks were lost by it, and ``error`` is null, as the service has it. Requests with nothing but blank
        text were skipped by the reading and have no line.

        In ``.csv`` a text that a spreadsheet would take for a formula gets a single quote before it, as in
        ``nbkit.records.export.export_csv``; prompts that are messages are JSON in ``.csv`` and ``.parquet``.

        Raises
        ------
        InputError
            Another ending or form, the file cannot be written, pyarrow is not installed, or, for OpenAI's form, the
            bulk is not finished.
        """
        if form not in FORMS:
            raise InputError(f"form must be one of {', '.join(FORMS)}, not {shorten(form)}.")
        write = {".jsonl": self._write_jsonl, ".csv": self._write_csv, ".parquet": self._write_parquet}
        if form == "openai":
            write = {".jsonl": self._write_openai}
        path = Path(path)
        if form == "openai" and path.suffix not in write:
            raise InputError(f"OpenAI's form is .jsonl, not {shorten(path.suffix)}.")
        if form == "openai" and not self._folder.outputs.exists():
            raise InputError(f"the bulk in {self.folder} is not finished: go on with it, and export it then.")
        if path.suffix not in write:
            raise InputError(f"outputs are exported as {', '.join(EXPORT_ENDINGS)}, not as {shorten(path.suffix)}.")
        check_writable(path)
        partial = path.with_name(f".{path.name}.partial")
        try:
            write[path.suffix](partial)
            partial.replace(path)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror or error}.") from None
        finally:
            partial.unlink(missing_ok=True)
        return path

    def _lines(self) -> Iterator[bytes]:
        if self._folder.outputs.exists():
            with self._folder.outputs.open("rb") as file:
                yield from file
            return
        seen = bytearray()
        for path in self._folder.part_files():
            with path.open("rb") as file:
                # The last line of a part may be one that is being written.
                for line in itertools.takewhile(lambda line: head_of(line) is not None, file):
                    head = head_of(line)
                    assert head is not None
                    if head.index >= len(seen):
                        seen.extend(bytes(head.index + 1))
                    if not seen[head.index]:
                        seen[head.index] = 1
                        yield line

    def _write_jsonl(self, path: Path) -> None:
        with path.open("wb") as file:
            file.writelines(self._lines())

    def _write_openai(self, path: Path) -> None:
        if repeated := repeated_ids(self._folder.requests):
            print(repeated)
        with path.open("wb") as file:
            file.writelines(openai_lines(self, self._folder.requests, self._manifest))

    def _write_csv(self, path: Path) -> None:
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            write = _csv_writer(file)
            for row in self:
                write([without_formula(value) for value in _flat(row).values()])

    def _write_parquet(self, path: Path) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            raise InputError("pyarrow is not installed; run: python -m pip install pyarrow") from None
        texts, numbers = pyarrow.string(), pyarrow.int64()
        kinds = {"index": numbers, "prompt_tokens": numbers, "new_tokens": numbers}
        schema = pyarrow.schema([(column, kinds.get(column, texts)) for column in COLUMNS])
        with parquet.ParquetWriter(path, schema) as writer:
            for some in _in_pieces(map(_flat, self), ROWS):
                writer.write_table(pyarrow.Table.from_pylist(some, schema=schema))


def _csv_writer(file: TextIO) -> Callable[[list[Any]], Any]:
    # Every text in quotes: where a spreadsheet separates by semicolons, one in a text would begin a cell.
    writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(COLUMNS)
    return writer.writerow


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row without lists."""
    prompt = row["prompt"]
    return row if isinstance(prompt, str | None) else {**row, "prompt": json.dumps(prompt, ensure_ascii=False)}


def _in_pieces(rows: Iterator[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    while some := list(itertools.islice(rows, size)):
        yield some
