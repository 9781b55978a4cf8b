"""The hello dashboard: how many workers, run, who answered."""

from __future__ import annotations

import ipywidgets

from nbkit.dashboards.dashboard import Dashboard
from nbkit.hello import Hello as Greetings
from nbkit.report import html_table
from nbkit.workers import Workers


class Hello(Dashboard):
    """Say hello from every rank and see who answered.

    Parameters
    ----------
    workers : Workers, optional
        Live workers to use; keep a name for them. Left out: the dashboard has its own,
        which ``close()`` ends.
    """

    def __init__(self, workers: Workers | None = None) -> None:
        super().__init__(workers, button="Say hello", ready="Ready.")
        self._answers = ipywidgets.HTML()
        self._on_button(self._say_hello)
        controls = ipywidgets.HBox([self._workers.slider, self._button])
        self.widget.children = (controls, self._status, self._answers)

    def _say_hello(self) -> None:
        self._answers.value = ""
        self._status.say("Waiting for every rank.")
        workers = self._workers.get_resized()
        greetings: Greetings = workers.hello()
        rows = [
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
        self._answers.value = html_table(rows)
        self._status.say(f"{len(rows)} of {len(rows)} ranks answered.")
