"""Latest: what a bulk has come to last, read from the ends of its files in little time whatever their size."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any

from nbkit.inference.bulk.folder import BulkFolder
from nbkit.inference.bulk.lines import head_of, row_of

BLOCK_BYTES = 2**16
MOST_BYTES = 2**20
"""Of one file: a line that begins farther from its end is not looked for."""
MOST_CHARACTERS = 500
"""Of a text among the failures; the part, or ``outputs.jsonl``, has it whole."""


def last_lines(path: Path, count: int) -> list[bytes]:
    """The last whole lines of a file, up to so many, the newest last; none where there is no file."""
    data = b""
    try:
        with path.open("rb") as file:
            begin = end = file.seek(0, os.SEEK_END)
            while begin and end - begin < MOST_BYTES and data.count(b"\n") <= count:
                begin = max(0, begin - BLOCK_BYTES)
                file.seek(begin)
                data = file.read(end - begin)
    except OSError:
        return []
    whole = data.split(b"\n")[1 if begin else 0 : -1]
    return [line + b"\n" for line in whole[-count:]]


def latest_outputs(folder: BulkFolder, count: int) -> list[dict[str, Any]]:
    """The rows of the outputs that were written last, the newest first.

    Which of two ranks was the later one is not known; they take turns. Of a finished bulk they are
    the last in the prompts' order.
    """
    files = [folder.outputs] if folder.outputs.exists() else _newest_first(folder.part_files())[:count]
    of_each = [[line for line in reversed(last_lines(file, count)) if _is_output(line)] for file in files]
    in_turns = itertools.chain.from_iterable(itertools.zip_longest(*of_each))
    return [row_of(line) for line in itertools.islice((line for line in in_turns if line), count)]


def _is_output(line: bytes) -> bool:
    head = head_of(line)
    return head is not None and head.new_tokens is not None


def _newest_first(files: list[Path]) -> list[Path]:
    def written(file: Path) -> float:
        try:
            return file.stat().st_mtime
        except OSError:  # the bulk has just been finished
            return 0.0

    return sorted(files, key=written, reverse=True)


class Failures:
    """A file of the prompts that failed, as they did, their texts cut: no part has to be searched for them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Written anew by each process from what the parts hold.
        path.unlink(missing_ok=True)

    def add(self, line: bytes) -> None:
        """This is the line of a prompt that failed; raises OSError."""
        row = row_of(line)
        kept = {"index": row["index"], "prompt": _cut(_as_text(row["prompt"])), "error": _cut(row["error"])}
        with self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(json.dumps(kept) + "\n")

    def add_from(self, part: Path, offset: int) -> None:
        """The line begins there in a part; raises OSError."""
        with part.open("rb") as file:
            file.seek(offset)
            self.add(file.readline())


def latest_failures(folder: BulkFolder, count: int) -> list[dict[str, Any]]:
    """The prompts that failed last, the newest first: ``index``, ``prompt`` and ``error``, long texts cut."""
    return [json.loads(line) for line in reversed(last_lines(folder.failures, count))]


def _as_text(prompt: Any) -> str | None:
    if isinstance(prompt, list):
        return "\n".join(f"{message['role']}: {message['content']}" for message in prompt)
    return prompt if isinstance(prompt, str | None) else str(prompt)


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} ..."
