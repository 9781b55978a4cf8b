"""Does the simulation meet reality? Wall times that a fitted cost model foresees, against measured ones.

Settings to fit on and settings that are held out are measured in one shuffled sequence, so
that a machine that drifts is no one's advantage. The model is fitted to the former alone;
each of the latter is simulated with the schedule's own code and the lengths that its
prompts and outputs turned out to have.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from comparison import describe_ranks, print_table, result_path, write_result

import nbkit
from nbkit.analysis.cost_model import CostModel
from nbkit.analysis.what_if import Workload, simulate
from nbkit.records.engine_spec import ENGINES
from nbkit.records.settings import ARTICLE

TARGET = 0.1


@dataclass(frozen=True)
class Setting:
    """Prompts and settings, to fit on or held out."""

    name: str
    prompts: tuple[str, ...]
    asked: nbkit.Settings
    is_held_out: bool


def settings(engine: str, model: str, dtype: str, shorter: int = 1) -> list[Setting]:
    """What the model is fitted on: four batch sizes, two lengths; and five settings that differ from these.

    Of an engine in flight, two more: more new tokens than any was fitted on, and texts that end by themselves
    while others join.
    """

    def setting(name: str, n: int, words: int, held_out: bool, **asked: Any) -> Setting:
        prompts = nbkit.synthetic_prompts(n, words // shorter, "lognormal", seed=words + n)
        return Setting(name, tuple(prompts), nbkit.Settings(**{**common, **asked}), held_out)

    common = {**ARTICLE, "engine": engine, "model": model, "dtype": dtype}
    work = {"ignore_eos": True}
    chosen = [
        setting("batch size 1", 5, 20, False, batch_size=1, max_new_tokens=12, **work),
        setting("batch size 2", 8, 20, False, batch_size=2, max_new_tokens=12, **work),
        setting("batch size 4", 16, 20, False, batch_size=4, max_new_tokens=12, **work),
        setting("batch size 16", 40, 20, False, batch_size=16, max_new_tokens=12, **work),
        setting("batch size 16, longer", 24, 60, False, batch_size=16, max_new_tokens=24, **work),
        setting("batch size 8", 36, 20, True, batch_size=8, max_new_tokens=16, **work),
        setting("batch size 12, other lengths", 40, 35, True, batch_size=12, max_new_tokens=16, **work),
        setting("by length", 48, 30, True, batch_size=16, max_new_tokens=14, order="by_length", **work),
        setting(
            *("dynamic, by length, small batches", 36, 30, True),
            **(work | {"batch_size": 6, "max_new_tokens": 12, "split": "dynamic", "order": "by_length"}),
        ),
        setting("to the end of each text", 32, 20, True, batch_size=8, max_new_tokens=24),
    ]
    if ENGINES[engine].in_flight:
        chosen += [
            setting("more new tokens", 24, 20, True, batch_size=12, max_new_tokens=40, **work),
            setting("long texts, as they end", 32, 60, True, batch_size=8, max_new_tokens=48, split="dynamic"),
        ]
    return chosen


def measure(
    workers: nbkit.Workers, chosen: Sequence[Setting], counts: Sequence[int], rounds: int
) -> dict[tuple[Setting, int], list[nbkit.Run]]:
    """Every setting on every number of ranks once a round, in an order shuffled anew for each round."""
    dice = random.Random(0)
    runs: dict[tuple[Setting, int], list[nbkit.Run]] = {(s, n): [] for s in chosen for n in counts}
    for number in range(rounds):
        for setting, ranks in dice.sample(list(runs), k=len(runs)):
            run = workers.generate(list(setting.prompts), setting.asked, ranks=ranks)
            runs[setting, ranks].append(run)
        print(f"round {number + 1} of {rounds} measured", file=sys.stderr, flush=True)
    return runs


def hold_against(model: CostModel, setting: Setting, ranks: int, runs: Sequence[nbkit.Run]) -> dict[str, Any]:
    """One held-out setting: the measured wall times, the simulated one, and the error."""
    simulated_s = simulate(model, Workload.of(runs[0]), setting.asked, ranks).wall_s
    measured_s = [run.wall_s for run in runs]
    median_s = statistics.median(measured_s)
    return {
        "setting": setting.name,
        "ranks": ranks,
        "measured s": median_s,
        "lowest s": min(measured_s),
        "highest s": max(measured_s),
        "simulated s": simulated_s,
        "error %": 100 * (simulated_s / median_s - 1),
        "useful tokens/s": runs[0].total_new_tokens / median_s,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--model", default="smollm2-135m", help="short name, hub id or folder (default: smollm2-135m)"
    )
    parser.add_argument("--engine", default="batched", help="batched (the default), simple or compiled")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--shorter", type=int, default=1, help="divide the prompts' mean lengths, for a quick try")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out")
    options = parser.parse_args()
    path = result_path(options.out, "what_if" if options.engine == "batched" else f"what_if_{options.engine}")
    chosen = settings(options.engine, options.model, options.dtype, options.shorter)
    with nbkit.Workers(max(options.ranks)) as workers:
        ranks_described = describe_ranks(workers)
        warm_up = {"engine": options.engine, "model": options.model, "dtype": options.dtype, "max_new_tokens": 4}
        workers.generate(nbkit.first_lines(2 * len(ranks_described)), **warm_up)
        runs = measure(workers, chosen, options.ranks, options.rounds)
    model = CostModel.fit([run for (setting, _), own in runs.items() if not setting.is_held_out for run in own])
    rows = [hold_against(model, s, ranks, own) for (s, ranks), own in runs.items() if s.is_held_out]
    print_table("held out", rows)
    errors = [abs(row["error %"]) for row in rows]
    worst, median = max(errors), statistics.median(errors)
    print(f"\nlargest error {worst:.1f}%, median {median:.1f}%; fitted batches: {asdict(model.quality)}")
    write_result(
        path,
        "Does the simulation meet reality, on settings that the cost model was not fitted on?",
        vars(options),
        {
            "ranks": ranks_described,
            "largest_error_percent": worst,
            "median_error_percent": median,
            "held_out": rows,
            "cost_model": asdict(model),
        },
    )
    return int(worst > 100 * TARGET)


if __name__ == "__main__":
    sys.exit(main())
