"""Manifest: what a bulk was asked for, so that who goes on with it asks for the same; and the names of its files."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nbkit.errors import InputError
from nbkit.files import machine
from nbkit.files.atomic_write import write_atomically
from nbkit.files.json_files import read_json
from nbkit.records.settings import FIELDS, Settings

MANIFEST, OUTPUTS, RECORDS, TIMES = "bulk.json", "outputs.jsonl", "records.jsonl", "times.jsonl"
"""In the folder of a bulk: what was asked for; when it is finished its outputs, what its ranks told of batches and of
themselves, and when the tokens of each output came."""
BULK_VERSION = 1
SAME_TEXT = frozenset(
    ("batch_size", "split", "order", "token_budget", "pad_to_multiple_of", "tokenize_first", "warm_up")
)
"""Settings that change no text in float32: a bulk may be gone on with by others."""
OF_TEXT = ("nbkit", "torch", "transformers")
"""Packages another version of which may compute another text."""
OF_SOURCE = ("kind", "bytes", "column", "prompts")
"""What has to be the same of a source beside its prompts; a file may have moved."""


@dataclass
class Manifest:
    """What was asked for.

    Attributes
    ----------
    settings : Settings
        As of the beginning.
    source : dict
        What the prompts came from; of a file its path, size and column, and once it is known its SHA-256.
    total : int or None
        Prompts of the source, once it has been read to its end.
    dtype : str or None
        What the ranks compute in, once they have said so.
    """

    settings: Settings
    source: dict[str, Any]
    total: int | None = None
    dtype: str | None = None
    nbkit: str | None = field(default_factory=lambda: machine.package_version("nbkit"))
    machine: dict[str, Any] = field(default_factory=machine.describe)
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def save(self, path: Path) -> None:
        """Write it, whole or not at all; raises InputError."""
        data = {"bulk_version": BULK_VERSION, **dataclasses.asdict(self)}
        write_atomically(path, json.dumps(data, ensure_ascii=False, indent=1))

    @classmethod
    def load(cls, path: Path) -> Manifest:
        """Read what ``save`` wrote.

        Raises
        ------
        InputError
            There is none, or one that this nbkit does not know.
        """
        data = read_json(path, "bulk")
        version = data.pop("bulk_version", None) if isinstance(data, dict) else None
        if version != BULK_VERSION:
            raise InputError(
                f"{path} holds no bulk of version {BULK_VERSION} (found {version!r}); a newer needs a newer nbkit."
            )
        try:
            data["settings"] = Settings(**{**data["settings"], "stop": tuple(data["settings"]["stop"])})
            return cls(**data)
        except (KeyError, TypeError) as error:
            raise InputError(f"the data in {path} are damaged: {error}.") from None

    def other_versions(self) -> str:
        """The packages that were of another version at the beginning, in words; empty if none was."""
        before, now = self.machine.get("packages", {}), machine.describe()["packages"]
        return ", ".join(
            f"{name} {before.get(name)} (now {now.get(name)})"
            for name in OF_TEXT
            if before.get(name) != now.get(name)
        )

    def difference(self, settings: Settings, source: dict[str, Any]) -> str:
        """What differs, in words, of settings that change text and of the source; empty if one can go on."""
        differing = [
            f"{name} {getattr(self.settings, name)!r}, not {getattr(settings, name)!r}"
            for name in FIELDS
            if name not in SAME_TEXT and getattr(self.settings, name) != getattr(settings, name)
        ]
        differing += [
            f"the source's {name} {self.source.get(name)!r}, not {source.get(name)!r}"
            for name in OF_SOURCE
            if self.source.get(name) != source.get(name) and None not in (self.source.get(name), source.get(name))
        ]
        return "; ".join(differing)
