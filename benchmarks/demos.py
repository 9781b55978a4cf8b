"""Is the kit at least as fast as the article's own loop?

On the same live workers, in turns: the loops in ``article_loops`` and the kit's engines,
with the same model, dtype, device, threads, prompts and exactly as many new tokens for
every prompt. Loading is excluded on both sides. Wall time runs from the barrier after the
load to the end of the gather, from the first rank's begin to the last rank's end. Before
anything is timed, both must give the same texts in float32.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import article_loops
from comparison import compare, describe_ranks, in_turns, print_table, result_path, write_result

import nbkit
from nbkit.prompts import FIRST_LINES
from nbkit.records.settings import ARTICLE

WARM_UP_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Work:
    """What both contenders are given."""

    engine: str
    model: str
    dtype: str
    prompts: list[str]
    max_new_tokens: int
    batch_size: int

    @property
    def new_tokens(self) -> int:
        """Tokens that must come out: end of sequence is off, so exactly as many as asked for."""
        return len(self.prompts) * self.max_new_tokens


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of a contender. Useful tokens are what users get, computed ones what devices decoded."""

    wall_s: float
    useful_tokens: int
    computed_tokens: int
    outputs: list[str]

    def as_json(self) -> dict[str, float]:
        """The numbers, without the texts."""
        return {
            "wall_s": self.wall_s,
            "useful_tokens": self.useful_tokens,
            "computed_tokens": self.computed_tokens,
            "useful_tokens_per_s": self.useful_tokens / self.wall_s,
            "computed_tokens_per_s": self.computed_tokens / self.wall_s,
        }


def measure_article(workers: nbkit.Workers, work: Work) -> Measurement:
    """One run of the article's loop."""
    timings: list[article_loops.RankTiming] = workers.run(
        article_loops.timed_on_rank,
        work.engine,
        work.model,
        work.dtype,
        work.prompts,
        work.max_new_tokens,
        work.batch_size,
    )
    return Measurement(
        wall_s=max(t.end_s for t in timings) - min(t.begin_s for t in timings),
        # The loop cannot tell the two apart: it counts every position it generated.
        useful_tokens=timings[0].num_tokens,
        computed_tokens=timings[0].num_tokens,
        outputs=timings[0].outputs,
    )


def measure_kit(workers: nbkit.Workers, work: Work) -> Measurement:
    """One run of the kit's engine."""
    run = workers.generate(
        work.prompts,
        engine=work.engine,
        model=work.model,
        dtype=work.dtype,
        max_new_tokens=work.max_new_tokens,
        batch_size=work.batch_size,
        split=ARTICLE["split"],
        order=ARTICLE["order"],
        pad_to_multiple_of=article_loops.PAD_TO_MULTIPLE_OF,
        ignore_eos=True,
    )
    return Measurement(
        wall_s=run.wall_s,
        useful_tokens=run.total_new_tokens,
        computed_tokens=run.total_computed_tokens,
        outputs=[output or "" for output in run.outputs],
    )


CONTENDERS: dict[str, Callable[[nbkit.Workers, Work], Measurement]] = {"kit": measure_kit, "article": measure_article}


def check_equal_work(name: str, measurement: Measurement, work: Work) -> None:
    """End the benchmark if a contender did less, or more, than it was given."""
    if not measurement.useful_tokens == measurement.computed_tokens == work.new_tokens:
        sys.exit(
            f"{name}, {work.engine}: {measurement.useful_tokens} useful and {measurement.computed_tokens} computed "
            f"tokens, but the work is {work.new_tokens}: the times cannot be compared."
        )


