"""Sweep: what was measured over a grid, in one file from which every figure can be drawn again."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbkit.errors import InputError, file_name, first_line, shorten
from nbkit.files.atomic_write import path_of, write_atomically
from nbkit.files.json_files import read_json
from nbkit.measure.sweep.grid import Grid, Point
from nbkit.records.latency import MS_DECIMALS
from nbkit.records.request import Conversation, check_prompts
from nbkit.records.run import Run
from nbkit.records.stored import Damaged, value_of

if TYPE_CHECKING:
    import pandas

SWEEP_VERSION = 1


@dataclass(frozen=True, slots=True)
class Measurement:
    """A point that was measured: the run, and which repeat it was, from 0 on."""

    point: Point
    repeat: int
    run: Run


@dataclass(frozen=True, slots=True)
class Failure:
    """A point that could not be measured, and why."""

    point: Point
    repeat: int
    message: str


@dataclass(frozen=True, slots=True)
class _StoredFailure:
    """A failure as the file tells it: its point by the place among its grid's."""

    place: int
    repeat: int
    message: str


@dataclass
class Sweep:
    """Runs over a grid, complete or as far as they are.

    ``measurements`` are in the order in which they were made.
    """

    grid: Grid
    prompts: list[str | Conversation]
    measurements: list[Measurement] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def __post_init__(self) -> None:
        self.prompts = check_prompts(self.prompts)

    @property
    def runs(self) -> list[Run]:
        """The runs, in the order in which they were made."""
        return [measurement.run for measurement in self.measurements]

    @property
    def left(self) -> list[tuple[Point, int]]:
        """What the plan holds and was not measured yet, in its order; what failed is among it."""
        done = {(measurement.point, measurement.repeat) for measurement in self.measurements}
        return [planned for planned in self.grid.plan() if planned not in done]

    @property
    def is_complete(self) -> bool:
        """Whether all is measured."""
        return not self.left

    def runs_at(self, point: Point) -> list[Run]:
        """The runs of one combination, in the order in which they were made."""
        return [measurement.run for measurement in self.measurements if measurement.point == point]

    def table(self) -> pandas.DataFrame:
        """A pandas table with one row a measurement, units in the names."""
        import pandas

        return pandas.DataFrame([_row(measurement) for measurement in self.measurements])

    def summary_table(self) -> pandas.DataFrame:
        """A pandas table with one row a point: medians over its repeats, with the lowest and the highest."""
        import pandas

        return pandas.DataFrame(list(self.summary_rows()))

    def summary_rows(self) -> Iterator[dict[str, Any]]:
        """The rows of ``summary_table``, units in the names."""
        for point in self.grid.points():
            if runs := self.runs_at(point):
                walls, rates = ([getattr(run, name) for run in runs] for name in ("wall_s", "tokens_per_second"))
                yield {
                    "ranks": point.ranks,
                    "engine": runs[0].engine_label,
                    "batch size": point.settings.prompts_a_batch,
                    "dtype": runs[0].summary()["dtype"],
                    "schedule": point.settings.schedule_label,
                    **point.others,
                    "repeats": len(runs),
                    "wall s": round(statistics.median(walls), 2),
                    "lowest s": round(min(walls), 2),
                    "highest s": round(max(walls), 2),
                    "tokens/s": round(statistics.median(rates), 1),
                    "lowest tokens/s": round(min(rates), 1),
                    "highest tokens/s": round(max(rates), 1),
                    "TTFT p99 ms": _median_of(runs, "TTFT p99 ms"),
                    "ITL p99 ms": _median_of(runs, "ITL p99 ms"),
                }

    def save(self, path: str | Path) -> Path:
        """Write the sweep as one JSON file, whole or not at all, and return the path.

        Raises
        ------
        InputError
            The file cannot be written.
        """
        data = {
            "sweep_version": SWEEP_VERSION,
            "created": self.created,
            "grid": self.grid.to_dict(),
            "prompts": [
                p.to_list() if isinstance(p, Conversation) else p for p in self.prompts
            ],  # once, not with every run
            "measurements": [
                {"ranks": m.point.ranks, "repeat": m.repeat, "run": _without_prompts(m.run)}
                for m in self.measurements
            ],
            "failures": [
                {"place": self.grid.points().index(f.point), "repeat": f.repeat, "message": f.message}
                for f in self.failures
            ],
        }
        return write_atomically(path, json.dumps(data, ensure_ascii=False))

    @classmethod
    def load(cls, path: str | Path) -> Sweep:
        """Read a sweep that ``save`` wrote.

        Raises
        ------
        InputError
            The file cannot be read, or holds no sweep that this nbkit knows.
        """
        data = read_json(path, "sweep")
        version = data.get("sweep_version") if isinstance(data, dict) else None
        if version != SWEEP_VERSION:
            raise InputError(
                f"{file_name(path)} holds no sweep of version {SWEEP_VERSION} (found {shorten(version)}); a "
                "newer file needs a newer nbkit, any other is no sweep."
            )
        try:
            return cls._from_dict(data)
        except Damaged as error:
            raise InputError(f"the data of the sweep in {file_name(path)} are damaged: {error}.") from None
        except InputError as error:
            raise InputError(f"{file_name(path)}: {error}") from None
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError, RecursionError) as error:
            what = f"{type(error).__name__}: {first_line(error)}"
            raise InputError(f"the data of the sweep in {file_name(path)} are damaged: {what}.") from error

    @classmethod
    def _from_dict(cls, data: dict[str, Any]) -> Sweep:
        grid = Grid.from_dict(data["grid"])
        prompts = data["prompts"]
        measurements = []
        for number, each in enumerate(data["measurements"]):
            run = Run.from_dict({**each["run"], "prompts": prompts})
            ranks, repeat = (
                value_of(int, each[name], f"measurements[{number}].{name}") for name in ("ranks", "repeat")
            )
            if not run.ranks:
                raise Damaged(f"measurements[{number}].run.ranks is empty, and all that is measured was finished")
            point = Point(ranks, run.settings, tuple(grid.axes))
            measurements.append(Measurement(point, repeat, run))
        _check_planned(grid, measurements)
        stored = value_of(list[_StoredFailure], data["failures"], "failures")
        points = grid.points()
        failures = [Failure(points[each.place], each.repeat, each.message) for each in stored]
        return cls(grid, prompts, measurements, failures, value_of(str, data["created"], "created"))


