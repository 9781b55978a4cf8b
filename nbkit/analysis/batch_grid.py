"""Batch grid: what a playback draws of a Run, as plain JSON of bounded size.

A row is a seat of a rank and a cell a token. Every sum (tokens, positions of the KV cache, prompts) is over all
sequences that the records tell of, those included that have no row; ``notes`` say what is left out and what is
assumed. Times are in ticks (``TICK_S`` seconds) since the Run began, lists of them from each moment to the next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from nbkit.analysis.batch_sequences import BatchSequence, Told, sequences_of
from nbkit.records.run import Run
from nbkit.records.settings import with_batch_size
from nbkit.records.step_times import TICK_S, deltas

MOST_ROWS = 200
"""Seats of all ranks together that are drawn."""
MOST_RANKS = 16
MOST_SEQUENCES = 600
MOST_MOMENTS, MOST_MOMENTS_OF_ALL = 1_500, 12_000
"""At which sums are told, of one rank and of all."""
MOST_STEPS_OF_ALL = 40_000

Grid = dict[str, Any]


def batch_grid(run: Run, name: str = "") -> Grid:
    """The grid of a Run, to be played back.

    Its keys: ``name``; ``end``, the ticks that the Run took; ``until``, those of them that are drawn; ``prompts``;
    ``work``, alike where Runs had the same to do; ``tick_s``; ``notes``; and ``ranks``, each with its ``seats``,
    ``columns``, ``room`` of the KV cache in tokens (0: not known), the ``steps`` that gave tokens, ``sums`` over
    time and ``sequences``.
    """
    told = sequences_of(run)
    ranks = sorted({each.rank for each in told.sequences})[:MOST_RANKS]
    most_seats = max(1, MOST_ROWS // max(1, len(ranks)))
    rows = [each for each in told.sequences if each.rank in ranks and each.seat < most_seats]
    until_s = min(told.until_s, rows[MOST_SEQUENCES].taken_s) if len(rows) > MOST_SEQUENCES else told.until_s
    drawn = [each for each in rows[:MOST_SEQUENCES] if each.taken_s <= until_s]
    shown = [_rank(run, told, rank, drawn, most_seats, until_s, len(ranks)) for rank in ranks]
    return {
        "name": name or _name(run),
        "tick_s": TICK_S,
        "end": _ticks(run.wall_s),
        "until": _ticks(until_s - run.begin_s),
        "prompts": len(run.prompts),
        "work": [len(run.prompts), sum(run.prompt_tokens), run.settings.max_new_tokens],
        "is_whole": run.is_complete and until_s >= run.end_s,
        "notes": _notes(run, told, [each for rank in shown for each in rank["sequences"]], until_s),
        "ranks": shown,
    }


def _name(run: Run) -> str:
    workers = f"{run.world_size} worker{'s' if run.world_size != 1 else ''}"
    return f"{with_batch_size(run.engine, run.batch_size, run.engine_label)}, {workers}"


def _rank(
    run: Run, told: Told, rank: int, drawn: Sequence[BatchSequence], most_seats: int, until_s: float, ranks: int
) -> dict[str, Any]:
    own = [each for each in told.sequences if each.rank == rank]
    shown = [each for each in drawn if each.rank == rank]
    last = max((each.first_step + len(each.tokens_s) + len(each.vain_s) for each in shown), default=0)
    steps_s = told.steps_s.get(rank, [])[: min(last, MOST_STEPS_OF_ALL // ranks)]
    sums = _sums(own, run.begin_s, until_s, min(MOST_MOMENTS, MOST_MOMENTS_OF_ALL // ranks))
    room = max((b.step_times.cache_positions for b in run.batches if b.rank == rank and b.step_times), default=0)
    return {
        "rank": rank,
        "seats": min(most_seats, 1 + max(each.seat for each in own)),
        "all_seats": 1 + max(each.seat for each in own),
        "columns": max((_columns(each) for each in shown), default=1),
        "room": room,
        "peak": int(max(sums["cache"], default=0)),
        "steps": list(deltas(run.begin_s, steps_s)),
        "sums": {**sums, "at": np.diff(sums["at"], prepend=0).tolist()},
        "sequences": [_sequence(each, run.begin_s, len(steps_s)) for each in shown],
    }


def _sequence(each: BatchSequence, begin_s: float, steps: int) -> dict[str, Any]:
    told = {
        "index": each.index,
        "seat": each.seat,
        "prompt": each.prompt_tokens,
        "padding": each.padding,
        "left": each.pads_left,
        "taken": _ticks(each.taken_s - begin_s),
        "read": [_ticks(each.read_begin_s - begin_s), _ticks(each.read_end_s - begin_s)],
        "is_read_told": each.is_read_told,
        "new": len(each.tokens_s),
        "vain": len(each.vain_s),
    }
    if each.is_measured and each.first_step + len(each.tokens_s) + len(each.vain_s) <= steps:
        return {**told, "step": each.first_step}
    spread = [each.tokens_s[0], each.tokens_s[-1], each.leaves_s]
    return {**told, "spread": [_ticks(moment - begin_s) for moment in spread]}


def _sums(sequences: Sequence[BatchSequence], begin_s: float, until_s: float, most: int) -> dict[str, list[int]]:
    """What a rank has at each moment: positions in its KV cache, tokens so far, prompts taken and prompts done."""
    moments: dict[str, list[int]] = defaultdict(list)
    changes: dict[str, list[int]] = defaultdict(list)

    def add(what: str, at_s: Sequence[float], change: Sequence[int]) -> None:
        moments[what] += [max(0, _ticks(moment - begin_s)) for moment in at_s]
        changes[what] += change

    for each in sequences:
        # The last token is not in the cache yet: the next step writes it.
        read = each.prompt_tokens + (each.padding if each.pads_left else 0) - 1
        computed = [*each.tokens_s, *each.vain_s]
        add("cache", [each.read_end_s, *computed, each.leaves_s], [read, *[1] * len(computed), -read - len(computed)])
        add("tokens", each.tokens_s, [1] * len(each.tokens_s))
        add("vain", each.vain_s, [1] * len(each.vain_s))
        add("taken", [each.taken_s], [1])
        add("done", [each.tokens_s[-1]], [1])
    every = np.unique(np.array([moment for own in moments.values() for moment in own]))
    at = every[every <= _ticks(until_s - begin_s)]
    if len(at) > most:
        at = at[np.linspace(0, len(at) - 1, most).round().astype(int)]
    sums = {what: _at(moments[what], changes[what], at) for what in ("cache", "tokens", "vain", "taken", "done")}
    return {"at": at.tolist(), **sums}


def _at(moments: Sequence[int], changes: Sequence[int], at: np.ndarray[Any, Any]) -> list[int]:
    """The sum of all changes up to each of these moments."""
    order = np.argsort(np.array(moments), kind="stable")
    reached = np.concatenate([[0], np.cumsum(np.array(changes, dtype=np.int64)[order])])
    return reached[np.searchsorted(np.array(moments)[order], at, side="right")].tolist()  # type: ignore[no-any-return]


def _columns(each: BatchSequence) -> int:
    """Cells of its row."""
    padded = each.padding if each.pads_left else 0
    return max(each.prompt_tokens + each.padding, padded + each.prompt_tokens + len(each.tokens_s) + len(each.vain_s))


def _notes(run: Run, told: Told, drawn: Sequence[dict[str, Any]], until_s: float) -> list[str]:
    """What the picture leaves out, and what in it is no measurement."""
    notes = []
    finished = run.finished_prompts
    if len(drawn) < finished - told.untold:
        notes.append(f"Rows: the first {len(drawn):,} of {finished:,} sequences; sums are over all that are known.")
    if until_s < run.end_s:
        notes.append(f"Shown: the first {until_s - run.begin_s:.1f} s of {run.wall_s:.1f} s.")
    if told.untold:
        notes.append(f"Of {told.untold:,} sequences no record tells when their tokens came; they are not drawn.")
    spread = sum("spread" in each for each in drawn)
    if spread:
        which = "all sequences" if spread == len(drawn) else f"{spread:,} sequences"
        notes.append(
            f"Of {which} the times of the first and the last token are known; those between are spread evenly."
        )
    if any(not each["is_read_told"] for each in drawn):
        notes.append("This engine does not tell when it reads a prompt: waiting and prefill are drawn as one.")
    discarded = sum(b.computed_tokens - b.new_tokens for b in run.batches if b.decode_steps is not None)
    if discarded:
        notes.append(f"{discarded:,} tokens were computed in vain by steps launched ahead; they have no cell.")
    if not run.is_complete and run.finished_prompts < len(run.prompts):
        notes.append("The run ended early: only sequences that came to their end are known, and drawn.")
    if run.out_of_memory:
        notes.append("Sequences that did not fit into memory were begun anew; their first tries are not drawn.")
    return notes


def _ticks(seconds: float) -> int:
    return round(seconds / TICK_S)
