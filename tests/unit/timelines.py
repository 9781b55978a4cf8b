"""Timelines with a known cause: runs that the schedule deals and a cost model times, with a fault put in."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

from example_runs import MACHINE, article

from nbkit.analysis.batch_shapes import BatchShapes
from nbkit.analysis.cost_model import CostModel, FitQuality
from nbkit.inference import schedule
from nbkit.records import BatchRecord, Output, RankRecord
from nbkit.records.run import Run
from nbkit.records.settings import Settings

MODEL = CostModel(
    engine="batched",
    dtype="float32",
    prefill_fixed_s=0.02,
    prefill_position_s=1e-4,
    prefill_square_s=1e-7,
    step_fixed_s=0.05,
    step_sequence_s=0.002,
    step_cached_s=1e-6,
    tokenize_s=(1e-3, 1e-6),
    detokenize_s=(1e-3, 1e-6),
    between_s=0.0,
    gather_rank_s=1e-3,
    gather_prompt_s=1e-6,
    corrections=(),
    quality=FitQuality(1, 0.0, 0.0),
)
FLAT = replace(MODEL, prefill_position_s=0.0, prefill_square_s=0.0, step_sequence_s=0.0, step_cached_s=0.0)
"""A batch takes as long whatever is in it: a device that waits for its weights."""


def timeline(
    prompt_tokens: Sequence[int],
    new_tokens: Sequence[int],
    ranks: int,
    model: CostModel = MODEL,
    slower: Callable[[int], float] = lambda rank: 1.0,
    gather_s: float = 0.001,
    starts_late_s: Callable[[int], float] = lambda rank: 0.0,
    **settings: object,
) -> Run:
    """The static run of prompts with these lengths; a rank's prefill and decode take ``slower(rank)`` times as long.

    Sequences end when they have their new tokens; the batch goes on to the longest.
    """
    asked = article(**settings)
    begun = 10.0
    batches: list[BatchRecord] = []
    done: list[float] = []
    for rank in range(ranks):
        at_s = begun + starts_late_s(rank)
        for places in schedule.batches(schedule.static_share(len(prompt_tokens), ranks, rank), asked.prompts_a_batch):
            record = _batch(
                rank, [int(p) for p in places], prompt_tokens, new_tokens, asked, model, slower(rank), at_s
            )
            batches.append(record)
            at_s = record.end_s
        done.append(at_s)
    end_s = max(done)
    records = [
        RankRecord(
            rank,
            ranks,
            "node",
            100 + rank,
            "cpu",
            "float32",
            0.0,
            begun + starts_late_s(rank),
            end_s + gather_s,
            end_s - done[rank],
            gather_s,
            len(prompt_tokens),
        )
        for rank in range(ranks)
    ]
    outputs = {
        index: Output(index, "text", prompt_tokens[index], new_tokens[index], "stop")
        for index in range(len(prompt_tokens))
    }
    finished = [(batch, [outputs[index] for index in batch.indices]) for batch in batches]
    prompts = [f"prompt {index}" for index in range(len(prompt_tokens))]
    return Run.assemble(asked, prompts, finished, records, ranks, MACHINE)


def _batch(
    rank: int,
    places: list[int],
    prompt_tokens: Sequence[int],
    new_tokens: Sequence[int],
    asked: Settings,
    model: CostModel,
    slower: float,
    begin_s: float,
) -> BatchRecord:
    longest = max(prompt_tokens[p] for p in places)
    width = -(-longest // asked.pad_to_multiple_of) * asked.pad_to_multiple_of
    steps = max(new_tokens[p] for p in places)
    own_tokens = sum(prompt_tokens[p] for p in places)
    record = BatchRecord(
        rank=rank,
        indices=tuple(places),
        prompt_tokens=own_tokens,
        padding_tokens=width * len(places) - own_tokens,
        new_tokens=sum(new_tokens[p] for p in places),
        computed_tokens=steps * len(places),
        tokenize_s=0.001,
        prefill_s=0.0,
        decode_s=0.0,
        detokenize_s=0.001,
        begin_s=begin_s,
        end_s=begin_s,
        peak_memory_bytes=1,
    )
    shape = BatchShapes.of([record])
    prefill_s, decode_s = slower * float(model.prefill_s(shape)[0]), slower * float(model.decode_s(shape)[0])
    return replace(record, prefill_s=prefill_s, decode_s=decode_s, end_s=begin_s + 0.002 + prefill_s + decode_s)


def varied_runs(ranks: Sequence[int] = (1,), model: CostModel = MODEL) -> list[Run]:
    """Runs of several batch sizes and lengths: enough to know a model from."""
    lengths = [5 + 7 * (i % 9) for i in range(24)]
    return [
        timeline(lengths, [tokens] * 24, n, model, batch_size=size, max_new_tokens=tokens, pad_to_multiple_of=1)
        for n, size, tokens in itertools.product(ranks, (1, 4, 16), (5, 20))
    ]
