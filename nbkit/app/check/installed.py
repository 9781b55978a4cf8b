"""Installed: what the doctor finds on this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nbkit.app import doctor
from nbkit.app.check.findings import Answer, Outcome, noted
from nbkit.app.check.runner import Part

if TYPE_CHECKING:
    from nbkit.app.check.bench import Bench

OUTCOMES: dict[str, Outcome] = {"ok": "passed", "!": "noted", "-": "skipped", "x": "failed"}
"""Of the doctor's marks: what is an extra and not there is no failure."""


def installed(bench: Bench) -> Iterator[Part]:
    """One line for all that is in order, and one for each that is not."""
    found = doctor.examine()
    yield Part("in order", lambda: in_order(found), is_instant=True)
    for each in found:
        if each.mark != "ok":
            yield Part(each.what, lambda e=each: _answer(e), is_instant=True)  # type: ignore[misc]


def in_order(found: Sequence[doctor.Check]) -> Answer:
    """What is there, in a line; all that the doctor saw in the numbers."""
    there = [each for each in found if each.mark == "ok"]
    said = "; ".join(f"{each.what} {each.found}" for each in there)
    answer = noted(said, doctor=[dataclasses.asdict(each) | {"mark": each.mark} for each in found])
    return dataclasses.replace(answer, outcome="passed")


def _answer(each: doctor.Check) -> Answer:
    return Answer(OUTCOMES[each.mark], f"{each.what}: {each.found}; {each.remedy}")
