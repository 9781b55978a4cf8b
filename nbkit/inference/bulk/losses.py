"""Losses: which prompts were under way when a rank was lost, so that one that ends ranks is found out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

ALONE_AFTER = 2
"""Losses after which a prompt is generated for by itself, so that no other is taken for the one that ends ranks."""
SET_ASIDE = "set aside"
"""With which the error of such a prompt begins."""
SET_ASIDE_AFTER = 3
"""Losses after which a prompt is set aside as failed."""


class Losses:
    """How often each prompt was under way at a loss; written down, for an owner may be lost, too."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._times: Counter[int] = Counter()
        try:
            # A torn last line is that of a loss nobody has acted on.
            for line in file.read_text(encoding="utf-8").splitlines():
                self._times.update(json.loads(line))
        except (FileNotFoundError, ValueError):
            pass

    def note(self, indices: Iterable[int]) -> None:
        """These were under way on the rank that was lost; raises OSError."""
        lost = sorted(indices)
        if lost:
            self._times.update(lost)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(lost) + "\n")

    def goes_alone(self, index: int) -> bool:
        """Whether a prompt is to be generated for by itself."""
        return self._times[index] >= ALONE_AFTER if index in self._times else False

    def is_set_aside(self, index: int) -> bool:
        """Whether a prompt is to be given up."""
        return index in self._times and self._times[index] >= SET_ASIDE_AFTER

    def done(self, index: int) -> None:
        """A prompt is done, so that it was not the one."""
        self._times.pop(index, None)
