"""The roofline panel: measure the device once, and hold every run against what it allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ipywidgets

from nbkit import figures
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

Setup = tuple[str, int]
"""A dtype, and how many ranks worked at once: what a device's speed depends on."""


class RooflinePanel:
    """A button that measures the device, and runs against its limit, of one dtype and number of ranks at a time.

    ``when_measured`` is called once the device's speeds are known.
    """

    def __init__(self, workers: Callable[[], Workers], when_measured: Callable[[], None]) -> None:
        self._workers = workers
        self._when_measured = when_measured
        self._runs: list[Run] = []
        self._speeds: dict[Setup, DeviceSpeed] = {}
        self._status = StatusLine()
        self._background = Background(self._status.say_error)
        self._button = ipywidgets.Button(
            description="Measure device", icon="tachometer", tooltip="Some seconds; kept in the user's cache"
        )
        self._setup = ipywidgets.Dropdown(description="runs", options=[], style=LABEL_WIDTH, layout=CONTROL)
        self._figure = LiveFigure(figures.speed_up({}))
        self._panel = Panel(self._figure)
        self._button.on_click(lambda _: self.run())
        self._setup.observe(lambda _: self._draw(), "value")
        bar = ipywidgets.HBox([self._button, self._setup], layout={"flex_flow": "row wrap"})
        self.widget = ipywidgets.VBox([bar, self._status, self._panel])
        self.show([])

    @property
    def is_busy(self) -> bool:
        """Whether it measures."""
        return self._background.is_busy

    def run(self) -> None:
        """Measure the device, as the button does; returns at once."""
        self._background.request(self._measure)

    def show(self, runs: Sequence[Run]) -> None:
        """Hold these runs against the limit."""
        self._runs = [run for run in runs if run.is_complete]
        setups = sorted({_setup(run) for run in self._runs})
        chosen = self._setup.value
        self._button.disabled = not setups
        self._setup.options = [(_in_words(setup), setup) for setup in setups]
        self._setup.value = chosen if chosen in setups else next(iter(setups), None)
        self._draw()

    def close(self) -> None:
        """Measure no more."""
        self._background.close()

    def _measure(self) -> None:
        for setup in sorted({_setup(run) for run in self._runs}):
            dtype, ranks = setup
            self._status.say(f"Measuring {_in_words(setup)}: memory, then arithmetic.")
            self._speeds[setup] = measure(self._workers(), dtype, ranks)
        self._draw()
        self._when_measured()

    def _draw(self) -> None:
        speed = self._speeds.get(self._setup.value)
        self._panel.layout.display = None if speed is not None else "none"
        if speed is None:
            self._status.say("Press Measure device to see what its memory and its arithmetic allow.")
            return
        own = [run for run in self._runs if _setup(run) == self._setup.value]
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


def _setup(run: Run) -> Setup:
    return run.dtype, run.world_size


def _in_words(setup: Setup) -> str:
    dtype, ranks = setup
    return f"{dtype}, {ranks} rank{'s' if ranks > 1 else ''} at once"


def _medians(runs: Sequence[Run]) -> dict[str, Run]:
    """Of each engine and batch size, the run whose wall time is the median; the first ``MOST_POINTS``."""
    alike: dict[str, list[Run]] = {}
    for run in runs:
        if any(batch.steps > 1 for batch in run.batches):
            alike.setdefault(f"{run.engine} {run.batch_size}", []).append(run)
    ordered = {name: sorted(own, key=lambda run: run.wall_s) for name, own in sorted(alike.items())}
    return {name: own[(len(own) - 1) // 2] for name, own in list(ordered.items())[:MOST_POINTS]}
