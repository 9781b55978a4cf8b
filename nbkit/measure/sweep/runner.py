"""Runner: measures what of a sweep is left, on live workers, and saves after every run."""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from nbkit.errors import InputError, JobCancelled, ModelError, NbkitError
from nbkit.files.atomic_write import check_writable
from nbkit.inference.workers import Workers
from nbkit.measure.sweep.grid import Grid, Point
from nbkit.measure.sweep.record import Failure, Measurement, Sweep, resume_or_begin
from nbkit.records.request import Conversation
from nbkit.records.run import Run
from nbkit.runtime import Job


@dataclass(frozen=True, slots=True)
class SweepStep:
    """What a sweep is about to do or has done; ``job`` is the run under way, ``remaining_s`` an estimate, if any."""

    kind: Literal["measuring", "measured", "failed"]
    point: Point
    repeat: int
    job: Job | None
    sweep: Sweep
    done: int
    total: int
    remaining_s: float | None


class SweepRunner:
    """Measures what is left of a sweep.

    Parameters
    ----------
    workers : Workers
        At least as many as the most ranks of the grid.
    sweep : Sweep
        Its measurements grow as they are made.
    path : str or Path, optional
        Where the sweep is saved after every run.

    Raises
    ------
    InputError
        There are not enough workers, or the file cannot be written.
    """

    def __init__(self, workers: Workers, sweep: Sweep, path: str | Path | None = None) -> None:
        most = max(sweep.grid.ranks)
        if most > workers.world_size:
            raise InputError(
                f"the grid asks for {most} ranks, but only {workers.world_size} are started; resize({most}) starts "
                "others."
            )
        self._workers = workers
        self._sweep = sweep
        self._path = None if path is None else check_writable(path)
        self._job: Job | None = None
        self._stopping = threading.Event()
        self._is_unsaved = False
        self._overheads_s: list[float] = []
        """Of each run, what it took beside its wall time: loading, warming up, saving, showing."""

    def stop(self) -> None:
        """Cancel the run under way and end; from any thread. What is measured is kept."""
        self._stopping.set()
        job = self._job
        if job is not None:
            job.cancel()

    def steps(self) -> Generator[SweepStep, None, None]:
        """Measure, step by step; to be iterated to its end. Given up before, it cancels the run under way.

        A run that fails is recorded, and the sweep goes on.

        Raises
        ------
        InputError, ModelError
            The very first run fails for what would fail every time: a model that there is not, a
            prompt that does not fit.
        WorkersError
            The workers were closed.
        """
        try:
            for point, repeat in self._sweep.left:
                yield from self._measure(point, repeat)
                if self._stopping.is_set():
                    return
        finally:
            if self._job is not None:
                self._job.cancel()
            # An interrupt can come while the file is written.
            if self._is_unsaved:
                self._save()

    def _measure(self, point: Point, repeat: int) -> Iterator[SweepStep]:
        began = time.monotonic()
        self._sweep.failures = [f for f in self._sweep.failures if (f.point, f.repeat) != (point, repeat)]
        try:
            yield self._begin(point, repeat)
            run = self._finish()
        except JobCancelled:
            self._stopping.set()
            return
        except NbkitError as error:
            is_hopeless = not self._sweep.measurements and isinstance(error, InputError | ModelError)
            if is_hopeless or self._workers.is_closed:
                raise
            self._sweep.failures.append(Failure(point, repeat, str(error)))
            self._save()
            yield self._step("failed", point, repeat)
            return
        self._is_unsaved = True
        self._sweep.measurements.append(Measurement(point, repeat, run))
        self._save()
        self._overheads_s.append(max(0.0, time.monotonic() - began - run.wall_s))
        yield self._step("measured", point, repeat)

    def _begin(self, point: Point, repeat: int) -> SweepStep:
        if self._stopping.is_set():
            raise JobCancelled
        self._job = self._workers.submit_generate(self._sweep.prompts, point.settings, ranks=point.ranks)
        # A stop that came while it was being submitted saw no job to cancel.
        if self._stopping.is_set():
            self._job.cancel()
        return self._step("measuring", point, repeat)

    def _finish(self) -> Run:
        assert self._job is not None
        run: Run = self._job.result()
        self._job = None
        return run

    def _step(self, kind: Literal["measuring", "measured", "failed"], point: Point, repeat: int) -> SweepStep:
        total = len(self._sweep.grid.plan())
        left = self._sweep.left
        overhead_s = statistics.mean(self._overheads_s) if self._overheads_s else 0.0
        remaining = remaining_s(self._sweep, overhead_s)
        return SweepStep(kind, point, repeat, self._job, self._sweep, total - len(left), total, remaining)

    def _save(self) -> None:
        if self._path is not None:
            self._sweep.save(self._path)
        self._is_unsaved = False


def remaining_s(sweep: Sweep, overhead_s: float = 0.0) -> float | None:
    """An estimate of the seconds that a sweep still takes; None before its first measurement.

    Of each point its own median wall time, else that of the point that is most like it: of the same
    engine, if there is one, on the most of the grid's other axes alike, with the nearest number of
    sequences at a time. ``overhead_s`` is what every run costs beside its wall time.
    """
    walls: dict[Point, list[float]] = {}
    for measurement in sweep.measurements:
        walls.setdefault(measurement.point, []).append(measurement.run.wall_s)
    if not walls:
        return None

    def unlikeness(one: Point, other: Point) -> tuple[bool, int, float]:
        differing = sum(one.others[name] != value for name, value in other.others.items())
        sequences = abs(math.log2(one.sequences / other.sequences))
        return one.settings.engine != other.settings.engine, differing, sequences

    nearest = (min(walls, key=partial(unlikeness, point)) for point, _ in sweep.left)
    return sum(statistics.median(walls[point]) + overhead_s for point in nearest)


def run_sweep(
    workers: Workers, grid: Grid, prompts: Sequence[str | Conversation], path: str | Path | None = None
) -> Sweep:
    """Measure every combination of a grid, saying how far it is; an interrupt keeps what is measured.

    Parameters
    ----------
    workers : Workers
        At least as many as the most ranks of the grid.
    grid : Grid
        What to combine.
    prompts : sequence of str
        For every run the same.
    path : str or Path, optional
        Where to save after every run. A file that is there is gone on with.

    Returns
    -------
    Sweep
        Complete, but for runs that failed (they are in its ``failures``) and those that an
        interrupt left.

    Raises
    ------
    InputError, ModelError
        The grid, the prompts or the file cannot be used.
    """
    sweep = resume_or_begin(path, grid, prompts)
    runner = SweepRunner(workers, sweep, path)
    try:
        for step in runner.steps():
            left = "" if not step.remaining_s else f", about {step.remaining_s:.0f} s left"
            print(f"\r{step.done} of {step.total} runs measured{left}".ljust(60), end="", flush=True)
        print()
    except KeyboardInterrupt:
        print(f"\nstopped: {len(sweep.measurements)} runs are measured, {len(sweep.left)} are left.")
    for failure in sweep.failures:
        print(f"failed: {failure.point.label}: {failure.message}")
    return sweep
