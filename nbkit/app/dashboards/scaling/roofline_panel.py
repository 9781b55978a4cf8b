"""The roofline panel: measure the device once, and hold every run against what it allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets

from nbkit import figures
from nbkit.analysis.cost_model import resolved_dtype
from nbkit.analysis.roofline import of_run
from nbkit.app.dashboards.parts.background import Background
from nbkit.app.dashboards.parts.live_figure import LiveFigure
from nbkit.app.dashboards.parts.panel import Panel
from nbkit.app.dashboards.parts.workers_control import CONTROL, LABEL_WIDTH, StatusLine
from nbkit.inference.workers import Workers
from nbkit.measure.device_speed import measure
from nbkit.measure.device_speed.speed import DeviceSpeed
from nbkit.models.model_shape import model_shape
from nbkit.records.run import Run

MOST_POINTS = 8
"""More would not be told apart."""

Place = tuple[str, int]
"""A dtype, and how many ranks worked at once: what a device's speed depends on."""


class RooflinePanel:
    """A button that measures the device, and runs against its limit, of one dtype and number of ranks at a time."""

    def __init__(self, workers: Callable[[], Workers]) -> None:
        self._workers = workers
        self._runs: list[Run] = []
        self._speeds: dict[Place, DeviceSpeed] = {}
        self._status = StatusLine()
        self._background = Background(self._status.say_error)
        self._button = ipywidgets.Button(
            description="Measure device", icon="tachometer", tooltip="Some seconds; kept in the user's cache"
        )
        self._place = ipywidgets.Dropdown(description="runs", options=[], style=LABEL_WIDTH, layout=CONTROL)
        self._figure = LiveFigure(figures.speed_up({}))
        self._panel = Panel(self._figure)
        self._button.on_click(lambda _: self._background.request(self._measure))
        self._place.observe(lambda _: self._draw(), "value")
        bar = ipywidgets.HBox([self._button, self._place], layout={"flex_flow": "row wrap"})
        self.widget = ipywidgets.VBox([bar, self._status, self._panel])
        self.show([])

    def show(self, runs: Sequence[Run]) -> None:
        """Hold these runs against the limit."""
        self._runs = [run for run in runs if run.is_complete]
        places = sorted({_place(run) for run in self._runs})
        chosen = self._place.value
        self._button.disabled = not places
        self._place.options = [(_in_words(place), place) for place in places]
        self._place.value = chosen if chosen in places else next(iter(places), None)
        self._draw()

    def close(self) -> None:
        """Measure no more."""
        self._background.close()

    def _measure(self) -> None:
        for place in sorted({_place(run) for run in self._runs}):
            dtype, ranks = place
            self._status.say(f"Measuring {_in_words(place)}: memory, then arithmetic.")
            self._speeds[place] = measure(self._workers(), dtype, ranks)
        self._draw()

    def _draw(self) -> None:
        speed = self._speeds.get(self._place.value)
        self._panel.layout.display = None if speed is not None else "none"
        if speed is None:
            self._status.say("Press Measure device to see what its memory and its arithmetic allow.")
            return
        own = [run for run in self._runs if _place(run) == self._place.value]
        self._status.say(
            f"A rank reads {speed.bytes_per_s / 1e9:.1f} GB/s and computes {speed.flops_per_s / 1e9:.0f} GFLOP/s in "
            f"{speed.dtype}: {speed.source}."
        )
        self._panel.draw(lambda: self._show_points(own, speed))

    def _show_points(self, runs: Sequence[Run], speed: DeviceSpeed) -> None:
        shape = model_shape(runs[0].settings.model)
        points = {name: of_run(run, shape, speed) for name, run in _medians(runs).items()}
        context = sum(point.context for point in points.values()) / len(points)
        self._figure.begin(figures.roofline(shape, speed, speed.dtype, context, points))


def _place(run: Run) -> Place:
    return resolved_dtype(run), run.world_size


def _in_words(place: Place) -> str:
    dtype, ranks = place
    return f"{dtype}, {ranks} rank{'s' if ranks > 1 else ''} at once"


def _medians(runs: Sequence[Run]) -> dict[str, Run]:
    """Of each engine and batch size, the run whose wall time is the median; the first ``MOST_POINTS``."""
    alike: dict[str, list[Run]] = {}
    for run in runs:
        if any(batch.steps > 1 for batch in run.batches):
            alike.setdefault(f"{run.engine} {run.batch_size}", []).append(run)
    ordered = {name: sorted(own, key=lambda run: run.wall_s) for name, own in sorted(alike.items())}
    return {name: own[(len(own) - 1) // 2] for name, own in list(ordered.items())[:MOST_POINTS]}
