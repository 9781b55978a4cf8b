"""What do two ranks holding the model cost against one?

Main memory, on Linux, of the host and of every rank, before the model is loaded and after
it has generated one token for each rank's prompt (a mapped weight counts only once it was
read). PSS divides a page among the processes that have it, so the sum of PSS is what all
of them cost together; USS is what a process has alone; RSS counts shared pages in full.
The model is loaded from a copy of its folder, so that no other process shares its pages;
other processes that have torch loaded share torch's, and are counted in the result.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
from comparison import print_table, result_path, write_result

import nbkit
from nbkit import models

MB = 1e6
KINDS = ("pss_MB", "uss_MB", "rss_MB")

Snapshot = dict[str, dict[str, float]]


def snapshot(workers: nbkit.Workers) -> Snapshot:
    """Memory of each process of the workers, in MB, under its name."""
    names = {info.pid: f"rank {info.rank}" for info in workers.wait_until_ready()}
    memory = {}
    # One rank alone runs in the host itself, so there the host is named as the rank.
    for process in psutil.Process().children(recursive=True):
        full = process.memory_full_info()
        is_host = process.ppid() == psutil.Process().pid
        name = names.get(process.pid, "host" if is_host else f"helper {process.pid}")
        memory[name] = {"pss_MB": full.pss / MB, "uss_MB": full.uss / MB, "rss_MB": full.rss / MB}
    return memory


def measure(n: int, dtype: str, folder: Path) -> dict[str, Any]:
    """New workers before and after they hold the model in ``folder``."""
    others = other_processes_with_torch()
    if others:
        print(f"{others} other processes share torch's pages: the workers' PSS looks too small", file=sys.stderr)
    with nbkit.Workers(n) as workers:
        before = snapshot(workers)
        workers.generate(nbkit.first_lines(n), model=str(folder), dtype=dtype, max_new_tokens=1)
        after = snapshot(workers)
    total_before, total_after = total_pss(before), total_pss(after)
    return {
        "before": before,
        "after": after,
        "total_pss_before_MB": total_before,
        "total_pss_after_MB": total_after,
        "model_pss_MB": total_after - total_before,
        "other_processes_with_torch": others,
    }


def other_processes_with_torch() -> int:
    """Processes that have torch's library mapped, before there are workers."""
    count = 0
    for process in psutil.process_iter():
        # Processes end while they are looked at, and some may not be.
        with contextlib.suppress(OSError):
            count += "libtorch_cpu" in Path(f"/proc/{process.pid}/maps").read_text()
    return count


def total_pss(memory: Snapshot) -> float:
    """What the processes cost together, in MB."""
    return sum(process["pss_MB"] for process in memory.values())


def measure_dtype(dtype: str, options: argparse.Namespace) -> dict[str, Any]:
    """Every count in turns, with the model in one dtype."""
    each: dict[int, list[dict[str, Any]]] = {n: [] for n in options.counts}
    with tempfile.TemporaryDirectory(prefix="nbkit-memory-") as scratch:
        folder = Path(scratch) / "model"
        shutil.copytree(models.locate(options.model, dtype), folder)
        weights = sum(file.stat().st_size for file in folder.glob("*.safetensors")) / MB
        for repeat in range(options.repeats):
            for n in options.counts:
                each[n].append(measure(n, dtype, folder))
                print(
                    f"{dtype}, {n} workers: {repeat + 1} of {options.repeats} measured", file=sys.stderr, flush=True
                )
    return summarise(options.counts, each, weights)


def summarise(counts: list[int], each: dict[int, list[dict[str, Any]]], weights: float) -> dict[str, Any]:
    """Medians for each count, and how much of the model the ranks share, against the fewest workers."""
    totals = {
        n: {
            key: statistics.median(measured[key] for measured in each[n])
            for key in ("total_pss_before_MB", "total_pss_after_MB", "model_pss_MB")
        }
        for n in counts
    }
    one = totals[min(counts)]
    for n, total in totals.items():
        # What the ranks would cost if each held what a rank costs alone.
        unshared = one["model_pss_MB"] * n / min(counts)
        total["shared_MB"] = unshared - total["model_pss_MB"]
        total["shared_share"] = total["shared_MB"] / unshared if unshared else 0.0
        total["times_fewest_workers"] = total["total_pss_after_MB"] / one["total_pss_after_MB"]
    return {
        "weight_files_MB": weights,
        "workers": {
            str(n): totals[n] | {"processes": _median_processes(each[n]), "measurements": each[n]} for n in counts
        },
    }


def _median_processes(measurements: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Medians over the repeats for each process, before and after."""
    return {
        when: {
            name: {kind: statistics.median(one[when][name][kind] for one in measurements) for kind in KINDS}
            for name in measurements[0][when]
            if all(name in one[when] for one in measurements)
        }
        for when in ("before", "after")
    }


def total_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a dtype and count."""
    return [
        {
            "dtype": dtype,
            "workers": n,
            "weight files MB": of_dtype["weight_files_MB"],
            "PSS before MB": of_n["total_pss_before_MB"],
            "PSS after MB": of_n["total_pss_after_MB"],
            "of it the model MB": of_n["model_pss_MB"],
            "shared MB": of_n["shared_MB"],
            "shared %": 100 * of_n["shared_share"],
            "PSS after, times fewest workers": of_n["times_fewest_workers"],
        }
        for dtype, of_dtype in found.items()
        for n, of_n in of_dtype["workers"].items()
    ]


def process_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a process, before and after."""
    return [
        {
            "dtype": dtype,
            "workers": n,
            "process": name,
            "model": when,
            "PSS MB": memory["pss_MB"],
            "USS MB": memory["uss_MB"],
            "RSS MB": memory["rss_MB"],
        }
        for dtype, of_dtype in found.items()
        for n, of_n in of_dtype["workers"].items()
        for when, processes in of_n["processes"].items()
        for name, memory in processes.items()
    ]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2], help="workers to compare (default: 1 2)")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], help="default: float32 bfloat16")
    parser.add_argument(
        "--model", default="smollm2-135m", help="short name, hub id or folder (default: smollm2-135m)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="new workers for each count and dtype (default: 3)")
    parser.add_argument("--out", help="result file (default: benchmarks/results/memory.json)")
    return parser.parse_args()


def main() -> None:
    if not sys.platform.startswith("linux"):
        sys.exit("memory.py reads /proc/PID/smaps, which only Linux has.")
    options = parse_arguments()
    path = result_path(options.out, "memory")
    found = {dtype: measure_dtype(dtype, options) for dtype in options.dtypes}
    print_table("Each process, medians", process_rows(found))
    print_table("All processes of the workers together, medians", total_rows(found))
    write_result(path, (__doc__ or "").splitlines()[0], vars(options), {"dtypes": found})


if __name__ == "__main__":
    main()