def check_same_texts(workers: nbkit.Workers, work: Work) -> None:
    """End the benchmark if the contenders do not give the same texts in float32."""
    # The prompts repeat after these, and so would the texts.
    exact = dataclasses.replace(work, dtype="float32", prompts=work.prompts[: len(FIRST_LINES)])
    outputs = {}
    for name, measure in CONTENDERS.items():
        measurement = measure(workers, exact)
        check_equal_work(name, measurement, exact)
        outputs[name] = measurement.outputs
    for index, (kit, article) in enumerate(zip(outputs["kit"], outputs["article"], strict=True)):
        if kit != article:
            sys.exit(
                f"{work.engine}, float32: the texts of prompt {index} differ, so the work is not the same.\n"
                f"kit:     {kit!r}\narticle: {article!r}"
            )
    print(f"{work.engine}: {len(exact.prompts)} texts are the same in float32", file=sys.stderr)


def measure_engine(workers: nbkit.Workers, work: Work, pairs: int) -> dict[str, Any]:
    """Check, warm up, and measure the pairs of one engine."""
    check_same_texts(workers, work)
    for measure in CONTENDERS.values():
        measure(workers, dataclasses.replace(work, max_new_tokens=min(WARM_UP_TOKENS, work.max_new_tokens)))
    measured = in_turns({name: partial(measure, workers, work) for name, measure in CONTENDERS.items()}, pairs)
    for pair in measured:
        for name, measurement in pair.items():
            check_equal_work(name, measurement, work)
    article, kit = ([pair[name].wall_s for pair in measured] for name in ("article", "kit"))
    return {
        "medians": {name: _medians([pair[name].as_json() for pair in measured]) for name in CONTENDERS},
        "article_wall_over_kit_wall": compare(article, kit),
        "texts_checked_in_float32": min(len(work.prompts), len(FIRST_LINES)),
        "same_texts_in_pairs": [_same_texts(pair["kit"], pair["article"]) for pair in measured],
        "pairs": [{name: m.as_json() for name, m in pair.items()} for pair in measured],
    }


def _medians(measurements: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(m[key] for m in measurements) for key in measurements[0]}


def _same_texts(one: Measurement, other: Measurement) -> int:
    return sum(a == b for a, b in zip(one.outputs, other.outputs, strict=True))


def table_rows(engines: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a contender and engine."""
    return [
        {
            "engine": engine,
            "contender": name,
            "wall, median s": found["medians"][name]["wall_s"],
            "useful tokens/s": found["medians"][name]["useful_tokens_per_s"],
            "computed tokens/s": found["medians"][name]["computed_tokens_per_s"],
            "article s / kit s, of medians": found["article_wall_over_kit_wall"]["ratio_of_medians"],
            "article s / kit s, median of pairs": found["article_wall_over_kit_wall"]["median_of_pairwise_ratios"],
        }
        for engine, found in engines.items()
        for name in CONTENDERS
    ]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, help="ranks; left out: what nbkit.Workers() takes")
    parser.add_argument("--prompts", type=int, default=100, help="how many prompts (default: 100)")
    parser.add_argument("--max-new-tokens", type=int, default=100, help="new tokens for each prompt (default: 100)")
    parser.add_argument("--batch-size", type=int, default=16, help="prompts a batch (default: 16)")
    parser.add_argument(
        "--model", default="smollm2-135m", help="short name, hub id or folder (default: smollm2-135m)"
    )
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float16 (default: auto)")
    parser.add_argument("--pairs", type=int, default=5, help="A B pairs of each engine (default: 5)")
    parser.add_argument("--engine", choices=["simple", "batched", "both"], default="both")
    parser.add_argument("--out", help="result file (default: benchmarks/results/demos.json)")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    path = result_path(options.out, "demos")
    engines = ["simple", "batched"] if options.engine == "both" else [options.engine]
    prompts = nbkit.first_lines(options.prompts)
    found = {}
    with nbkit.Workers(options.workers) as workers:
        ranks = describe_ranks(workers)
        for engine in engines:
            work = Work(engine, options.model, options.dtype, prompts, options.max_new_tokens, options.batch_size)
            found[engine] = measure_engine(workers, work, options.pairs)
    print_table(f"The kit against the article's loops, {len(ranks)} workers, medians", table_rows(found))
    write_result(path, (__doc__ or "").splitlines()[0], vars(options), {"ranks": ranks, "engines": found})


if __name__ == "__main__":
    main()
