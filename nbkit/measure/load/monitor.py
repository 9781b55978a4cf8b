"""Monitor: the notebook's side of the sampler."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections import deque
from typing import IO, TYPE_CHECKING, Any, Self

from nbkit.errors import InputError, shorten
from nbkit.records import LoadSample
from nbkit.records.run import Run

if TYPE_CHECKING:
    from nbkit.inference.workers import Workers
    from nbkit.runtime import Job

MOST_SAMPLES = 50_000
END_TIMEOUT_S = 5.0
START_SAMPLER = "import sys; from nbkit.measure.load.sampler import main; main(float(sys.argv[1]), int(sys.argv[2]))"


class Monitor:
    """Samples how busy GPUs and the ranks of some workers are, from a process of its own.

    Parameters
    ----------
    period_s : float
        Seconds between samples, at least 0.05.

    Raises
    ------
    InputError
        ``period_s`` is too short.

    Examples
    --------
    >>> with nbkit.Monitor() as monitor:
    ...     monitor.watch(workers)
    ...     job = workers.submit_generate(prompts)
    ...     run = monitor.attach(job.result(), job)
    """

    def __init__(self, period_s: float = 0.5) -> None:
        if not period_s >= 0.05:
            raise InputError(f"period_s must be at least 0.05 seconds, not {shorten(period_s)}.")
        self._samples: deque[LoadSample] = deque(maxlen=MOST_SAMPLES)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-c", START_SAMPLER, str(period_s), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            # The notebook's import path: the sampler must find the same nbkit.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)},
            # Jupyter signals the kernel's whole process group: an interrupt is not meant for it.
            start_new_session=True,
        )
        self._watched: dict[int, int] = {}
        assert self._process.stdout is not None
        # The thread knows the samples, not the monitor: a forgotten one can be collected.
        threading.Thread(
            target=_read, args=(self._process.stdout, self._samples), name="nbkit-monitor", daemon=True
        ).start()
        self._finalizer = weakref.finalize(self, _end, self._process, self._errors)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def error(self) -> str | None:
        """Why sampling has stopped by itself; None while it goes on, and after ``close``."""
        if not self._finalizer.alive or self._process.poll() is None:
            return None
        try:
            self._errors.seek(0)
            lines = self._errors.read().decode(errors="replace").strip().splitlines()
        except ValueError:  # closed by another thread just now
            return None
        return lines[-1] if lines else f"the sampler ended with exit code {self._process.returncode}"

    def watch(self, workers: Workers) -> None:
        """Watch the ranks that these workers have now, as far as they are on this machine; waits until they are up.

        Raises
        ------
        WorkersError
            The workers could not start or are closed.
        """
        here = socket.gethostname()
        pids = {info.rank: info.pid for info in workers.wait_until_ready() if info.node == here}
        if pids == self._watched or not self._finalizer.alive:
            return
        self._watched = pids
        assert self._process.stdin is not None
        # A sampler that has ended says so in ``error``; no job shall fail for it.
        # Nor for one that another thread closes just now (ValueError).
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps({"ranks": pids}) + "\n")
            self._process.stdin.flush()

    @property
    def samples(self) -> list[LoadSample]:
        """All samples that are kept, the newest 50,000; ``at_s`` on ``time.monotonic``."""
        return list(self._samples)

    def since(self, at_s: float) -> list[LoadSample]:
        """The samples taken at ``at_s`` (seconds on ``time.monotonic``) or later."""
        newest = []
        for sample in reversed(self.samples):
            if sample.at_s < at_s:
                break
            newest.append(sample)
        return newest[::-1]

    def during(self, job: Job) -> list[LoadSample]:
        """The samples since a job was submitted, on the clock of its Run."""
        return [
            dataclasses.replace(sample, at_s=round(sample.at_s - job.submitted, 3))
            for sample in self.since(job.submitted)
        ]

    def attach(self, run: Run, job: Job) -> Run:
        """The Run that came of ``job``, with the samples taken until its end."""
        samples = [sample for sample in self.during(job) if sample.at_s <= run.end_s]
        return dataclasses.replace(run, load_samples=samples)

    def close(self) -> None:
        """End the sampler; safe to call again."""
        self._finalizer()


def _read(lines: IO[str], samples: deque[LoadSample]) -> None:
    with contextlib.suppress(ValueError, OSError), lines:  # closed while reading
        for line in lines:
            taken: dict[str, Any] = json.loads(line)
            samples.extend(LoadSample(at_s=taken["at_s"], **sample) for sample in taken["samples"])


def _end(process: subprocess.Popen[str], errors: IO[bytes]) -> None:
    with contextlib.suppress(OSError):
        assert process.stdin is not None
        process.stdin.close()
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    errors.close()
