"""Live grid: the batch of each rank while a run goes on, as plain JSON; coarser than what the records tell later."""

from __future__ import annotations

from typing import Any

from nbkit.inference.progress import RunProgress

MOST_RANKS = 16


class LiveGrid:
    """Gives every sequence under way a seat for as long as it is there; feed it how far the run is."""

    def __init__(self) -> None:
        self._seats: dict[int, dict[int, int]] = {}

    def of(self, progress: RunProgress) -> dict[str, Any]:
        """The grid now: of each rank ``rows`` of seat, prompt's index, prompt's tokens, padding and tokens so far."""
        ranks = sorted(progress.ranks)[:MOST_RANKS]
        pads_left = progress.settings.engine_spec.pads
        notes = ["While it runs: a few looks a second. Play it back when it has ended, token by token."]
        if not progress.settings.is_in_flight:
            notes.append("Which tokens are computed in vain is known when a batch has ended.")
        return {
            "name": progress.settings.engine,
            "is_live": True,
            "seconds": max(0.0, progress.latest_s - (progress.begin_s or 0.0)),
            "tokens": progress.tokens,
            "prompts": progress.prompts,
            "done": progress.prompts_done,
            "notes": notes,
            "ranks": [{**self._rank(progress, rank), "left": pads_left} for rank in ranks],
        }

    def _rank(self, progress: RunProgress, rank: int) -> dict[str, Any]:
        under_way = progress.ranks[rank].under_way
        seats = self._seats.setdefault(rank, {})
        here = {each.index for each in under_way}
        for index in [index for index in seats if index not in here]:
            del seats[index]
        for each in under_way:
            if each.index not in seats:
                taken = set(seats.values())
                seats[each.index] = next(seat for seat in range(len(taken) + 1) if seat not in taken)
        rows = [
            [seats[each.index], each.index, each.prompt_tokens, each.padding_tokens, each.new_tokens]
            for each in under_way
        ]
        most = progress.settings.max_new_tokens
        return {
            "rank": rank,
            "rows": rows,
            "seats": 1 + max(seats.values(), default=0),
            "columns": max((each.prompt_tokens + each.padding_tokens for each in under_way), default=1) + most,
            "room": _room(progress, rank),
            "cache": sum(max(0, prompt + padding + new - 1) for _, _, prompt, padding, new in rows if new),
        }


def _room(progress: RunProgress, rank: int) -> int:
    """Positions of the KV cache, as the rank's last record told."""
    own = (batch.step_times for batch in reversed(progress.batches) if batch.rank == rank)
    last = next(own, None)
    return last.cache_positions if last is not None else 0
