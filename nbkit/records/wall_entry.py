"""Wall entry: what a learner shows the room of the own runs: a name and the best of them, no prompt and no output.

Whoever can write on a wall can write anything: what is read is checked, value by value, before it is shown.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import time
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from nbkit.errors import InputError, shorten
from nbkit.records.run import Run
from nbkit.records.stored import Damaged, record_of

WALL_VERSION = 1
LONGEST_NAME = 24
"""Characters of a learner's name."""
LONGEST_WORD = 80
"""Characters of a model's name, an engine's or a device's."""
MOST_RUNS = 60
"""Runs in one entry: the best of each kind; of more kinds, the newest."""
MOST_BYTES = 32_000
"""An entry's JSON is never longer: of runs that would make it so, the oldest are left out. A run has about 190."""
MOST_TOKENS_PER_SECOND = 10_000_000.0
MOST_SIZE = 100_000
"""No batch size and no number of ranks on a wall is larger, and no count of prompts or tokens than 1,000 times it."""
MOST_COUNTED = 10_000_000
MOST_MARKS = 2
"""Marks above and below a letter, in a row: with more of them a name reaches into other lines."""
_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class WallRun:
    """One finished run: what was asked for, and the tokens per second that users get. ``at_s`` is since 1970, UTC."""

    model: str
    engine: str
    dtype: str
    device: str
    ranks: int
    batch_size: int
    prompts: int
    new_tokens: int
    tokens_per_second: float
    at_s: float

    @property
    def kind(self) -> tuple[object, ...]:
        """Of the runs of one kind, only the best is kept."""
        return (self.model, self.engine, self.dtype, self.device, self.ranks, self.batch_size)

    @classmethod
    def of(cls, run: Run) -> WallRun | None:
        """What a wall shows of a Run; None if nothing is known of its speed."""
        speed = run.tokens_per_second
        if not (math.isfinite(speed) and speed > 0 and run.batch_size):
            return None
        device = run.ranks[0].device.partition(":")[0] if run.ranks else "unknown"
        return cls(
            model=_public_model(run.settings.model),
            engine=_word(run.engine),
            dtype=_word(run.dtype),
            device=_word(device),
            ranks=run.world_size,
            batch_size=run.batch_size,
            prompts=run.finished_prompts,
            new_tokens=run.total_new_tokens,
            tokens_per_second=round(speed, 2),
            at_s=round(time.time(), 1),
        )


@dataclass(frozen=True, slots=True)
class WallEntry:
    """What one learner's kernel has on the wall.

    Attributes
    ----------
    id : str
        16 hexadecimal digits, drawn by chance.
    runs : list of WallRun
        The best of each kind, the oldest first.
    runs_done : int
        How many runs have finished, those that are not shown included.
    joined_s, seen_s : float
        When the learner joined, and was last heard of: seconds since 1970, UTC.
    """

    id: str
    name: str
    joined_s: float
    seen_s: float
    runs_done: int
    runs: list[WallRun]
    version: int = WALL_VERSION

    def with_run(self, run: WallRun | None) -> WallEntry:
        """The entry after one more run; ``None`` is counted, and not shown."""
        best = {each.kind: each for each in self.runs}
        if run is not None and (run.kind not in best or run.tokens_per_second > best[run.kind].tokens_per_second):
            best.pop(run.kind, None)
            best[run.kind] = run
        return dataclasses.replace(
            self,
            runs_done=min(self.runs_done + 1, MOST_COUNTED),
            runs=list(best.values())[-MOST_RUNS:],
            seen_s=round(time.time(), 1),
        )

    def to_json(self) -> str:
        """As a file or a message has it, in at most ``MOST_BYTES``."""
        entry = self
        while len(text := json.dumps(dataclasses.asdict(entry), separators=(",", ":"))) > MOST_BYTES:
            entry = dataclasses.replace(entry, runs=entry.runs[1:])
        return text


def check_learner_name(name: object) -> str:
    """A learner's name, without blanks around it.

    Raises
    ------
    InputError
        It is empty, too long, or has what cannot be printed.
    """
    if not isinstance(name, str):
        raise InputError(f"a name for the wall must be text, not {shorten(name)}; for example name='Ada'.")
    made = unicodedata.normalize("NFC", " ".join(name.split()))
    if not made or len(made) > LONGEST_NAME:
        raise InputError(f"a name for the wall has 1 to {LONGEST_NAME} characters, not {len(made)}: {shorten(name)}.")
    if not made.isprintable() or _has_piled_marks(made):
        raise InputError(f"a name for the wall is of characters that can be printed, not {shorten(name)}.")
    return made


def entry_from(text: bytes | str) -> WallEntry:
    """An entry from what somebody has written.

    Raises
    ------
    InputError
        It is none: no JSON, a version that this nbkit does not know, a value of another type, beyond all sense, or
        a text that cannot be shown.
    """
    if len(text) > MOST_BYTES:
        raise Damaged(f"it has more than {MOST_BYTES:,} bytes")
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, a number too long, brackets too deep
        raise Damaged("it is no JSON") from None
    return entry_of(data)


def entry_of(data: Any) -> WallEntry:
    """Like ``entry_from``, of what JSON has become."""
    version = data.get("version") if isinstance(data, dict) else None
    if type(version) is not int or version != WALL_VERSION:
        raise Damaged(f"it is of version {shorten(version)}; this nbkit shows {WALL_VERSION}")
    entry = record_of(WallEntry, data)
    if not _ID.fullmatch(entry.id):
        raise Damaged(f"id is no 16 hexadecimal digits: {shorten(entry.id)}")
    if check_learner_name(entry.name) != entry.name:
        raise Damaged("name has blanks around it, or letters in pieces")
    if len(entry.runs) > MOST_RUNS or not len(entry.runs) <= entry.runs_done <= MOST_COUNTED:
        raise Damaged(f"there are {len(entry.runs)} runs of {entry.runs_done}")
    for run in entry.runs:
        _check_run(run)
    return entry


def _check_run(run: WallRun) -> None:
    for word in (run.model, run.engine, run.dtype, run.device):
        if not word or word != _word(word):
            raise Damaged(f"{shorten(word)} is no name of a model, engine, dtype or device")
    for name in ("ranks", "batch_size"):
        if not 1 <= getattr(run, name) <= MOST_SIZE:
            raise Damaged(f"{name} should be from 1 to {MOST_SIZE:,}, not {getattr(run, name)}")
    for name in ("prompts", "new_tokens"):
        if getattr(run, name) > 1000 * MOST_SIZE:
            raise Damaged(f"{name} should be at most {1000 * MOST_SIZE:,}")
    if not 0 < run.tokens_per_second <= MOST_TOKENS_PER_SECOND:
        raise Damaged(f"tokens_per_second should be above 0 and at most {MOST_TOKENS_PER_SECOND:,.0f}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _has_piled_marks(name: str) -> bool:
    in_a_row = 0
    for character in name:
        in_a_row = in_a_row + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        if in_a_row > MOST_MARKS:
            return True
    return False


def _public_model(model: str) -> str:
    """A model's name as strangers may see it: of a folder its last part, which tells of no home."""
    path = Path(model).expanduser()
    return _word(path.name if model.startswith(("/", "~", ".")) or path.is_dir() else model)


def _word(text: str) -> str:
    """A short printable text; what is no such thing becomes one."""
    made = "".join(each if each.isprintable() and not unicodedata.combining(each) else "?" for each in text.strip())
    return made[:LONGEST_WORD].strip() or "unknown"
