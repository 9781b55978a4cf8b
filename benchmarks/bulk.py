"""Does a bulk survive whatever ends it, in memory that does not grow, and as fast as one that keeps all in memory?

Three questions. **Wall time**: the same prompts by ``generate`` and by ``bulk`` on the same live workers, in turns.
**Kills**: ranks, their host and the process that owns the bulk are killed at random moments, and it is interrupted;
the outputs have to be, byte for byte, those of a bulk that nobody disturbed. **Memory**: what the owner and its ranks
hold for themselves (USS) when a tenth of many prompts is done, and at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from comparison import compare, in_turns, print_table, result_path, write_result

import nbkit

MB = 1e6
OWNER = """
import json, sys
import nbkit
source, folder, workers, asked = sys.argv[1:]
with nbkit.Workers(int(workers)) as live:
    live.bulk(source, folder, **json.loads(asked))
"""


def prompts_of(count: int) -> list[str]:
    """Prompts that all differ, of many lengths."""
    return [f"{number}: {line} {'ha ' * (number % 30)}" for number, line in enumerate(nbkit.first_lines(count))]


def measure_wall(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Seconds of both, of the clock and of the processors, in turns, on live workers that have the model."""
    prompts, asked = prompts_of(options.prompts), _asked(options)
    with nbkit.Workers(options.workers) as live:
        live.generate(prompts[:8], **asked)
        contenders = {
            "generate": lambda: _both_seconds(lambda: live.generate(prompts, **asked)),
            "bulk": lambda: _both_seconds(lambda: live.bulk(prompts, tempfile.mkdtemp(dir=scratch), **asked)),
        }
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


def measure_kills(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Kills at random moments, until so many have been survived, against a bulk that nobody disturbed."""
    dice = random.Random(options.seed)
    source, asked = scratch / "killed.txt", _asked(options) | {"model": options.killed_model}
    source.write_text("\n".join(prompts_of(options.killed_prompts)))
    undisturbed_s = _seconds(lambda: _owner(source, scratch / "undisturbed", options.workers, asked).wait())
    kills: list[str] = []
    began_s = time.monotonic()
    owner = _owner(source, scratch / "disturbed", options.workers, asked)
    while owner.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            owner.wait(dice.uniform(*options.between_s))
        if owner.poll() is None and len(kills) < options.kills:
            kills.append(_disturb(owner, dice))
        if owner.poll() is not None and not (scratch / "disturbed" / "outputs.jsonl").exists():
            owner = _owner(source, scratch / "disturbed", dice.choice((1, options.workers)), asked)
    same = (scratch / "disturbed" / "outputs.jsonl").read_bytes() == (
        scratch / "undisturbed" / "outputs.jsonl"
    ).read_bytes()
    return {
        "kills": kills,
        "same_outputs": same,
        "undisturbed_s": undisturbed_s,
        "disturbed_s": time.monotonic() - began_s,
        "log": (scratch / "disturbed" / "log.txt").read_text().splitlines(),
    }


def _disturb(owner: subprocess.Popen[bytes], dice: random.Random) -> str:
    """Kill or interrupt one of the processes; which it was."""
    children = psutil.Process(owner.pid).children(recursive=True)
    victims = {"owner": psutil.Process(owner.pid)}
    if children:
        victims |= {"host": children[0], "rank": dice.choice(children)}
    what = dice.choice(["interrupt", *victims, "rank" if children else "owner"])
    with contextlib.suppress(psutil.NoSuchProcess):
        if what == "interrupt":
            owner.send_signal(signal.SIGINT)
        else:
            victims[what].kill()
    if what in ("interrupt", "owner"):
        owner.wait()
    return what


def measure_memory(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """USS of the owner and of its ranks at a tenth and at nine tenths of many prompts."""
    source = scratch / "large.txt"
    with source.open("w") as file:
        # Of one length: what libraries keep for every shape of a batch grows with the shapes, in a plain run, too.
        file.writelines(f"{number:07d} the cat sat on the mat\n" for number in range(options.large_prompts))
    asked = {"model": "tiny-random", "dtype": "float32", "max_new_tokens": 4, "ignore_eos": True, "batch_size": 64}
    owner = _owner(source, scratch / "large", options.workers, asked)
    found: dict[str, dict[str, float]] = {}
    first_output_s = None
    began_s = time.monotonic()
    while owner.poll() is None:
        time.sleep(0.05)
        done = _done(scratch / "large") / options.large_prompts
        if first_output_s is None and done:
            first_output_s = time.monotonic() - began_s
        for name, share in (("at 10%", 0.1), ("at 90%", 0.9)):
            if done >= share and name not in found:
                found[name] = _uss(owner)
    return {"prompts": options.large_prompts, "first_output_s": first_output_s, "uss_MB": found}


def _done(folder: Path) -> int:
    try:
        return nbkit.Bulk.open(folder).status().done
    except nbkit.InputError:
        return 0


def _uss(owner: subprocess.Popen[bytes]) -> dict[str, float]:
    own = psutil.Process(owner.pid)
    found = {"owner": own.memory_full_info().uss / MB}
    for number, child in enumerate(own.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            found[f"child {number}"] = child.memory_full_info().uss / MB
    return found


def _asked(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "model": options.model,
        "dtype": "float32",
        "max_new_tokens": options.max_new_tokens,
        "ignore_eos": True,
    }


def _owner(source: Path, folder: Path, workers: int, asked: dict[str, Any]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", OWNER, str(source), str(folder), str(workers), json.dumps(asked)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _seconds(what: Any) -> float:
    began_s = time.monotonic()
    what()
    return time.monotonic() - began_s


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=300, help="of the wall time")
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--killed-model", default="tiny-random")
    parser.add_argument("--killed-prompts", type=int, default=20_000)
    parser.add_argument("--between-s", type=float, nargs=2, default=(6.0, 15.0), help="seconds between two kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--large-prompts", type=int, default=50_000, help="of the memory, on tiny-random")
    parser.add_argument("--out", help="result file (default: benchmarks/results/bulk.json)")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    path = result_path(options.out, "bulk")
    with tempfile.TemporaryDirectory(prefix="nbkit-bulk-") as scratch:
        wall = measure_wall(options, Path(scratch))
        kills = measure_kills(options, Path(scratch))
        memory = measure_memory(options, Path(scratch))
    rows = [
        {
            "clock": clock,
            **{f"{name}, median s": statistics.median(taken) for name, taken in found["seconds"].items()},
            "bulk / generate": found["median_of_pairwise_ratios"],
        }
        for clock, found in wall.items()
    ]
    print_table("The same prompts by both", rows)
    verdict = "the same outputs as undisturbed" if kills["same_outputs"] else "OTHER OUTPUTS THAN UNDISTURBED"
    print(f"{len(kills['kills'])} kills ({', '.join(kills['kills'])}): {verdict}")
    print_table("Memory, USS in MB", [{"when": when, **uss} for when, uss in memory["uss_MB"].items()])
    write_result(
        path, (__doc__ or "").splitlines()[0], vars(options), {"wall": wall, "kills": kills, "memory": memory}
    )
    sys.exit(not kills["same_outputs"])


if __name__ == "__main__":
    main()
