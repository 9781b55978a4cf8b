"""Hand-made records: what the tests of records, figures and reports draw on."""

from __future__ import annotations

import random

from nbkit.records import BatchRecord, Output, RankRecord
from nbkit.records.run import Run
from nbkit.records.settings import ARTICLE, Settings

MACHINE = {"node": "node", "processor": "a processor", "cores": 2, "memory_bytes": 8_000_000_000}


def article(**changes: object) -> Settings:
    """The article's settings, with changes: what a cost model can be fitted to."""
    return Settings(**ARTICLE | changes)


def batch(rank: int, indices: tuple[int, ...], begin_s: float = 1.0) -> BatchRecord:
    n = len(indices)
    return BatchRecord(
        rank=rank,
        indices=indices,
        prompt_tokens=5 * n,
        padding_tokens=3 * n,
        new_tokens=7 * n,
        computed_tokens=10 * n,
        tokenize_s=0.1,
        prefill_s=0.2,
        decode_s=0.9,
        detokenize_s=0.1,
        begin_s=begin_s,
        end_s=begin_s + 1.3,
        peak_memory_bytes=1000,
    )


def outputs(indices: tuple[int, ...]) -> list[Output]:
    return [Output(index, f"output {index} é🙂", 5, 7, "stop") for index in indices]


def rank_record(rank: int, world_size: int, prompts: int, begin_s: float = 1.0, end_s: float = 9.0) -> RankRecord:
    return RankRecord(rank, world_size, "node", 100 + rank, "cpu", "float32", 0.5, begin_s, end_s, 0.3, 0.01, prompts)


def finished(prompts: int, world_size: int, batch_size: int, seed: int = 0) -> list[tuple[BatchRecord, list[Output]]]:
    """Batches of all prompts, dealt among ranks, in the shuffled order in which they might come."""
    dealt = random.Random(seed)
    indices = list(range(prompts))
    dealt.shuffle(indices)
    cuts = [tuple(indices[i : i + batch_size]) for i in range(0, prompts, batch_size)]
    made = [(batch(n % world_size, cut, 1.0 + 1.3 * (n // world_size)), outputs(cut)) for n, cut in enumerate(cuts)]
    dealt.shuffle(made)
    return made


def run(prompts: int = 10, world_size: int = 2, batch_size: int = 3, **settings: object) -> Run:
    return Run.assemble(
        article(batch_size=batch_size, **settings),
        [f"prompt {i}" for i in range(prompts)],
        finished(prompts, world_size, batch_size),
        [rank_record(rank, world_size, prompts) for rank in range(world_size)],
        world_size,
        MACHINE,
    )