def resume_or_begin(path: str | Path | None, grid: Grid, prompts: Sequence[str | Conversation]) -> Sweep:
    """The sweep that a file holds, to go on with, or a new one if there is no file.

    More repeats than the file's are a sweep to go on with; anything else that differs is not.

    Raises
    ------
    InputError
        The file holds another sweep, or none; the message says what differs and what to do.
    """
    if path is None or not os.path.exists(path_of(path)):
        return Sweep(grid, list(prompts))
    found = Sweep.load(path)
    if differing := found.grid.differences(grid):
        what = "; ".join(
            f"{name} {shorten(stored)}, not {shorten(asked)}" for name, (stored, asked) in differing.items()
        )
        raise InputError(f"{file_name(path)} holds another sweep: {what}. Name another file, or delete this one.")
    if found.prompts != check_prompts(prompts):
        raise InputError(
            f"{file_name(path)} holds a sweep of other prompts ({len(found.prompts)} of them, not {len(prompts)}, or "
            "with other texts). Name another file, or delete this one."
        )
    if grid.repeats < found.grid.repeats:
        return found
    return Sweep(grid, found.prompts, found.measurements, found.failures, found.created)


def _check_planned(grid: Grid, measurements: Sequence[Measurement]) -> None:
    """Raise Damaged at a measurement that the grid does not hold, or that is there twice."""
    left = set(grid.plan())
    for number, each in enumerate(measurements):
        planned = each.point, each.repeat
        if planned not in left:
            held = each.point in grid.points() and each.repeat in range(grid.repeats)
            fault = "is there twice" if held else "is none of its grid's"
            raise Damaged(f"measurement {number} ({each.point.label}, repeat {each.repeat}) {fault}")
        left.remove(planned)


def _row(measurement: Measurement) -> dict[str, Any]:
    run = measurement.run
    return {
        "ranks": measurement.point.ranks,
        "idle ranks": run.idle_ranks,
        "repeat": measurement.repeat,
        **measurement.point.others,
        **run.summary(),
        "computed tokens/s": round(run.computed_tokens_per_second, 1),
    }


def _median_of(runs: Sequence[Run], measure: str) -> float | None:
    """Over the runs that tell this measure of their summaries; None where none does."""
    known = [value for run in runs if (value := run.summary()[measure]) is not None]
    return round(statistics.median(known), MS_DECIMALS) if known else None


def _without_prompts(run: Run) -> dict[str, Any]:
    return {key: value for key, value in run.to_dict().items() if key != "prompts"}
