"""The hello dashboard: a picture of the machine, and who answered in a gather."""

from __future__ import annotations

import os

import ipywidgets

from nbkit.app.dashboards.parts.dashboard import Dashboard
from nbkit.app.dashboards.parts.live_figure import LiveFigure
from nbkit.app.dashboards.parts.panel import Panel
from nbkit.figures import machine_picture
from nbkit.figures.html.report import html_table
from nbkit.inference.hello import HelloGather
from nbkit.inference.workers import Workers


class HelloDashboard(Dashboard):
    """See nodes, processes and devices; say hello from every rank, and see how long the gather took.

    Parameters
    ----------
    workers : Workers, optional
        Live workers to use; keep a name for them. Left out: the dashboard has its own,
        which ``close()`` ends.
    """

    def __init__(self, workers: Workers | None = None) -> None:
        super().__init__(workers)
        self._button = ipywidgets.Button(description="Say hello", button_style="primary", icon="play", disabled=True)
        self._button.on_click(lambda _: self.run())
        self._picture = LiveFigure(machine_picture([]))
        self._panel = Panel(self._picture)
        self._panel.layout.display = "none"
        self._answers = ipywidgets.HTML()
        controls = ipywidgets.HBox(
            [self._workers.slider, self._button, self._status],
            layout={"flex_flow": "row wrap", "align_items": "center"},
        )
        self._lay_out(controls, self._panel, self._answers)
        self._start_with_workers(self._get_ready)

    def run(self) -> None:
        """Say hello, as the button does; returns at once, and does nothing while the button is off."""
        self._press(self._button, self._say_hello)

    def _get_ready(self) -> None:
        self._button.disabled = False
        self._status.say("Ready.")
        workers = self._workers.get()
        if workers.is_ready:
            self._draw(workers, None)

    def _say_hello(self) -> None:
        try:
            self._answers.value = ""
            self._status.say("Waiting for every rank.")
            workers = self._workers.get_resized()
            greetings = workers.hello()
            self._draw(workers, greetings)
            self._answers.value = html_table(_rows(greetings))
            count = len(greetings.greetings)
            self._status.say(f"{count} of {workers.world_size} ranks answered.")
        finally:
            self._button.disabled = False

    def _draw(self, workers: Workers, greetings: HelloGather | None) -> None:
        self._panel.layout.display = None
        ranks = workers.wait_until_ready()
        self._panel.draw(lambda: self._picture.begin(machine_picture(ranks, greetings, os.getpid())))


def _rows(greetings: HelloGather) -> list[dict[str, object]]:
    return [
        {
            "rank": greeting.rank,
            "message": greeting.text,
            "device": greeting.device,
            "process": greeting.pid,
            "node": greeting.node,
            "in the gather, ms": f"{1000 * seconds:.1f}",
        }
        for greeting, seconds in zip(greetings.greetings, greetings.gather_s, strict=True)
    ]
