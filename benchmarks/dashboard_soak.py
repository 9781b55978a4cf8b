"""Does a dashboard leak? A cell run again and again, and many runs, in one real kernel.

Counted after each round of runs: processes below the kernel, its threads, its open comms
(widgets), and its memory (USS). The dashboard's history is filled first: it keeps its
newest 20 runs, and what it keeps it may cost.
"""

from __future__ import annotations

import argparse
import statistics

import psutil
from comparison import print_table, result_path, write_result
from kernel import GIVE, Kernel

CELL = """
from nbkit import dashboards
explore = dashboards.Explore(workers, model="tiny-random", max_new_tokens=8, batch_size=4)
explore
"""
WAIT = """
import time
def wait(explore):
    while explore.is_busy:
        time.sleep(0.01)
wait(explore)
"""
RUNS = """
for _ in range({runs}):
    explore.run()
    wait(explore)
assert len(explore.runs) == {kept}, len(explore.runs)
"""
RUNS_A_ROUND = 25
COUNT = """
import gc, threading
gc.collect()
give({"threads": threading.active_count(), "comms": len(get_ipython().kernel.comm_manager.comms)})
"""


def count(kernel: Kernel, after: str) -> dict[str, object]:
    """What the kernel holds now."""
    inside = kernel.run(COUNT)
    process = psutil.Process(kernel.pid)
    return {
        "after": after,
        "processes": len(process.children(recursive=True)),
        **inside,
        "memory_MB": round(process.memory_full_info().uss / 1e6, 1),
    }


def memory_growth(counts: list[dict[str, object]]) -> float | None:
    """MB a round of runs, once the history is full; None of fewer than two rounds after that."""
    full = [float(str(each["memory_MB"])) for each in counts if str(each["after"]).endswith(" runs")][1:]
    return round(statistics.linear_regression(range(len(full)), full).slope, 3) if len(full) > 1 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell-runs", type=int, default=20)
    parser.add_argument("--runs", type=int, default=200, help="in rounds of 25 (default: 200)")
    parser.add_argument("--out")
    options = parser.parse_args()
    path = result_path(options.out, "dashboard_soak")
    counts = []
    with Kernel() as kernel:
        kernel.run(GIVE + "import nbkit\nworkers = nbkit.Workers()\nworkers.wait_until_ready()")
        for number in range(1, options.cell_runs + 1):
            kernel.run(CELL, cell="the-cell")
            kernel.run(WAIT)
            if number in (1, 2) or number % 5 == 0:
                counts.append(count(kernel, f"cell run {number} times"))
        for done in range(RUNS_A_ROUND, options.runs + 1, RUNS_A_ROUND):
            kernel.run(RUNS.format(runs=RUNS_A_ROUND, kept=min(20, done)))
            counts.append(count(kernel, f"{done} runs"))
        kernel.run("explore.close()")
        counts.append(count(kernel, "dashboard closed"))
    print_table("What the kernel holds", counts)
    findings = {"counts": counts, "memory_growth_MB_per_25_runs_after_the_first_25": memory_growth(counts)}
    write_result(path, "Does a dashboard leak processes, threads, comms or memory?", vars(options), findings)


if __name__ == "__main__":
    main()
