"""What the benchmarks share: contenders taken in turns, medians and ratios, a JSON result, a table."""

from __future__ import annotations

import json
import os
import shlex
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import nbkit
from nbkit.files import machine
from nbkit.files.atomic_write import check_writable, write_atomically

RESULTS = Path(__file__).parent / "results"
_LOAD_AVERAGE_AT_START = os.getloadavg()

T = TypeVar("T")


def in_turns(
    contenders: Mapping[str, Callable[[], T]],
    rounds: int,
    after_round: Callable[[list[dict[str, T]]], object] = lambda measured: None,
) -> list[dict[str, T]]:
    """Measure every contender once a round; each second round goes the other way about.

    A machine that grows warmer or busier during the benchmark is then no contender's
    disadvantage. ``after_round`` is given all that was measured so far.
    """
    measured = []
    for number in range(rounds):
        names = list(contenders) if number % 2 == 0 else list(contenders)[::-1]
        taken = {}
        for name in names:
            taken[name] = contenders[name]()
            print(f"round {number + 1} of {rounds}: {name} measured", file=sys.stderr, flush=True)
        measured.append({name: taken[name] for name in contenders})
        after_round(measured)
    return measured


def compare(slower: Sequence[float], faster: Sequence[float]) -> dict[str, float]:
    """Medians of paired measurements and how many times the first is the second.

    Both ways of taking the ratio are given: of the medians, and the median over the
    pairs, in which a disturbance that hit both halves of a pair cancels out.
    """
    return {
        "ratio_of_medians": statistics.median(slower) / statistics.median(faster),
        "median_of_pairwise_ratios": statistics.median(s / f for s, f in zip(slower, faster, strict=True)),
    }


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that ``percent`` of the values do not exceed (at least two values)."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def describe_ranks(workers: nbkit.Workers) -> list[dict[str, Any]]:
    """Device and threads of each rank."""
    threads = workers.run(_threads_on_rank)
    return [
        {"rank": info.rank, "device": info.device, "device_name": info.device_name, "threads": count}
        for info, count in zip(workers.wait_until_ready(), threads, strict=True)
    ]


def _threads_on_rank() -> int:
    import torch

    return torch.get_num_threads()


def result_path(out: str | None, name: str) -> Path:
    """Where the JSON goes, checked before hours of measuring: ``out``, else the script's own place."""
    return check_writable(out if out is not None else RESULTS / f"{name}.json")


def write_result(path: Path, question: str, options: Mapping[str, Any], findings: Mapping[str, Any]) -> None:
    """Write what was asked, how, where, when and what came out."""
    result = {
        "question": question,
        "command": command(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        # Far above 0: somebody else was using the machine.
        "load_average_1_min_at_start": _LOAD_AVERAGE_AT_START[0],
        "options": {name: value for name, value in options.items() if name != "out"},
        **findings,
    }
    write_atomically(path, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(f"\nwritten to {path}")


def command() -> str:
    """The command as a reader would repeat it in the repository, with a PYTHON of his own for a peer's."""
    given = ["PYTHON" if Path(word).is_absolute() and "python" in Path(word).name else word for word in sys.argv[1:]]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *given])


def print_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows under their keys, which carry the units; numbers to the right."""
    columns = list(rows[0])
    lines = [columns, *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    is_text = [all(isinstance(row[column], str) for row in rows) for column in columns]
    print(f"\n{title}")
    for line in lines:
        padded = [
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(line, widths, is_text, strict=True)
        ]
        print("  ".join(padded).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)
