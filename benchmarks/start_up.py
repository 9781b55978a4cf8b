"""What does it cost to start, and what do live workers save?

Three measurements, each on the clock that all processes of a machine share:

round_trip    an empty job through live workers, from the call to the ranks' values
first_batch   from asking for a generation until every rank begins its first batch: on
              live workers with the model loaded, against a fresh launch each time (new
              Python, imports, accelerate's notebook_launcher, model load in each rank),
              and against the launcher and the load alone in a process that has imported
ready         from nbkit.Workers(n) until its ranks are up, against one plain process
              that imports the same packages
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from typing import Any

import fresh_launch
from comparison import compare, describe_ranks, in_turns, percentile, print_table, result_path, write_result

import nbkit
from nbkit.inference.generation import ShareBegun

MEASUREMENTS = ("round_trip", "first_batch", "ready")
PLAIN_IMPORTS = """
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
import transformers.models.llama.modeling_llama
from accelerate import Accelerator
import time
print(time.monotonic())
"""


def empty() -> None:
    """The job that does nothing."""


def measure_round_trips(workers: nbkit.Workers, jobs: int) -> dict[str, Any]:
    """Milliseconds of each of ``jobs`` empty jobs, one after another."""
    workers.run(empty)
    taken_ms = []
    for _ in range(jobs):
        began_s = time.monotonic()
        workers.run(empty)
        taken_ms.append(1000 * (time.monotonic() - began_s))
    return {
        "median_ms": statistics.median(taken_ms),
        "p95_ms": percentile(taken_ms, 95),
        "max_ms": max(taken_ms),
        "each_ms": taken_ms,
    }


def live_first_batch_s(workers: nbkit.Workers, options: argparse.Namespace) -> float:
    """Seconds from the call until the last rank begins its first batch, the model being there."""
    called_s = time.monotonic()
    job = workers.submit_generate(
        nbkit.first_lines(options.prompts), model=options.model, dtype=options.dtype, max_new_tokens=1
    )
    job.result()
    begun = [event.value for event in job.emitted() if isinstance(event.value, ShareBegun)]
    if any(share.load_s for share in begun):
        sys.exit("a rank loaded the model anew: this is not what live workers are measured for.")
    # The events count from the job's submission, a little after the call.
    return job.submitted + max(share.begin_s for share in begun) - called_s


def fresh_first_batch_s(processes: int, options: argparse.Namespace) -> dict[str, float]:
    """Seconds until a fresh launch could begin its first batch: from the new process's start, and from the call."""
    script = [sys.executable, fresh_launch.__file__, str(processes), options.model, options.dtype]
    # notebook_launcher leaves files in the temporary folder; here they go with it.
    with tempfile.TemporaryDirectory(prefix="nbkit-fresh-") as scratch:
        environment = {**os.environ, "TMPDIR": scratch}
        started_s = time.monotonic()
        launched = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    printed = [line for line in launched.stdout.splitlines() if line.startswith(fresh_launch.MARK)]
    if launched.returncode != 0 or not printed:
        sys.exit(f"the fresh launch failed (exit code {launched.returncode}):\n{launched.stderr[-2000:]}")
    moments = json.loads(printed[0].removeprefix(fresh_launch.MARK))
    if moments["processes"] != processes:
        sys.exit(f"the fresh launch has {moments['processes']} ranks in its group, not {processes}.")
    return {
        "from_process_start_s": moments["first_batch_s"] - started_s,
        "from_launcher_call_s": moments["first_batch_s"] - moments["called_s"],
    }


def measure_first_batch(workers: nbkit.Workers, options: argparse.Namespace) -> dict[str, Any]:
    """Fresh launches and live jobs in turns, and how many times longer the fresh ones take."""
    loading = {"model": options.model, "dtype": options.dtype, "max_new_tokens": 1}
    workers.generate(nbkit.first_lines(options.prompts), **loading)

    def fresh() -> dict[str, Any]:
        return fresh_first_batch_s(workers.world_size, options)

    def live() -> dict[str, Any]:
        each_s = [live_first_batch_s(workers, options) for _ in range(options.live_jobs)]
        return {"median_s": statistics.median(each_s), "each_s": each_s}

    rounds = in_turns({"fresh": fresh, "live": live}, options.launches)
    live_s = [one["live"]["median_s"] for one in rounds]
    from_start_s = [one["fresh"]["from_process_start_s"] for one in rounds]
    from_call_s = [one["fresh"]["from_launcher_call_s"] for one in rounds]
    return {
        "live_median_s": statistics.median(live_s),
        "fresh_from_process_start_median_s": statistics.median(from_start_s),
        "fresh_from_launcher_call_median_s": statistics.median(from_call_s),
        "fresh_from_process_start_over_live": compare(from_start_s, live_s),
        "fresh_from_launcher_call_over_live": compare(from_call_s, live_s),
        "rounds": rounds,
    }


