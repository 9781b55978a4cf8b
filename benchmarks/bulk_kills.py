"""Kills: a bulk that is disturbed at random moments and gone on with by the same command, against one that is not."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

import nbkit
from nbkit.inference.bulk.account import count_parts
from nbkit.inference.bulk.folder import BulkFolder

KINDS = ("rank", "host", "owner", "all at once", "interrupt")
"""What is killed by SIGKILL; an interrupt is a Ctrl-C of the owner. A host's end is its ranks' end, too."""
DISK_FULL = "disk full"
PAUSE_S = 4.0
"""Seconds, at most, that the next disturbance waits after one: some come while all starts anew, some at work."""
DISK_BYTES = 300_000_000
END_WITHIN_S = 120.0
OWNER = """
import json, signal, sys
# A shell that begins it in the background would have it ignore interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
import nbkit
source, folder, workers, asked = sys.argv[1:]
with nbkit.Workers(int(workers)) as live:
    live.bulk(source, folder, **json.loads(asked))
"""


def long_tailed(count: int, most_characters: int, seed: int = 0) -> Iterator[str]:
    """Prompts that all differ, of log-normal lengths: half under 25 characters, about 1% as long as may be."""
    dice = random.Random(seed)
    text = "the cat sat on the mat and looked at the dog, " * (most_characters // 40 + 1)
    for number in range(count):
        length = round(dice.lognormvariate(3.2, 1.0))
        yield f"{number:07d} {text}"[: min(most_characters, max(9, length))]


class Disk:
    """A folder on a disk of its own, where one may be mounted, that can be full.

    Elsewhere the processes are forbidden to write into files beyond what those have: they meet an error, too.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
        self.is_own = bool(shutil.which("mount")) and not subprocess.run(mount, capture_output=True).returncode
        self._filler = folder / "filler"

    def fill(self, processes: list[psutil.Process]) -> None:
        """Leave no room; for these processes."""
        if not self.is_own:
            for process in processes:
                with contextlib.suppress(psutil.Error):
                    process.rlimit(psutil.RLIMIT_FSIZE, (4096, psutil.RLIM_INFINITY))
            return
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass

    def make_room(self) -> None:
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        if self.is_own:
            subprocess.run(["umount", str(self.folder)], check=True)


class Disturbed:
    """One bulk, its owner started anew whenever it has ended before the bulk is finished."""

    def __init__(self, command: list[str], folder: Path, disk: Disk, dice: random.Random) -> None:
        self._command = command
        self._folder = folder
        self._disk = disk
        self._dice = dice
        self._owner = self._started()
        self._began_s = time.monotonic()
        self.disturbances: list[dict[str, Any]] = []
        self.said: list[str] = []
        self.statuses_wrong = 0

    @property
    def is_finished(self) -> bool:
        return (self._folder / "outputs.jsonl").exists() and self._owner.poll() is not None

    @property
    def done(self) -> int:
        """Prompts that are done, as anybody can read it."""
        try:
            return nbkit.Bulk.open(self._folder).status().done
        except nbkit.InputError:
            return 0

    def run(self, moments: list[tuple[int, str]]) -> None:
        """Disturb it at each moment, a number of prompts that are done and what is to happen then; to its end."""
        for prompts, kind in moments:
            pause_ends_s = time.monotonic() + self._dice.uniform(0, PAUSE_S)
            while not self.is_finished and (self.done < prompts or time.monotonic() < pause_ends_s):
                self._go_on()
                time.sleep(0.05)
            if self.is_finished:
                return
            self._disturb(kind)
        while not self.is_finished:
            self._go_on()
            time.sleep(0.05)

    def _started(self) -> subprocess.Popen[str]:
        return subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def _go_on(self) -> None:
        """Give the same command again, if the one before has ended too early."""
        if self._owner.poll() is not None and not self.is_finished:
            self._take_leave()
            self._owner = self._started()

    def _take_leave(self) -> None:
        """What an owner that has ended said last, and whether the status that it left is true."""
        _, said = self._owner.communicate()
        if said.strip():
            self.said.append(said.strip().splitlines()[-1])
        if self._owner.returncode > 0 and not self.is_finished:
            self.statuses_wrong += self.done != count_parts(BulkFolder(self._folder)).done

    def _disturb(self, kind: str) -> None:
        owner, done = self._owner, self.done
        if owner.poll() is not None:
            self._go_on()
            owner = self._owner
        own = psutil.Process(owner.pid)
        others = own.children(recursive=True)
        second = round(time.monotonic() - self._began_s, 1)
        self.disturbances.append(
            {"what": kind, "prompts_done": done, "second": second, "ranks": max(0, len(others) - 1)}
        )
        if kind == DISK_FULL:
            self._disk.fill([own, *others])
        elif kind == "interrupt":
            owner.send_signal(signal.SIGINT)
        else:
            a_rank = self._dice.choice(others[1:] or others or [own])
            victims = {"rank": [a_rank], "host": others[:1] or [own], "owner": [own]}
            for victim in victims.get(kind, [own, *others]):
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
        if kind not in ("rank", "host"):
            owner.wait(END_WITHIN_S)
        self._disk.make_room()


