"""Memory of a bulk: what its owner, the ranks' host and the ranks hold for themselves, looked at while all are there.

Run by ``bulk.py`` as processes of their own, that tell on their standard output what they saw.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

import nbkit
from nbkit.inference.bulk import BulkStatus
from nbkit.inference.bulk.driver import run_bulk
from nbkit.records.settings import Settings

MB = 1e6
LARGE_BLOCK_LINES = 100_000
LARGE_LINE = "{number:07d} the cat sat on the mat and looked at the dog, which looked at the cat on the mat\n"
WRITTEN = "all, written"
AFTER_FIRST_S = 5.0
"""Seconds for which the owner of a large file is watched after the first output."""


class Enough(Exception):
    """All was seen."""


def processes_of(workers: int) -> dict[str, psutil.Process] | None:
    """This process, the host of its ranks and these; None where one of them is missing."""
    own = psutil.Process()
    try:
        [host] = own.children()
        ranks = host.children(recursive=True)
    except (psutil.Error, ValueError):
        return None
    if len(ranks) != workers:
        return None
    return {"owner": own, "host": host, **{f"rank {number}": rank for number, rank in enumerate(ranks)}}


def look(workers: int) -> dict[str, float | None]:
    """MB that each holds for itself (USS), and how much of all of it was written; None: it could not be measured.

    Of processes one of which has ended nothing is taken: what the others then hold would be told for the whole.
    """
    names = ("owner", "host", *(f"rank {number}" for number in range(workers)))
    unknown: dict[str, float | None] = dict.fromkeys((*names, "all", WRITTEN))
    processes = processes_of(workers)
    try:
        found: dict[str, float | None] = {
            name: process.memory_full_info().uss / MB for name, process in (processes or {}).items()
        }
        written = sum(_written_bytes(process) for process in (processes or {}).values()) / MB
    except (psutil.Error, OSError):
        return unknown
    if processes is None or not all(each.is_running() for each in processes.values()):
        return unknown
    return found | {"all": sum(value or 0.0 for value in found.values()), WRITTEN: written}


def _written_bytes(process: psutil.Process) -> int:
    """Of what it holds for itself: what it has written. (A page of a file is private while nobody else reads it.)"""
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))


def own_many(source: str, folder: str, workers: int, asked: dict[str, Any], first: int) -> None:
    """Own a bulk; tell the memory once ``first`` prompts are done, where it was most after that, and at the end."""
    looks: dict[str, dict[str, Any]] = {}

    def tell(status: BulkStatus) -> None:
        if status.done < first:
            return
        seen = {"prompts_done": status.done, **look(workers)}
        looks.setdefault("first", seen)
        if seen[WRITTEN] is not None and seen[WRITTEN] >= (looks.get("most", seen)[WRITTEN] or 0.0):
            looks["most"] = seen
        looks["last"] = seen

    with nbkit.Workers(workers) as live:
        run_bulk(live, source, folder, Settings.of(Settings(), **asked), tell=tell)
    print(json.dumps(looks))


def own_large(source: str, folder: str, workers: int, asked: dict[str, Any]) -> None:
    """Begin a bulk of a large file on live workers that have the model; tell how soon it began, and the memory."""
    own, seen = psutil.Process(), dict.fromkeys(("first_prompt_s", "first_output_s"), 0.0)
    most_bytes, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal most_bytes
        while not ended.wait(0.005):
            for name, files in (("first_prompt_s", "spool/*/ends"), ("first_output_s", "parts/*.jsonl")):
                if not seen[name] and any(file.stat().st_size for file in Path(folder).glob(files)):
                    seen[name] = time.monotonic() - began_s
            most_bytes = max(most_bytes, own.memory_full_info().uss)

    def tell(status: BulkStatus) -> None:
        if seen["first_output_s"] and time.monotonic() - began_s > seen["first_output_s"] + AFTER_FIRST_S:
            raise Enough

    with nbkit.Workers(workers) as live:
        live.generate(["a", "b"], **asked)
        began_s = time.monotonic()
        watching = threading.Thread(target=watch)
        watching.start()
        try:
            run_bulk(live, source, folder, Settings.of(Settings(), **asked), tell=tell)
        except Enough:
            pass
        finally:
            ended.set()
            watching.join()
    print(json.dumps({**seen, "owner_most_uss_MB": most_bytes / MB}))


def measure_many(source: Path, workers: int, asked: dict[str, Any], first: int) -> dict[str, Any]:
    """Memory when ``first`` prompts of a file are done, and when all are."""
    with tempfile.TemporaryDirectory(prefix="nbkit-memory-") as scratch:
        arguments = [str(source), f"{scratch}/bulk", workers, asked, first]
        looks: dict[str, Any] = _told_by("own_many", arguments)
    return looks


def measure_large(size_bytes: int, workers: int, asked: dict[str, Any]) -> dict[str, Any]:
    """How soon a bulk of a file of this size begins, and what its owner holds then."""
    with tempfile.TemporaryDirectory(prefix="nbkit-memory-") as scratch:
        source = Path(scratch, "large.txt")
        block = "".join(LARGE_LINE.format(number=number) for number in range(LARGE_BLOCK_LINES))
        with source.open("w") as file:
            while file.tell() < size_bytes:
                file.write(block[: size_bytes - file.tell()])
        found = _told_by("own_large", [str(source), f"{scratch}/bulk", workers, asked])
        return {"file_MB": source.stat().st_size / MB, **found}


def _told_by(name: str, arguments: list[Any]) -> dict[str, Any]:
    code = f"import json, sys, bulk_memory; bulk_memory.{name}(*json.loads(sys.argv[1]))"
    ran = subprocess.run(
        [sys.executable, "-c", code, json.dumps(arguments)],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found
