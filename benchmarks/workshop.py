"""Which numbers do learners see in the notebooks on this machine?

For the day before a workshop: what the notebooks' cells measure, some rounds of each, the lowest and the highest too,
so that the instructor knows what is usual here and how far it varies. The settings are like the notebooks' own.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from comparison import describe_ranks, print_table, result_path, write_result

import nbkit
from nbkit.analysis.roofline import of_run
from nbkit.measure.device_speed import measure
from nbkit.models.model_shape import model_shape

QUESTION = "Which numbers do learners see in the notebooks on this machine?"
Finding = tuple[int, str, str, str, float]
"""Notebook, key, what it is, unit, value."""


def hello(workers: nbkit.Workers) -> Iterator[Finding]:
    began = time.perf_counter()
    for _ in range(100):
        workers.run(int)
    yield 0, "round_trip", "an empty job, there and back", "ms", 10 * (time.perf_counter() - began)
    workers.hello()
    gathers = [max(workers.hello().gather_s) for _ in range(5)]
    yield 1, "gather", "a gather, on the slowest rank", "ms", 1000 * statistics.median(gathers)


def one_at_a_time(workers: nbkit.Workers, alone: nbkit.Workers, article: nbkit.Settings) -> Iterator[Finding]:
    asked = nbkit.Settings.of(article, engine="simple", max_new_tokens=20)
    prompts = nbkit.first_lines(10)
    run = workers.generate(prompts, asked)
    one = alone.generate(prompts, asked)
    gather_s = max(rank.gather_s for rank in run.ranks)
    yield 2, "ttft", "time to first token", "ms", 1000 * run.mean_ttft_s
    yield 2, "tpot", "time per output token", "ms", 1000 * run.mean_tpot_s
    yield 2, "simple", "one prompt at a time, all ranks", "tokens/s", run.tokens_per_second
    yield 2, "gather_share", "the gather, of the wall time", "%", 100 * gather_s / run.wall_s
    yield 2, "ranks_gain", "all ranks, times as fast as one worker alone", "times", one.wall_s / run.wall_s


def batches(workers: nbkit.Workers, article: nbkit.Settings) -> Iterator[Finding]:
    asked = nbkit.Settings.of(article, max_new_tokens=20)
    prompts = nbkit.first_lines(10 * workers.world_size)
    simple = workers.generate(prompts, asked, engine="simple")
    two, ten = (workers.generate(prompts, asked, batch_size=size) for size in (2, 10))
    yield 3, "batch_gain", "a batch of 10, throughput", "times", ten.tokens_per_second / simple.tokens_per_second
    yield 3, "batch_step", "a step for 10 sequences", "times one for 1", ten.mean_tpot_s / simple.mean_tpot_s
    yield 3, "small_step", "a step for 2 sequences", "% of one for 10", 100 * two.mean_tpot_s / ten.mean_tpot_s


def scaling(workers: nbkit.Workers, article: nbkit.Settings) -> Iterator[Finding]:
    asked = nbkit.Settings.of(article, max_new_tokens=8, ignore_eos=True)
    one, every = (workers.generate(nbkit.first_lines(20), asked, ranks=n) for n in (1, workers.world_size))
    gather_s = max(rank.gather_s for rank in every.ranks)
    yield 4, "speed_up", "speed-up of all ranks over one of them, batch size 16", "times", one.wall_s / every.wall_s
    yield 4, "gather_of_batches", "the gather, of the wall time", "%", 100 * gather_s / every.wall_s


def limits(workers: nbkit.Workers, article: nbkit.Settings) -> Iterator[Finding]:
    asked = nbkit.Settings.of(article, max_new_tokens=10, ignore_eos=True)
    first = workers.generate(nbkit.first_lines(workers.world_size), asked, batch_size=1)
    speed, shape = measure(workers, first.dtype), model_shape(first.settings.model)
    yield 5, "bandwidth", "read from memory, each rank", "GB/s", speed.bytes_per_s / 1e9
    yield 5, "arithmetic", f"computed in {speed.dtype}, each rank", "GFLOP/s", speed.flops_per_s / 1e9
    for size in (1, 4, 16):
        run = workers.generate(nbkit.first_lines(size * workers.world_size), asked, batch_size=size)
        share = 100 * of_run(run, shape, speed).fraction
        yield 5, f"of_limit_{size}", f"batch size {size}, of what the device allows", "%", share
    prompts = nbkit.synthetic_prompts(2 * workers.world_size, mean_words=50, distribution="constant")
    batch = workers.generate(prompts, asked, batch_size=2).batches[0]
    positions, decoded = batch.prompt_tokens + batch.padding_tokens, batch.computed_tokens - len(batch.indices)
    ratio = (batch.decode_s / decoded) / (batch.prefill_s / positions)
    yield 5, "decode_position", "a position of decode", "times one of prefill", ratio


def faster(workers: nbkit.Workers, model: str) -> Iterator[Finding]:
    prompts = [f"{number}. {line}" for number, line in enumerate(nbkit.first_lines(20 * workers.world_size), start=1)]
    asked = nbkit.Settings(model=model, max_new_tokens=10, ignore_eos=True)
    steps: dict[str, dict[str, Any]] = {
        "large batches": {**nbkit.ARTICLE, "batch_size": "auto"},
        "compiled": {"split": "static", "order": "as_given"},
        "int8 weights": {"quantization": "int8"},
    }
    article = workers.generate(prompts, asked, **nbkit.ARTICLE)
    yield 6, "article", "the article's loop", "tokens/s", article.tokens_per_second
    for name, changes in steps.items():
        run = workers.generate(prompts, asked, **changes)
        times = run.tokens_per_second / article.tokens_per_second
        yield 6, name.replace(" ", "_"), name, "times the article's loop", times


def one_round(workers: nbkit.Workers, alone: nbkit.Workers, model: str) -> Iterator[Finding]:
    article = nbkit.Settings(**nbkit.ARTICLE, model=model)
    yield from hello(workers)
    yield from one_at_a_time(workers, alone, article)
    yield from batches(workers, article)
    yield from scaling(workers, article)
    yield from limits(workers, article)
    yield from faster(workers, model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=None, help="left out: one for each GPU, or 2")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out")
    options = parser.parse_args()
    path = result_path(options.out, "workshop")
    seen: dict[tuple[int, str, str, str], list[float]] = defaultdict(list)
    with nbkit.Workers(options.ranks) as workers, nbkit.Workers(1) as alone:
        ranks = describe_ranks(workers)
        for number in range(options.rounds):
            for *what, value in one_round(workers, alone, options.model):
                seen[tuple(what)].append(value)
            print(f"round {number + 1} of {options.rounds} measured", file=sys.stderr, flush=True)
    rows = [
        {
            "notebook": notebook,
            "key": key,
            "what": what,
            "median": statistics.median(values),
            "lowest": min(values),
            "highest": max(values),
            "unit": unit,
        }
        for (notebook, key, what, unit), values in seen.items()
    ]
    print_table(f"What the notebooks show here, {options.rounds} rounds", rows)
    write_result(path, QUESTION, vars(options), {"ranks": ranks, "table": rows})


if __name__ == "__main__":
    sys.exit(main())