def measure_kills(
    prompts: int, kills: int, disk_full: int, workers: int, asked: dict[str, Any], most_characters: int, seed: int
) -> dict[str, Any]:
    """Disturb a bulk by so many kills and full disks; its outputs have to be those of the undisturbed one."""
    dice = random.Random(seed)
    kinds = [KINDS[number % len(KINDS)] for number in range(kills)] + [DISK_FULL] * disk_full
    dice.shuffle(kinds)
    moments = list(zip(sorted(dice.sample(range(prompts), len(kinds))), kinds, strict=True))
    with tempfile.TemporaryDirectory(prefix="nbkit-kills-") as scratch:
        source, undisturbed = Path(scratch, "prompts.txt"), Path(scratch, "undisturbed")
        source.write_text("\n".join(long_tailed(prompts, most_characters)))
        began_s = time.monotonic()
        subprocess.run(command(source, undisturbed, workers, asked), check=True, stdout=subprocess.DEVNULL)
        undisturbed_s = time.monotonic() - began_s
        disk = Disk(Path(scratch, "disk"))
        try:
            folder = disk.folder / "bulk"
            disturbed = Disturbed(command(source, folder, workers, asked), folder, disk, dice)
            began_s = time.monotonic()
            disturbed.run(moments)
            found = {
                "prompts": prompts,
                "disturbances": dict(Counter(each["what"] for each in disturbed.disturbances)),
                **_compared(folder / "outputs.jsonl", undisturbed / "outputs.jsonl", prompts),
                "statuses_that_were_not_as_the_parts": disturbed.statuses_wrong,
                "undisturbed_s": undisturbed_s,
                "disturbed_s": time.monotonic() - began_s,
                "disk": "a file system of its own, filled" if disk.is_own else "a limit of what may be written",
                "moments": disturbed.disturbances,
                "said_by_owners_at_their_end": dict(
                    Counter(line.replace(str(folder), "the folder")[:200] for line in disturbed.said)
                ),
                "log": dict(Counter(_kind_of(line) for line in (folder / "log.txt").read_text().splitlines())),
            }
        finally:
            disk.close()
    return found


def command(source: Path, folder: Path, workers: int, asked: dict[str, Any]) -> list[str]:
    """What owns a bulk: the same words begin it and go on with it."""
    return [sys.executable, "-c", OWNER, str(source), str(folder), str(workers), json.dumps(asked)]


def _compared(disturbed: Path, undisturbed: Path, prompts: int) -> dict[str, Any]:
    with disturbed.open() as file:
        rows = [json.loads(line) for line in file]
    indices = [row["index"] for row in rows]
    return {
        "outputs": len(rows),
        "duplicates": len(indices) - len(set(indices)),
        "in_order": indices == list(range(prompts)),
        "failed": sum("error" in row for row in rows),
        "same_outputs": disturbed.read_bytes() == undisturbed.read_bytes(),
    }


def _kind_of(line: str) -> str:
    """A line of the log without what is another in each: ``lost: rank 0 (process 17003) was killed`` is one kind."""
    words = line.partition(" ")[2].partition(":")
    return words[0] if words[0] in ("lost", "finished") else " ".join(words[0].split()[:3])
