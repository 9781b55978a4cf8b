"""How near does each engine's decoding come to what the device's memory allows?

A decode step has to read the weights and the cache once: bytes over the measured bandwidth
is the least time it can take, whoever does it. The engines decode the same prompts in
turns, every text to its full length; the share of the limit is of the decode steps alone,
the useful tokens per second are of the whole run. ``static`` is transformers' own ``generate`` with a
static cache, which has no steps to tell of. A contender that refuses or fails is named with its
reason, and the others go on. ``random_llama.py`` writes a model of Llama-2-7b's shape for it where
no hub can be reached.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from typing import Any

from comparison import describe_ranks, in_turns, print_table, result_path, write_result

import nbkit
from nbkit.analysis import roofline
from nbkit.analysis.decode_speed import DecodeSpeed
from nbkit.errors import first_line
from nbkit.files.machine import package_version
from nbkit.measure import device_speed
from nbkit.measure.plain_generate import PlainRun, plain_generate_on_rank
from nbkit.models.model_shape import model_shape

STATIC = "static"
CONTENDERS = (
    *("simple", "batched:16", "batched:100", "compiled:16", "compiled:100", "continuous:16", "continuous:100"),
    *("static:16", "static:100"),
)
SIMPLE_PROMPTS = 4
"""One prompt at a time takes as long for each: so many tell."""

WARM_UP_TOKENS = 8
PACKAGES = ("torch", "transformers", "accelerate", "torchao")
QUESTION = "How near does each engine's decoding come to what the device's memory allows?"

Taken = nbkit.Run | PlainRun


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument(
        "--contenders", nargs="+", default=list(CONTENDERS), help="engine[,quantization][:batch size], or static:size"
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


def rows_of(measured: list[dict[str, Taken]], speed: roofline.DeviceSpeed, model: str) -> list[dict[str, Any]]:
    """A row for each contender that has come through so far; a static one has no steps to tell of."""
    if not measured[0]:
        return []
    shape = model_shape(model)
    return [_row(name, [taken[name] for taken in measured], shape, speed) for name in measured[0]]


def _row(name: str, runs: list[Taken], shape: Any, speed: roofline.DeviceSpeed) -> dict[str, Any]:
    row: dict[str, Any] = {
        "contender": name,
        "useful tokens/s": statistics.median(run.tokens_per_second for run in runs),
    }
    found = [DecodeSpeed.of(run, shape, speed) for run in runs if isinstance(run, nbkit.Run)]
    untold = {"decoded tokens/s": "", "limit tokens/s": "", "% of the limit": "", "bound": "", "ms a step": ""}
    if not found:
        return row | untold
    return row | {
        "decoded tokens/s": statistics.median(each.decoded_tokens_per_s for each in found),
        "limit tokens/s": found[0].limit_tokens_per_s,
        "% of the limit": 100 * statistics.median(each.limit_share for each in found),
        "bound": found[0].bound,
        "ms a step": 1000 * statistics.median(each.step_s for each in found),
    }


class Contenders:
    """What is measured; one that raises is out, with its reason in ``refused``, and the others go on."""

    def __init__(self, workers: nbkit.Workers, options: argparse.Namespace) -> None:
        self._workers = workers
        self._options = options
        self._prompts = [
            f"{number}. {line}" for number, line in enumerate(nbkit.first_lines(options.prompts), start=1)
        ]
        self.compile_s: dict[str, float] = {}
        self.refused: dict[str, str] = {}
        for name in options.contenders:
            self.attempt(name, self.warm_up)

    @property
    def left(self) -> list[str]:
        """Those that have not refused."""
        return [name for name in self._options.contenders if name not in self.refused]

    def attempt(self, name: str, do: Callable[[str], Any]) -> Any:
        """What ``do`` makes of a contender; None if it raises, which is told at once, or has done so before."""
        if name in self.refused:
            return None
        try:
            return do(name)
        except Exception as error:
            self.refused[name] = f"{type(error).__name__}: {first_line(error)}"
            print(f"{name}: {self.refused[name]}", file=sys.stderr, flush=True)
            return None

    def warm_up(self, name: str) -> None:
        """Compile and capture what the timed runs need; transformers' generate does so before each of its own."""
        settings = settings_of(name)
        if settings["engine"] != STATIC:
            first = self._generate(settings, WARM_UP_TOKENS)
            self.compile_s[name] = sum(batch.compile_s for batch in first.batches)

    def run(self, name: str) -> Taken:
        """A whole run."""
        settings = settings_of(name)
        if settings["engine"] != STATIC:
            return self._generate(settings, self._options.max_new_tokens)
        asked = (self._options.model, self._options.dtype, self._prompts, self._options.max_new_tokens)
        # On one rank: transformers has no schedule for more.
        [taken] = self._workers.on(0).run(
            plain_generate_on_rank, *asked, settings["batch_size"], self._options.max_new_tokens
        )
        self.compile_s.setdefault(name, taken.first_call_s)
        return taken

    def _generate(self, settings: dict[str, Any], new_tokens: int) -> nbkit.Run:
        given = self._prompts[:SIMPLE_PROMPTS] if settings["engine"] == "simple" else self._prompts
        asked = {"model": self._options.model, "dtype": self._options.dtype, **settings}
        return self._workers.generate(given, **asked, max_new_tokens=new_tokens, ignore_eos=True)


def main() -> None:
    options = parse_arguments()
    path = result_path(options.out, "decode_bound")
    with nbkit.Workers(options.workers) as workers:
        speed = device_speed.measure(workers, options.dtype, refresh=True)
        print(
            f"{speed.name}, {speed.dtype}: {speed.bytes_per_s / 1e9:.0f} GB/s, {speed.flops_per_s / 1e12:.3g} TFLOP/s"
        )
        found = Contenders(workers, options)
        ranks = describe_ranks(workers)

        def report(measured: list[dict[str, Taken | None]]) -> None:
            """After each round: what is measured is kept, whatever becomes of the next."""
            sound = [{name: run for name, run in taken.items() if name in found.left} for taken in measured]
            rows = rows_of(sound, speed, options.model)
            for row in rows:
                row["s compiling, once"] = found.compile_s[row["contender"]]
            if rows:
                print_table(f"{options.prompts} prompts, {options.max_new_tokens} new tokens each", rows)
            for name, reason in found.refused.items():
                print(f"{name}: {reason}")
            findings = {
                "ranks": ranks,
                "speed_of_a_rank": {"GB_per_s": speed.bytes_per_s / 1e9, "TFLOP_per_s": speed.flops_per_s / 1e12},
                "versions": {name: package_version(name) for name in PACKAGES},
                "table": rows,
                "refused": found.refused,
                "wall_s": [{name: run.wall_s for name, run in taken.items()} for taken in sound],
            }
            write_result(path, QUESTION, vars(options), findings)

        turns = {name: (lambda n=name: found.attempt(n, found.run)) for name in found.left}
        in_turns(turns, options.rounds, report)


if __name__ == "__main__":
    sys.exit(main())
