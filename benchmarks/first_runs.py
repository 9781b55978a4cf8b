"""Is the very first run of a fresh process as fast as the second?

Each engine in ranks that have just been started, the same prompts three times; the engines
in turns, so that what else the machine does meets all of them alike. How far the third run
is from the second is the machine's noise. ``--cold`` leaves what is paid once in the run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

from comparison import in_turns, print_table, result_path, write_result

import nbkit
from nbkit.files.machine import package_version

ENGINES = ("simple", "batched", "compiled", "continuous", "openvino")
SIMPLE_PROMPTS = 4
QUESTION = "Is the very first run of a fresh process as fast as the second?"


def runs_of(engine: str, options: argparse.Namespace) -> list[nbkit.Run]:
    """Three runs by ranks that were started for them."""
    prompts = nbkit.first_lines(SIMPLE_PROMPTS if engine == "simple" else options.prompts)
    asked = {"model": options.model, "dtype": options.dtype, "max_new_tokens": options.max_new_tokens}
    with nbkit.Workers(1) as fresh:
        return [
            fresh.generate(prompts, engine=engine, ignore_eos=True, warm_up=not options.cold, **asked)
            for _ in range(3)
        ]


def row_of(engine: str, measured: list[dict[str, list[nbkit.Run]]]) -> dict[str, Any]:
    rounds = [taken[engine] for taken in measured]
    first, second = (statistics.median(runs[i].tokens_per_second for runs in rounds) for i in (0, 1))
    return {
        "engine": engine,
        "first, tokens/s": first,
        "second, tokens/s": second,
        "first / second": statistics.median(a.tokens_per_second / b.tokens_per_second for a, b, _ in rounds),
        "third / second": statistics.median(c.tokens_per_second / b.tokens_per_second for _, b, c in rounds),
        "paid once, s": statistics.median(runs[0].warm_up_s for runs in rounds),
        "paid again, s": statistics.median(runs[1].warm_up_s for runs in rounds),
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--processes", type=int, default=5, help="fresh ones for each engine")
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    parser.add_argument("--cold", action="store_true", help="leave what is paid once in the run")
    parser.add_argument("--out", help="result file (default: benchmarks/results/first_runs.json)")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    path = result_path(options.out, "first_runs")
    here = [name for name in options.engines if name != "openvino" or package_version("openvino-genai")]
    measured = in_turns({name: (lambda e=name: runs_of(e, options)) for name in here}, options.processes)
    rows = [row_of(name, measured) for name in here]
    print_table(f"medians over {options.processes} fresh processes", rows)
    rates = [{name: [run.tokens_per_second for run in taken[name]] for name in here} for taken in measured]
    write_result(path, QUESTION, vars(options), {"table": rows, "tokens_per_s": rates})


if __name__ == "__main__":
    sys.exit(main())
