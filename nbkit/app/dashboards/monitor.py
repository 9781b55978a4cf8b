"""The monitor dashboard: how busy GPUs and ranks are, and what memory they hold, as it happens."""

from __future__ import annotations

import threading
import time

import ipywidgets

from nbkit import figures
from nbkit.app.dashboards.parts.dashboard import Dashboard
from nbkit.app.dashboards.parts.live_figure import LiveFigure
from nbkit.app.dashboards.parts.panel import Panel
from nbkit.figures.html.report import html_table
from nbkit.inference.workers import Workers
from nbkit.measure.load import Monitor as Sampling
from nbkit.records import LoadSample

REDRAW_EVERY_S = 0.5
SHOWN_S = 120.0
BEFORE_NOW = "seconds before now"


class MonitorDashboard(Dashboard):
    """The last two minutes of each GPU (NVML) and each rank's process; paused and gone on with by its button.

    Parameters
    ----------
    workers : Workers, optional
        Live workers to watch; keep a name for them. Left out: the dashboard has its own,
        which ``close()`` ends.
    """

    def __init__(self, workers: Workers | None = None) -> None:
        super().__init__(workers)
        self._sampling = Sampling(period_s=REDRAW_EVERY_S)
        self._paused = threading.Event()
        self._closing = threading.Event()
        self._names: list[str] = []
        self._pause = ipywidgets.ToggleButton(description="Pause", icon="pause", disabled=True)
        self._pause.observe(lambda change: self._on_pause(change.new), "value")
        self._figure = LiveFigure(figures.load_over_time([], 0.0, [], "Load of the machine", BEFORE_NOW))
        self._panel = Panel(self._figure)
        self._now = ipywidgets.HTML()
        controls = ipywidgets.HBox([self._pause, self._status], layout={"align_items": "center"})
        self._lay_out(controls, self._panel, self._now)
        self._start_with_workers(self._begin)

    def run(self) -> None:
        """Go on watching, as the button does; it begins by itself."""
        self._pause.value = False

    def stop(self) -> None:
        """Pause, as the button does; what is shown stays."""
        self._pause.value = True

    def close(self) -> None:
        """Stop sampling, remove the widgets, and end the workers if they are the dashboard's own."""
        self._closing.set()
        super().close()
        self._sampling.close()

    def _begin(self) -> None:
        self._pause.disabled = False
        self._status.say("Watching.")
        self._background.request(self._watch)

    def _on_pause(self, is_paused: bool) -> None:
        self._pause.description, self._pause.icon = ("Go on", "play") if is_paused else ("Pause", "pause")
        if is_paused:
            self._paused.set()
            self._status.say("Paused.")
        else:
            self._paused.clear()
            self._status.say("Watching.")
            self._background.request(self._watch)

    def _watch(self) -> None:
        while not (self._closing.is_set() or self._paused.is_set()):
            workers = self._workers.get()
            if workers.is_ready:
                self._sampling.watch(workers)
            if self._sampling.error:
                self._status.say(f"Sampling has stopped: {self._sampling.error}")
            self._panel.draw(self._draw)
            self._closing.wait(REDRAW_EVERY_S)

    def _draw(self) -> None:
        now_s = time.monotonic()
        samples = self._sampling.since(now_s - SHOWN_S)
        names = sorted({sample.of for sample in samples}, key=lambda name: (name.split()[0], int(name.split()[1])))
        if names != self._names:
            self._names = names
            self._figure.begin(figures.load_over_time(samples, now_s, names, "Load of the machine", BEFORE_NOW))
        else:
            self._figure.show(figures.load_traces(samples, now_s, names))
        newest = {sample.of: sample for sample in samples}
        self._now.value = html_table(_row(newest[name]) for name in names)


def _row(sample: LoadSample) -> dict[str, object]:
    row: dict[str, object] = {
        "": sample.of,
        "busy, %": round(sample.busy_percent),
        "memory, MB": round(sample.memory_bytes / 1e6),
    }
    row["power, W"] = "-" if sample.power_w is None else round(sample.power_w)
    row["temperature, °C"] = "-" if sample.temperature_c is None else round(sample.temperature_c)
    return row