def ready_s(n: int) -> float:
    """Seconds from making ``n`` workers until their ranks are up."""
    began_s = time.monotonic()
    workers = nbkit.Workers(n)
    try:
        workers.wait_until_ready()
        return time.monotonic() - began_s
    finally:
        workers.close()


def plain_import_s() -> float:
    """Seconds from starting one plain Python until it has imported what a rank needs."""
    began_s = time.monotonic()
    imported = subprocess.run([sys.executable, "-c", PLAIN_IMPORTS], capture_output=True, text=True, check=True)
    return float(imported.stdout.split()[-1]) - began_s


def measure_ready(counts: list[int], rounds: int) -> dict[str, Any]:
    """Workers of each count and a plain import, in turns."""
    # Before the first timed start, files that all of them read are in the system's cache.
    plain_import_s()
    contenders = {"plain import": plain_import_s} | {f"{n} workers": partial(ready_s, n) for n in counts}
    measured = in_turns(contenders, rounds)
    plain_s = [one["plain import"] for one in measured]
    by_name = {name: [one[name] for one in measured] for name in contenders}
    return {
        "medians_s": {name: statistics.median(taken_s) for name, taken_s in by_name.items()},
        "workers_over_plain_import": {name: compare(taken_s, plain_s) for name, taken_s in by_name.items()},
        "rounds_s": measured,
    }


def table_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a quantity, with its unit and what it is compared with."""
    rows = []
    if trips := found.get("round_trip"):
        rows += [
            _row("empty job through live workers, median", trips["median_ms"], "ms"),
            _row("empty job through live workers, p95", trips["p95_ms"], "ms"),
        ]
    if first := found.get("first_batch"):
        from_start, from_call = "fresh_from_process_start", "fresh_from_launcher_call"
        rows += [
            _row("first batch on live workers", 1000 * first["live_median_s"], "ms"),
            _row(
                "first batch, new process",
                first[f"{from_start}_median_s"],
                "s",
                first[f"{from_start}_over_live"],
                "live workers",
            ),
            _row(
                "first batch, launcher alone",
                first[f"{from_call}_median_s"],
                "s",
                first[f"{from_call}_over_live"],
                "live workers",
            ),
        ]
    if ready := found.get("ready"):
        rows += [
            _row(f"ready: {name}", taken_s, "s", ready["workers_over_plain_import"][name], "plain import")
            for name, taken_s in ready["medians_s"].items()
        ]
    return rows


def _row(
    what: str, median: float, unit: str, ratios: dict[str, float] | None = None, against: str = ""
) -> dict[str, Any]:
    return {
        "what": what,
        "median": median,
        "unit": unit,
        "times what": against,
        "ratio of medians": ratios["ratio_of_medians"] if ratios else "",
        "median of pairwise ratios": ratios["median_of_pairwise_ratios"] if ratios else "",
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS))
    parser.add_argument("--workers", type=int, help="ranks for the first two; left out: what nbkit.Workers() takes")
    parser.add_argument("--jobs", type=int, default=500, help="empty jobs, at least 2 (default: 500)")
    parser.add_argument("--launches", type=int, default=7, help="fresh launches (default: 7)")
    parser.add_argument("--live-jobs", type=int, default=5, help="live generations a fresh launch (default: 5)")
    parser.add_argument("--prompts", type=int, default=100, help="prompts of a live generation (default: 100)")
    parser.add_argument(
        "--model", default="smollm2-135m", help="short name, hub id or folder (default: smollm2-135m)"
    )
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float16 (default: auto)")
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[1, 2, 4], help="workers to get ready (default: 1 2 4)"
    )
    parser.add_argument("--rounds", type=int, default=7, help="starts of each count (default: 7)")
    parser.add_argument("--out", help="result file (default: benchmarks/results/start_up.json)")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    path = result_path(options.out, "start_up")
    found: dict[str, Any] = {}
    if set(options.measure) & {"round_trip", "first_batch"}:
        with nbkit.Workers(options.workers) as workers:
            found["ranks"] = describe_ranks(workers)
            if "round_trip" in options.measure:
                found["round_trip"] = measure_round_trips(workers, options.jobs)
            if "first_batch" in options.measure:
                found["first_batch"] = measure_first_batch(workers, options)
    if "ready" in options.measure:
        found["ready"] = measure_ready(options.counts, options.rounds)
    print_table("Start-up, medians", table_rows(found))
    write_result(path, (__doc__ or "").splitlines()[0], vars(options), found)


if __name__ == "__main__":
    main()
