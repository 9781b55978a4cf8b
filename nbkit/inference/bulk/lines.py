"""Output lines: one JSON object a prompt, and what a crash may leave of the last of them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from nbkit.records import Output
from nbkit.records.request import Conversation, Request

COLUMNS = ("index", "prompt", "output", "prompt_tokens", "new_tokens", "finish_reason", "error")
_HEAD = re.compile(rb'\{"index": (\d+), (?:"new_tokens": (\d+)|"error": )')


@dataclass(frozen=True, slots=True)
class Head:
    """What the beginning of a line tells; ``new_tokens`` is None of a prompt that failed."""

    index: int
    new_tokens: int | None


def output_line(request: Request, output: Output) -> bytes:
    """The line of a finished prompt. ``index`` and ``new_tokens`` come first: they can be read without the rest."""
    return _line(
        index=request.index,
        new_tokens=output.new_tokens,
        prompt_tokens=output.prompt_tokens,
        finish_reason=output.finish_reason,
        output=output.text,
        prompt=as_json(request.prompt),
    )


def failed_line(index: int, prompt: str | Conversation | None, why: str) -> bytes:
    """The line of a prompt that has no output, and why."""
    return _line(index=index, error=why, prompt=as_json(prompt))


def as_json(prompt: str | Conversation | None) -> Any:
    """A prompt as JSON has it."""
    return prompt.to_list() if isinstance(prompt, Conversation) else prompt


def row_of(line: bytes) -> dict[str, Any]:
    """A line as a row of all columns."""
    found = json.loads(line)
    return {column: found.get(column) for column in COLUMNS}


def head_of(line: bytes) -> Head | None:
    """What a whole line tells; None if it is none."""
    found = _HEAD.match(line)
    # JSON writes no null bytes; a file system that lost its power may.
    if found is None or not line.endswith(b"}\n") or b"\0" in line:
        return None
    return Head(int(found[1]), None if found[2] is None else int(found[2]))


def heads(file: BinaryIO) -> Iterator[tuple[int, Head]]:
    """The lines from where a file stands, each with the offset at which it begins, up to the first that is not whole.

    The file then stands at that one's beginning.
    """
    offset = file.tell()
    while (head := head_of(line := file.readline())) is not None:
        yield offset, head
        offset += len(line)
    file.seek(offset)


def cut_torn_end(path: Path) -> int:
    """Cut off what is no whole line at the end of a part; how many bytes that were."""
    with path.open("r+b") as file:
        for _ in heads(file):
            pass
        whole, size = file.tell(), os.fstat(file.fileno()).st_size
        if whole < size:
            file.truncate(whole)
            os.fsync(file.fileno())
        return size - whole


def write_whole(descriptor: int, data: bytes) -> None:
    """Write all of it; raises OSError where there is no room, and then a part of it may be there."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _line(**values: Any) -> bytes:
    return (json.dumps(values, ensure_ascii=False) + "\n").encode("utf-8", errors="backslashreplace")
