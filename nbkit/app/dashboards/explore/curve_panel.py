"""The curve panel: a dot a run, beside the controls that move it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import ipywidgets

from nbkit import figures
from nbkit.app.dashboards.parts.live_figure import LiveFigure
from nbkit.app.dashboards.parts.panel import Panel
from nbkit.errors import NbkitError
from nbkit.figures.style import Arrays
from nbkit.inference.progress import RunProgress
from nbkit.measure.device_speed.kept import speed_of
from nbkit.measure.device_speed.speed import DeviceSpeed
from nbkit.models.model_arithmetic import ModelShape
from nbkit.models.model_shape import model_shape
from nbkit.records.run import Run
from nbkit.records.settings import Settings

BATCH_SIZE, TTFT, ITL = "batch size", "TTFT", "ITL"
TOOLTIPS = [
    "Tokens/s that users get, by batch size",
    "Time to first token against tokens/s",
    "Inter-token latency against tokens/s",
]
EMPTY = (
    "Every run becomes a dot here: tokens per second by batch size. Press Run, move the batch size and press Run "
    "again, or switch Live on and only move it. What else you change begins a new line."
)


class CurvePanel:
    """The runs so far as dots, and the one under way; ``on_show`` is called with a run whose dot is clicked."""

    def __init__(self, on_show: Callable[[Run], None]) -> None:
        self._on_show = on_show
        self._runs: Sequence[Run] = ()
        self._shown: Run | None = None
        self._running: Settings | None = None
        self._shapes: dict[str, ModelShape] = {}
        self._choice = ipywidgets.ToggleButtons(
            options=[BATCH_SIZE, TTFT, ITL], tooltips=TOOLTIPS, style={"button_width": "96px"}
        )
        self._choice.observe(lambda _: self._draw(), "value")
        self._empty = ipywidgets.HTML(f"<p class='nbkit-empty'>{EMPTY}</p>")
        self._figure = LiveFigure(figures.batch_curve([]))
        self._figure.on_click(self._on_click)
        self._panel = Panel(self._figure)
        self._drawn = ipywidgets.VBox([self._panel, self._choice], layout={"min_width": "0"})
        self._drawn.layout.display = "none"
        self.widget = ipywidgets.VBox([self._empty, self._drawn], layout={"min_width": "0"})

    def begin(self, settings: Settings) -> None:
        """A run with these settings is under way."""
        self._running, self._shown = settings, None
        self._draw()

    def show_running(self, progress: RunProgress) -> None:
        """Move the dot of the run under way."""
        if self._running is None or not progress.tokens_per_second:
            return
        self._show_figure(True)
        if self._choice.value == BATCH_SIZE:
            dot = figures.running_dot(_batch_size(progress), progress.tokens_per_second)
            self._panel.draw(lambda: self._show_dot(dot))

    def end(self) -> None:
        """No run is under way any more."""
        self._running = None
        self._show_figure(bool(self._runs))
        if self._choice.value == BATCH_SIZE:
            self._panel.draw(lambda: self._show_dot(figures.running_dot(1, 0.0)))

    def show(self, runs: Sequence[Run], shown: Run | None) -> None:
        """Draw these runs, the newest last; the dot of the one that is shown elsewhere is larger."""
        if shown is not self._shown or [*map(id, runs)] != [*map(id, self._runs)]:
            self._runs, self._shown = list(runs), shown
            self._draw()

    def _show_dot(self, dot: Arrays) -> None:
        finished: list[Arrays] = [{}] * (len(self._figure.figure["data"]) - 1)
        self._figure.show([*finished, dot])

    def _draw(self) -> None:
        self._show_figure(bool(self._runs))
        if self._runs or self._running is not None:
            self._panel.draw(self._begin_figure)

    def _show_figure(self, has_dots: bool) -> None:
        # No axes before there is something on them.
        self._drawn.layout.display = None if has_dots else "none"
        self._empty.layout.display = "none" if has_dots else None

    def _begin_figure(self) -> None:
        shown = next((place for place, run in enumerate(self._runs) if run is self._shown), None)
        if self._choice.value == BATCH_SIZE:
            asked = self._running.batch_size if self._running is not None else None
            running_at = asked if isinstance(asked, int) else None
            figure = figures.batch_curve(self._runs, self._device(), shown, running_at)
        else:
            figure = figures.latency_by_throughput(self._runs, self._choice.value, shown)
        self._figure.begin(figure)

    def _device(self) -> tuple[ModelShape, DeviceSpeed] | None:
        """What the limit of the newest run is drawn from, where both are known without measuring."""
        if not self._runs or (speed := speed_of(self._runs[-1])) is None:
            return None
        name = self._runs[-1].settings.model
        with contextlib.suppress(NbkitError):
            if name not in self._shapes:
                self._shapes[name] = model_shape(name)
        return (self._shapes[name], speed) if name in self._shapes else None

    def _on_click(self, place: int) -> None:
        if 0 <= place < len(self._runs):
            self._on_show(self._runs[place])


def _batch_size(progress: RunProgress) -> float:
    """As asked for, or what ``auto`` has become on the ranks that have begun; 1 where an engine has no batches."""
    if not progress.settings.engine_spec.batches:
        return 1
    asked = progress.settings.batch_size
    return asked if isinstance(asked, int) else max(own.batch_size for own in progress.ranks.values())
