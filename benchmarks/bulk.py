"""Does a bulk survive whatever ends it, in memory that does not grow, and as fast as one that keeps all in memory?

Four questions; ``--only`` asks some. **Wall time**: the same prompts by ``generate`` and by ``bulk`` on the same
live workers, in turns. **Kills** (``bulk_kills.py``): ranks, their host, the process that owns the bulk and all at
once are killed at random moments, it is interrupted, and its disk is full; each time the same command goes on, and
the outputs have to be, byte for byte, those of a bulk that nobody disturbed. **Memory** (``bulk_memory.py``): what
owner, host and ranks hold for themselves when some of many prompts are done, and at the end. **A large file**: how
soon its bulk begins.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from bulk_kills import long_tailed, measure_kills
from bulk_memory import measure_large, measure_many
from comparison import compare, in_turns, print_table, result_path, write_result

import nbkit

PARTS = ("wall", "memory", "kills")

MOST_CHARACTERS = 230
"""Of a prompt for tiny-random, which has a token for each and a context of 256."""


def prompts_of(count: int) -> list[str]:
    """Prompts that all differ, of many lengths."""
    return [f"{number}: {line} {'ha ' * (number % 30)}" for number, line in enumerate(nbkit.first_lines(count))]


def measure_wall(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of both, of the clock and of the processors, in turns, on live workers that have the model."""
    prompts = prompts_of(options.prompts)
    asked = _asked(options.model, options.max_new_tokens)
    with nbkit.Workers(options.workers) as live, tempfile.TemporaryDirectory(prefix="nbkit-bulk-") as scratch:
        contenders: dict[str, Callable[[], tuple[float, float]]] = {
            "generate": lambda: _both_seconds(lambda: live.generate(prompts, **asked)),
            "bulk": lambda: _both_seconds(lambda: live.bulk(prompts, tempfile.mkdtemp(dir=scratch), **asked)),
        }
        # What a process does once for each shape of a batch is nobody's.
        for contender in contenders.values():
            contender()
        rounds = in_turns(contenders, options.rounds)
    found = {}
    for number, clock in enumerate(("wall", "processor")):
        taken = {name: [each[name][number] for each in rounds] for name in contenders}
        found[clock] = {"seconds": taken, **compare(taken["bulk"], taken["generate"])}
    return found


def _both_seconds(what: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock, and of the processors in this process and its ranks."""
    began_s, used_s = time.monotonic(), _processor_seconds()
    what()
    return time.monotonic() - began_s, _processor_seconds() - used_s


def _processor_seconds() -> float:
    own = psutil.Process()
    return sum(sum(each.cpu_times()[:2]) for each in (own, *own.children(recursive=True)))


def measure_memory(options: argparse.Namespace) -> dict[str, Any]:
    """Of prompts of long-tailed lengths, when some are done and at the end; and a large file."""
    asked = _asked("tiny-random", options.many_new_tokens)
    with tempfile.TemporaryDirectory(prefix="nbkit-bulk-") as scratch:
        source = Path(scratch, "many.txt")
        source.write_text("\n".join(long_tailed(options.many_prompts, MOST_CHARACTERS)))
        many = measure_many(source, options.workers, asked, options.first_look)
    large = measure_large(int(options.large_MB * 1e6), options.workers, asked)
    return {"many": many, "large": large}


def _asked(model: str, max_new_tokens: int) -> dict[str, Any]:
    return {"model": model, "dtype": "float32", "max_new_tokens": max_new_tokens, "ignore_eos": True}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", choices=PARTS, nargs="+", default=PARTS, help="an idle machine matters for wall alone"
    )
    parser.add_argument("--model", default="smollm2-135m", help="of the wall time; all else is on tiny-random")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=200, help="of the wall time")
    parser.add_argument("--max-new-tokens", type=int, default=24, help="of the wall time")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--kills", type=int, default=50, help="kills and interrupts")
    parser.add_argument("--disk-full", type=int, default=2, help="times that the disk is full")
    parser.add_argument("--killed-prompts", type=int, default=100_000)
    parser.add_argument("--killed-new-tokens", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--many-prompts", type=int, default=100_000, help="of the memory")
    parser.add_argument("--many-new-tokens", type=int, default=8)
    parser.add_argument("--first-look", type=int, default=10_000, help="prompts at which memory is first looked at")
    parser.add_argument("--large-MB", type=float, default=2000.0, help="size of the large file")
    parser.add_argument("--out", help="result file (default: benchmarks/results/bulk.json)")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    path = result_path(options.out, "bulk")
    measures = {"wall": measure_wall, "memory": measure_memory, "kills": _measure_kills}
    shows = {"wall": _show_wall, "memory": _show_memory, "kills": _show_kills}
    found = {part: measures[part](options) for part in PARTS if part in options.only}
    for part, values in found.items():
        shows[part](values, options)
    write_result(path, (__doc__ or "").splitlines()[0], vars(options), found)
    sys.exit("kills" in found and not found["kills"]["same_outputs"])


def _measure_kills(options: argparse.Namespace) -> dict[str, Any]:
    asked = _asked("tiny-random", options.killed_new_tokens)
    of_how_many, kills, disks = options.killed_prompts, options.kills, options.disk_full
    return measure_kills(of_how_many, kills, disks, options.workers, asked, MOST_CHARACTERS, options.seed)


def _show_wall(wall: dict[str, Any], _: argparse.Namespace) -> None:
    rows = [
        {
            "clock": clock,
            **{f"{name}, median s": statistics.median(taken) for name, taken in found["seconds"].items()},
            "bulk / generate": found["median_of_pairwise_ratios"],
        }
        for clock, found in wall.items()
    ]
    print_table("The same prompts by both", rows)


def _show_memory(memory: dict[str, Any], _: argparse.Namespace) -> None:
    looks = [{"look": name, **seen} for name, seen in memory["many"].items()]
    print_table("Memory, MB that a process alone has (-: not measured)", looks)
    print_table("A large file", [memory["large"]])


def _show_kills(kills: dict[str, Any], options: argparse.Namespace) -> None:
    survived = ", ".join(f"{count} x {what}" for what, count in kills["disturbances"].items())
    verdict = "the same outputs as undisturbed" if kills["same_outputs"] else "OTHER OUTPUTS THAN UNDISTURBED"
    asked_for = options.kills + options.disk_full
    came = f"{'' if len(kills['moments']) == asked_for else 'ONLY '}{len(kills['moments'])} of {asked_for}"
    print(f"\n{came} ({survived}): {kills['outputs']:,} outputs, {verdict}")


if __name__ == "__main__":
    main()
