"""How near does each engine's decoding come to what the device's memory allows?

A decode step has to read the weights and the cache once: bytes over the measured bandwidth
is the least time it can take, whoever does it. The engines decode the same prompts in
turns, every text to its full length; the share of the limit is of the decode steps alone,
the useful tokens per second are of the whole run. ``random_llama.py``
writes a model of Llama-2-7b's shape for it where no hub can be reached.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

from comparison import describe_ranks, in_turns, print_table, result_path, write_result

import nbkit
from nbkit.analysis import roofline
from nbkit.files.machine import package_version
from nbkit.measure import device_speed
from nbkit.models.model_shape import model_shape

CONTENDERS = ("simple", "batched:16", "batched:100", "compiled:16", "compiled:100", "continuous:16", "continuous:100")
SIMPLE_PROMPTS = 4
"""One prompt at a time takes as long for each: so many tell."""

WARM_UP_TOKENS = 8
PACKAGES = ("torch", "transformers", "accelerate", "torchao")
QUESTION = "How near does each engine's decoding come to what the device's memory allows?"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument(
        "--contenders", nargs="+", default=list(CONTENDERS), help="engine[,quantization][:batch size]"
    )
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--max-new-tokens", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", help="result file (default: benchmarks/results/decode_bound.json)")
    return parser.parse_args()


def settings_of(contender: str) -> dict[str, Any]:
    """Settings from a contender as the command line names it: ``compiled,int8:16``."""
    kind, _, size = contender.partition(":")
    engine, _, quantization = kind.partition(",")
    return {"engine": engine, "quantization": quantization or "none", "batch_size": int(size or 1)}


def rows_of(measured: list[dict[str, nbkit.Run]], speed: roofline.DeviceSpeed, model: str) -> list[dict[str, Any]]:
    shape, rows = model_shape(model), []
    for name in measured[0]:
        runs = [taken[name] for taken in measured]
        held = [roofline.of_run(run, shape, speed) for run in runs]
        steps = [1000 * sum(b.decode_s for b in run.batches) / sum(b.steps - 1 for b in run.batches) for run in runs]
        rows.append(
            {
                "contender": name,
                "useful tokens/s": statistics.median(run.total_new_tokens / run.wall_s for run in runs),
                "decoded tokens/s": statistics.median(each.tokens_per_second for each in held),
                "limit tokens/s": held[0].limit_tokens_per_second,
                "% of the limit": 100 * statistics.median(each.fraction for each in held),
                "bound": held[0].limit.bound,
                "ms a step": statistics.median(steps),
            }
        )
    return rows


def main() -> None:
    options = parse_arguments()
    path = result_path(options.out, "decode_bound")
    prompts = [f"{number}. {line}" for number, line in enumerate(nbkit.first_lines(options.prompts), start=1)]
    asked = {"model": options.model, "dtype": options.dtype}
    with nbkit.Workers(options.workers) as workers:
        speed = device_speed.measure(workers, options.dtype, refresh=True)
        print(
            f"{speed.name}, {speed.dtype}: {speed.bytes_per_s / 1e9:.0f} GB/s, {speed.flops_per_s / 1e12:.3g} TFLOP/s"
        )

        def run(settings: dict[str, Any], new_tokens: int = options.max_new_tokens) -> nbkit.Run:
            given = prompts[:SIMPLE_PROMPTS] if settings["engine"] == "simple" else prompts
            return workers.generate(given, **asked, **settings, max_new_tokens=new_tokens, ignore_eos=True)

        found = {contender: settings_of(contender) for contender in options.contenders}
        first = {name: run(settings, WARM_UP_TOKENS) for name, settings in found.items()}
        ranks = describe_ranks(workers)

        def report(measured: list[dict[str, nbkit.Run]]) -> None:
            """After each round: what is measured is kept, whatever becomes of the next."""
            rows = rows_of(measured, speed, options.model)
            for row in rows:
                row["s compiling, once"] = sum(batch.compile_s for batch in first[row["contender"]].batches)
            print_table(f"{len(prompts)} prompts, {options.max_new_tokens} new tokens each", rows)
            findings = {
                "ranks": ranks,
                "speed_of_a_rank": {"GB_per_s": speed.bytes_per_s / 1e9, "TFLOP_per_s": speed.flops_per_s / 1e12},
                "versions": {name: package_version(name) for name in PACKAGES},
                "table": rows,
                "wall_s": [{name: run.wall_s for name, run in taken.items()} for taken in measured],
            }
            write_result(path, QUESTION, vars(options), findings)

        in_turns({n: (lambda s=settings: run(s)) for n, settings in found.items()}, options.rounds, report)


if __name__ == "__main__":
    sys.exit(main())
