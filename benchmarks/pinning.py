"""Is a rank faster when its threads are tied to its own cores?

The same live ranks generate with their threads free, as the kit leaves them, and with every
thread of a rank pinned to the rank's share of the cores, in turns. Linux only.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from functools import partial
from typing import Any

from comparison import compare, describe_ranks, in_turns, print_table, result_path, write_result

import nbkit
from nbkit.records.settings import ARTICLE

ENGINES: dict[str, dict[str, Any]] = {"the article's batches": ARTICLE, "the default": {}}
FREE, PINNED = "free", "pinned"


def pin_on_rank(cores: list[int], pinned: bool) -> list[int]:
    """Let the rank's threads run on all cores, or on its share only; the cores that it has then."""
    from accelerate import Accelerator

    accelerator = Accelerator()
    share = cores[accelerator.process_index :: accelerator.num_processes] if pinned else cores
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), share)
    return sorted(os.sched_getaffinity(0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--max-new-tokens", type=int, default=30)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--out")
    options = parser.parse_args()
    path = result_path(options.out, "pinning")
    cores = sorted(os.sched_getaffinity(0))
    prompts = nbkit.first_lines(options.prompts)
    common = {"model": options.model, "dtype": options.dtype, "ignore_eos": True}
    with nbkit.Workers(options.ranks) as workers:
        ranks = describe_ranks(workers)
        had = {where: workers.run(pin_on_rank, cores, where == PINNED) for where in (PINNED, FREE)}

        def generate(choice: dict[str, Any], where: str) -> float:
            workers.run(pin_on_rank, cores, where == PINNED)
            return workers.generate(prompts, max_new_tokens=options.max_new_tokens, **common | choice).wall_s

        for choice in ENGINES.values():
            workers.generate(prompts, max_new_tokens=2, **common | choice)
        contenders = {
            (engine, where): partial(generate, choice, where)
            for engine, choice in ENGINES.items()
            for where in (FREE, PINNED)
        }
        measured = in_turns(
            {f"{engine}, {where}": run for (engine, where), run in contenders.items()}, options.rounds
        )
    rows = []
    for engine in ENGINES:
        free_s, pinned_s = ([taken[f"{engine}, {where}"] for taken in measured] for where in (FREE, PINNED))
        pairs = [free / pinned for free, pinned in zip(free_s, pinned_s, strict=True)]
        rows.append(
            {
                "engine": engine,
                "free, median s": statistics.median(free_s),
                "pinned, median s": statistics.median(pinned_s),
                "free s / pinned s": compare(free_s, pinned_s)["median_of_pairwise_ratios"],
                "least of pairs": min(pairs),
                "most of pairs": max(pairs),
            }
        )
    print_table(f"{len(prompts)} prompts, {options.max_new_tokens} new tokens each", rows)
    write_result(
        path,
        "Is a rank faster when its threads are tied to its own cores?",
        vars(options),
        {"ranks": ranks, "cores_of_ranks": had, "table": rows, "seconds": measured},
    )


if __name__ == "__main__":
    sys.exit(main())
