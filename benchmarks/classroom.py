"""What do the notebooks of a room cost on one node?

Real Jupyter kernels are started one after the other, each with workers of its own that have generated once; all join
one wall. At each of the counts the memory of all their processes (kernel, host, ranks, helpers) is added up: PSS, in
which a page that several have is divided among them, is what they cost together; USS is what each has alone. Then all
generate at once, and the wall has to show them all. What 30 learners take is the line through the fewest and the most
kernels, drawn on: an estimate, for pages that are shared are paid once.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from comparison import print_table, result_path, write_result
from jupyter_client.manager import start_new_kernel
from memory import MB, other_processes_with_torch

from nbkit import models
from nbkit.analysis.wall import Board
from nbkit.app.wall.folder import make_wall
from nbkit.app.wall.source import Wall

NAMES = ("Ada", "Barbara", "Edsger", "Frances", "Grace", "Hedy", "Katherine", "Margaret")
LEARNERS = 30
"""Of the room that the estimate is for."""
CELL_TIMEOUT_S = 300
JOIN = """
import nbkit
workers = nbkit.Workers({workers})
on_the_wall = nbkit.join_wall({wall!r}, name={name!r})
workers.generate(nbkit.first_lines({workers}), model={model!r}, max_new_tokens=1)
"""
GENERATE = """
for batch_size in {batch_sizes}:
    workers.generate(
        nbkit.first_lines({prompts}), model={model!r}, engine="batched", batch_size=batch_size,
        max_new_tokens={new_tokens}, ignore_eos=True,
    )
assert on_the_wall.wait_until_sent(30)
"""


class Kernel:
    """A learner's kernel."""

    def __init__(self) -> None:
        self.manager, self.client = start_new_kernel()

    def begin(self, code: str) -> str:
        """Begin a cell; its id."""
        return str(self.client.execute(code))

    def wait_for(self, cell: str) -> None:
        """Wait for a cell, which must not fail."""
        while (reply := self.client.get_shell_msg(timeout=CELL_TIMEOUT_S))["parent_header"]["msg_id"] != cell:
            pass
        if reply["content"]["status"] != "ok":
            raise RuntimeError("\n".join(reply["content"].get("traceback", ["the cell was not run"])))

    def memory(self) -> dict[str, float]:
        """Of the kernel and all processes that came of it, in MB."""
        process = psutil.Process(self.manager.provisioner.pid)
        total = {"pss_MB": 0.0, "uss_MB": 0.0, "processes": 0.0}
        for each in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                full = each.memory_full_info()
                total["pss_MB"] += full.pss / MB
                total["uss_MB"] += full.uss / MB
                total["processes"] += 1
        return total

    def end(self) -> None:
        """End it with its workers."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def memory_of(kernels: list[Kernel]) -> dict[str, float]:
    """Of all kernels together."""
    each = [kernel.memory() for kernel in kernels]
    return {name: sum(one[name] for one in each) for name in each[0]}


def measure(options: argparse.Namespace, wall: Path) -> dict[str, Any]:
    """Start the kernels, measure at each count, let all generate at once."""
    models.locate(options.model, "auto")  # what prepares it is no learner's
    others = other_processes_with_torch()
    asked = {"model": options.model, "workers": options.workers}
    kernels: list[Kernel] = []
    at: dict[str, dict[str, float]] = {}
    try:
        for number in range(1, max(options.counts) + 1):
            kernels.append(Kernel())
            kernels[-1].wait_for(
                kernels[-1].begin(JOIN.format(wall=str(wall), name=NAMES[number % len(NAMES)], **asked))
            )
            if number in options.counts:
                at[str(number)] = memory_of(kernels)
            print(f"kernel {number} has generated", file=sys.stderr, flush=True)
        work = {"prompts": options.prompts, "new_tokens": options.new_tokens, "batch_sizes": options.batch_sizes}
        cells = [kernel.begin(GENERATE.format(**work, **asked)) for kernel in kernels]
        peak, boards = watch(kernels, cells, Wall.at(wall, len(kernels)))
    finally:
        for kernel in kernels:
            kernel.end()
    return {
        "other_processes_with_torch": others,
        "at": at,
        "at_once": {"peak": peak, "wall": [summary(board) for board in boards]},
        "estimate": estimate(at),
    }


def watch(kernels: list[Kernel], cells: list[str], wall: Wall) -> tuple[dict[str, float], list[Board]]:
    """Look at memory and wall while all generate: the most memory, and the wall each time it was another."""
    began_s, peak, boards = time.monotonic(), memory_of(kernels), [wall.board(wall.read())]
    waiting = dict(zip(kernels, cells, strict=True))
    while waiting:
        kernel = next(iter(waiting))
        if kernel.client.shell_channel.msg_ready():
            kernel.wait_for(waiting.pop(kernel))
        else:
            waiting[kernel] = waiting.pop(kernel)
        now = memory_of(kernels)
        peak = max(peak, now, key=lambda memory: memory["pss_MB"])
        board = wall.board(wall.read())
        if summary(board) != summary(boards[-1]):
            boards.append(board)
        if time.monotonic() - began_s > CELL_TIMEOUT_S:
            raise TimeoutError(f"{len(waiting)} kernels still generate after {CELL_TIMEOUT_S} s")
        time.sleep(1.0)
    boards.append(wall.board(wall.read()))
    return peak, boards


def summary(board: Board) -> dict[str, Any]:
    """What the wall showed."""
    return {
        "joined": len(board.learners),
        "shown": len(board.ranked),
        "runs": sum(learner.runs_done for learner in board.learners),
        "headline": board.headline,
    }


def estimate(at: dict[str, dict[str, float]]) -> dict[str, float]:
    """What one more learner takes, and ``LEARNERS`` do."""
    counts = sorted(map(int, at))
    fewest, most = counts[0], counts[-1]
    if fewest == most:
        return {}
    found = {}
    for kind in ("pss_MB", "uss_MB"):
        more = (at[str(most)][kind] - at[str(fewest)][kind]) / (most - fewest)
        found[f"each_more_{kind}"] = more
        found[f"of_{LEARNERS}_{kind}"] = at[str(most)][kind] + (LEARNERS - most) * more
    return found


def main() -> None:
    """Measure one model and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--workers", type=int, default=2, help="ranks of each kernel")
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4, 8], help="kernels at once")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=20)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--wall", type=Path, help="a folder to show the wall in meanwhile, with nbkit wall")
    parser.add_argument("--out", help="the result file; left out: results/classroom_MODEL.json")
    options = parser.parse_args()
    path = result_path(options.out, f"classroom_{options.model.replace('-', '_')}")
    with tempfile.TemporaryDirectory(prefix="nbkit-classroom-") as scratch:
        wall = make_wall(options.wall or Path(scratch) / "wall")
        found = measure(options, wall)
    rows = [{"kernels": int(n), **{name: round(v) for name, v in of.items()}} for n, of in found["at"].items()]
    print_table(f"{options.model}, {options.workers} workers each, in MB", rows)
    for name, value in itertools.chain(found["at_once"]["peak"].items(), found["estimate"].items()):
        print(f"{name}: {value:,.0f}")
    print(found["at_once"]["wall"][-1])
    del options.wall  # a place of the moment
    write_result(path, (__doc__ or "").splitlines()[0], vars(options), found)


if __name__ == "__main__":
    main()
