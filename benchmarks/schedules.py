"""What do schedules bring on uneven work? Prompts of long-tailed lengths, texts that end early.

On the same ranks in turns: the article's static split, the order by length, the dynamic
split, both, and the kit's default engine, which lets prompts join as sequences end. All
generate the same texts (checked). Then the same workload, repeated, is simulated on more
ranks with the cost model that was fitted to these very runs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from functools import partial
from typing import Any

import numpy as np
from comparison import compare, describe_ranks, in_turns, print_table, result_path, write_result

import nbkit
from nbkit.analysis.cost_model import CostModel
from nbkit.analysis.what_if import Workload, simulate
from nbkit.records.settings import ARTICLE

STATIC = "static, as given (the article's)"
BOTH = "dynamic, by length"
SCHEDULES: dict[str, dict[str, Any]] = {
    STATIC: {},
    "static, by length": {"order": "by_length"},
    "dynamic, as given": {"split": "dynamic"},
    BOTH: {"split": "dynamic", "order": "by_length"},
}
DEFAULT = "the default: compiled, dynamic, by length"
SIMULATED_RANKS = (2, 8, 64)


def prompts_of(count: int, words: int) -> list[str]:
    """Prompts whose lengths are lognormal: most are short, a few many times as long."""
    return nbkit.synthetic_prompts(count, words, "lognormal", seed=1)


def simulated(
    model: CostModel, run: nbkit.Run, asked: dict[str, nbkit.Settings], copies: int
) -> list[dict[str, Any]]:
    """Wall times on more ranks; the workload is repeated ``copies`` times a rank, so that all have as much to do."""
    measured = Workload.of(run)
    rows = []
    for ranks in SIMULATED_RANKS:
        times = copies * ranks
        workload = Workload(np.tile(measured.prompt_tokens, times), np.tile(measured.new_tokens, times))
        walls = {name: simulate(model, workload, settings, ranks).wall_s for name, settings in asked.items()}
        rows += [
            {
                "ranks": ranks,
                "prompts": len(workload),
                "schedule": name,
                "simulated s": wall_s,
                "times the static": walls[STATIC] / wall_s,
            }
            for name, wall_s in walls.items()
        ]
    return rows


def rows_of(measured: list[dict[str, nbkit.Run]]) -> list[dict[str, Any]]:
    """One row a schedule."""
    expected = measured[0][STATIC].outputs
    static_s = [taken[STATIC].wall_s for taken in measured]
    rows = []
    for name, run in measured[0].items():
        seconds = [taken[name].wall_s for taken in measured]
        rows.append(
            {
                "schedule": name,
                "wall, median s": statistics.median(seconds),
                "useful tokens/s": run.total_new_tokens / statistics.median(seconds),
                "computed tokens": run.total_computed_tokens,
                "padding %": 100 * run.padding_share,
                "times the static": compare(static_s, seconds)["median_of_pairwise_ratios"],
                "texts that differ": sum(a != b for a, b in zip(run.outputs, expected, strict=True)),
            }
        )
    return rows


def lengths_in_words(run: nbkit.Run) -> str:
    """How long the prompts and the texts turned out to be."""
    read, made = run.prompt_tokens, run.new_tokens
    return (
        f"{len(read)} prompts of {min(read)} to {max(read)} tokens (median {statistics.median(read):.0f}), "
        f"{min(made)} to {max(made)} new tokens (median {statistics.median(made):.0f})"
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=96)
    parser.add_argument("--words", type=int, default=40, help="mean length of a prompt")
    parser.add_argument("--max-new-tokens", type=int, default=40)
    parser.add_argument(
        "--model", default="smollm2-135m", help="short name, hub id or folder (default: smollm2-135m)"
    )
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    path = result_path(options.out, "schedules")
    listed = prompts_of(options.prompts, options.words)
    common = {"model": options.model, "dtype": options.dtype, "max_new_tokens": options.max_new_tokens}
    common["stop"] = [".", ",", "\n"]
    asked = {name: nbkit.Settings(**{**ARTICLE, **common, **choice}) for name, choice in SCHEDULES.items()}
    every = {**asked, DEFAULT: nbkit.Settings(**common)}
    with nbkit.Workers(options.ranks) as workers:
        ranks = describe_ranks(workers)
        for settings in every.values():
            workers.generate(listed[: 8 * options.ranks], settings, max_new_tokens=2)
        measured = in_turns({n: partial(workers.generate, listed, s) for n, s in every.items()}, options.rounds)
    rows, static = rows_of(measured), measured[0][STATIC]
    print_table(lengths_in_words(static), rows)
    model = CostModel.fit([taken[name] for taken in measured for name in asked])
    forecast = simulated(model, static, asked, copies=1)
    print_table("simulated, every rank with as much work", forecast)
    findings = {
        "ranks": ranks,
        "prompt_tokens": static.prompt_tokens,
        "new_tokens": static.new_tokens,
        "table": rows,
        "simulated": forecast,
        "seconds": [{name: run.wall_s for name, run in taken.items()} for taken in measured],
    }
    write_result(path, "What do schedules bring on uneven work?", vars(options), findings)


if __name__ == "__main__":
    sys.exit(main())
