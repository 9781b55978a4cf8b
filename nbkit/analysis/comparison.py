"""Comparison: in what Runs differ, in their settings and in their outputs.

Plain data; how they look is the report's business.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Literal

from nbkit.records.request import Conversation
from nbkit.records.run import Run

Kind = Literal["same", "removed", "added"]

ASKED = ("engine", "workers", "batch size", "schedule", "dtype", "prompts")
"""Of a summary: what was asked for, or how much of it was done."""
MOST_WORDS = 2000
"""The most words a side that are matched one by one."""
MOST_STEPS = 100_000_000
"""The most steps that matching may need: pairs of equal words, looked at once a match.

Two English texts of ``MOST_WORDS`` need about 70 million, and in fact 0.02 s; texts that
repeat a word in the worst way need all they may, just under 2 s.
"""


@dataclass(frozen=True, slots=True)
class OutputDifference:
    """Two texts for one prompt. ``index`` is the prompt's in the first Run.

    ``first_difference`` counts the words that agree at the start, whatever white
    space is between them.
    """

    index: int
    prompt: str
    first: str
    second: str
    first_difference: int


@dataclass(frozen=True, slots=True)
class OutputComparison:
    """How the outputs of two Runs compare.

    ``not_comparable`` counts the prompts that lack an output in either Run, and those
    of the longer Run that have no equal in the other. The three counts add up to the
    longer Run's prompts.
    """

    same: int
    different: int
    not_comparable: int
    differences: list[OutputDifference]


def settings_that_differ(runs: Mapping[str, Run]) -> dict[str, dict[str, object]]:
    """What was not the same in all Runs: a setting's name to each Run's value.

    Settings are the fields of ``Settings`` as they took effect (``dtype`` is what
    ``auto`` became, ``batch_size`` is 1 for the engine ``simple``), then ``workers``,
    ``device``, ``prompts`` (their number) and ``node``.
    """
    used = {name: _settings_used(run) for name, run in runs.items()}
    names = next(iter(used.values()), {})
    rows = {setting: {name: values[setting] for name, values in used.items()} for setting in names}
    return {setting: row for setting, row in rows.items() if len(set(row.values())) > 1}


def ratios_to(baseline: str, summaries: Mapping[str, Mapping[str, object]]) -> dict[str, dict[str, float | None]]:
    """What was measured of each Run, as a multiple of the baseline's: a measure's name to each Run's ratio.

    ``summaries`` are ``Run.summary()`` by name, the baseline's among them. None where either is not known or
    the baseline's is 0; what was asked for (``ASKED``) is not there.
    """
    return {
        measure: {name: _ratio(summary.get(measure), base) for name, summary in summaries.items()}
        for measure, base in summaries[baseline].items()
        if measure not in ASKED
    }


def in_times(ratio: float) -> str:
    """A ratio as figures and tables show it: ``0.94×``, ``12.5×``."""
    return f"{ratio:,.2f}×" if ratio < 10 else f"{ratio:,.1f}×"


def compare_outputs(first: Run, second: Run) -> OutputComparison:
    """Hold the outputs of two Runs side by side.

    Prompts belong together where the same text stands at the same index; those left
    over are matched by their text, each used once, in order.
    """
    matched = sorted(_matched_prompts(first.prompts, second.prompts))
    texts = [(i, first.outputs[i], second.outputs[j]) for i, j in matched]
    comparable = [(i, own, other) for i, own, other in texts if own is not None and other is not None]
    differences = [
        OutputDifference(i, str(first.prompts[i]), own, other, _words_in_common(own, other))
        for i, own, other in comparable
        if own != other
    ]
    return OutputComparison(
        same=len(comparable) - len(differences),
        different=len(differences),
        not_comparable=max(len(first.prompts), len(second.prompts)) - len(comparable),
        differences=differences,
    )


def word_diff(first: str, second: str) -> list[tuple[Kind, str]]:
    """What to remove from the first text, and what to add, to get the second.

    The parts that are ``same`` or ``removed`` join to the first text exactly, those that
    are ``same`` or ``added`` to the second. Where the words between the texts' common
    beginning and end are very many, or repeat very often, they are one part removed
    and one added.
    """
    # A word takes the white space before it along, as a token does: a text that goes on adds words, no more.
    a, b = (re.findall(r"\s*\S+|\s+", text) for text in (first, second))
    start = _agreeing(a, b)
    end = _agreeing(a[start:][::-1], b[start:][::-1])
    parts: list[tuple[Kind, str]] = [
        ("same", "".join(a[:start])),
        *_middle_diff(a[start : len(a) - end], b[start : len(b) - end]),
        ("same", "".join(a[len(a) - end :])),
    ]
    return [(kind, text) for kind, text in parts if text]


def _settings_used(run: Run) -> dict[str, object]:
    nodes = [rank.node for rank in run.ranks] or [str(run.machine.get("node", ""))]
    return {
        **dataclasses.asdict(run.settings),
        "engine": run.engine_label,
        "batch_size": run.batch_size,
        "dtype": _each_once([rank.dtype for rank in run.ranks] or [run.dtype]),
        "workers": run.world_size,
        "device": _each_once([rank.device for rank in run.ranks]),
        "prompts": len(run.prompts),
        "node": _each_once(nodes),
    }


def _ratio(value: object, base: object) -> float | None:
    if not isinstance(value, int | float) or not isinstance(base, int | float) or not base:
        return None
    ratio = value / base
    return ratio if math.isfinite(ratio) else None


def _each_once(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _matched_prompts(
    first: Sequence[str | Conversation], second: Sequence[str | Conversation]
) -> Iterator[tuple[int, int]]:
    """Indices of equal prompts, in the first list and in the second."""
    in_place = {i for i, (own, other) in enumerate(zip(first, second, strict=False)) if own == other}
    yield from ((i, i) for i in in_place)
    left: defaultdict[str | Conversation, deque[int]] = defaultdict(deque)
    for j, prompt in enumerate(second):
        if j not in in_place:
            left[prompt].append(j)
    for i, prompt in enumerate(first):
        if i not in in_place and left[prompt]:
            yield i, left[prompt].popleft()


def _middle_diff(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[Kind, str]]:
    """The parts of two lists of words that neither begin nor end alike."""
    if _are_too_many(a, b):
        yield "removed", "".join(a)
        yield "added", "".join(b)
        return
    # Without autojunk: it takes the words of a text that repeats itself, as small models' do, for junk.
    for tag, a_from, a_to, b_from, b_to in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            yield "same", "".join(a[a_from:a_to])
        else:
            yield "removed", "".join(a[a_from:a_to])
            yield "added", "".join(b[b_from:b_to])


def _are_too_many(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether matching these words could take seconds: few words can, if they repeat."""
    if max(len(a), len(b)) > MOST_WORDS:
        return True
    in_b = Counter(b)
    pairs = sum(n * in_b[word] for word, n in Counter(a).items())
    return pairs * min(len(a), len(b)) > MOST_STEPS


def _words_in_common(first: str, second: str) -> int:
    return _agreeing(first.split(), second.split())


def _agreeing(a: Sequence[str], b: Sequence[str]) -> int:
    """How many items agree from the start."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
