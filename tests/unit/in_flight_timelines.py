"""In-flight timelines: the default engine's own scheduling and steps, of a tiny model, on a modelled clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from example_runs import MACHINE, article
from timelines import MODEL

from nbkit.analysis.cost_model import CostModel
from nbkit.analysis.work import Stretches
from nbkit.engines import BatchDone, Request
from nbkit.engines.compiled import CompiledPool
from nbkit.engines.in_flight import InFlightEngine
from nbkit.engines.sequence_pool import Step
from nbkit.inference import schedule
from nbkit.records import BatchRecord, RankRecord
from nbkit.records.run import Run

IN_FLIGHT = replace(
    MODEL,
    engine="compiled",
    tokenize_s=(0.0, 0.0),
    detokenize_s=(0.0, 0.0),
    gather_rank_s=0.0,
    gather_prompt_s=0.0,
)


class ModelledClock:
    """A rank's watch that stands still but for what a pool's steps take."""

    device = "cpu"
    cancelled = False

    def __init__(self, rank: int, begun_s: float) -> None:
        self.rank = rank
        self.elapsed_s = begun_s

    def report(self, tokens, streamed, under_way) -> None:
        """Nobody hears it."""


class EndsAt:
    """Chooses tokens with which each prompt's text ends after so many."""

    is_plain, looks_back = False, True

    def __init__(self, new_tokens: Sequence[int], end: int) -> None:
        self._new_tokens = new_tokens
        self._end = end

    def choose(self, logits, sequences, ahead=0):
        ends = [len(each.tokens) + 1 == self._new_tokens[each.index] for each in sequences]
        return torch.tensor([self._end if is_last else self._end + 1 for is_last in ends])

    def forget(self, index) -> None:
        """It keeps nothing."""


class TimedPool(CompiledPool):
    """The kit's own pool; each of its steps takes as long as a cost model says, times ``slower``."""

    clock: ModelledClock
    model: CostModel
    slower: float

    def step(self) -> Step:
        step = super().step()
        window = replace(_EMPTY, decode_steps=0 if step.is_prefill else 1, work=step.work)
        work = Stretches.of([window])
        self.clock.elapsed_s += self.slower * float(self.model.prefill_s(work)[0] + self.model.decode_s(work)[0])
        return step


_EMPTY = BatchRecord(0, (), *[0] * 4, *[0.0] * 6, 0)


def in_flight_run(
    loaded,
    prompts: Sequence[str],
    new_tokens: Sequence[int],
    ranks: int = 1,
    model: CostModel = IN_FLIGHT,
    slower: Callable[[int], float] = lambda rank: 1.0,
    gather_s: float = 0.0,
    **settings: object,
) -> Run:
    """The static run of these prompts; a rank's steps take ``slower(rank)`` times as long."""
    asked = article(**{"engine": "compiled", "max_new_tokens": max(new_tokens) + 1, **settings})
    chooser = EndsAt(new_tokens, loaded.eos_token_ids[0])
    capacity = schedule.side_by_side(asked, len(prompts), ranks, asked.prompts_a_batch)
    begun_s = 10.0
    finished, done_s = [], []
    for rank in range(ranks):
        share = schedule.static_share(len(prompts), ranks, rank)
        own = [prompts[index] for index in share]
        lengths = [len(loaded.tokenizer(text).input_ids) for text in own] if asked.order == "by_length" else None
        pool = TimedPool(asked, loaded, capacity, chooser)
        pool.clock, pool.model, pool.slower = ModelledClock(rank, begun_s), model, slower(rank)
        drawn = ([Request(int(i), prompts[i]) for i in piece] for piece in schedule.batches(share, 1, lengths))
        made = InFlightEngine(asked, loaded, pool).generate(drawn, pool.clock)
        finished += [(each.record, each.outputs) for each in made if isinstance(each, BatchDone)]
        done_s.append(pool.clock.elapsed_s)
    end_s = max(done_s)
    records = [
        RankRecord(
            *(rank, ranks, "node", 100 + rank, "cpu", "float32", 0.0, begun_s),
            *(end_s + gather_s, end_s - done, gather_s, len(prompts)),
        )
        for rank, done in enumerate(done_s)
    ]
    return Run.assemble(asked, list(prompts), finished, records, ranks, MACHINE)
