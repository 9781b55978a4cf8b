"""The hello dashboard: how many workers, run, who answered."""

from __future__ import annotations

import threading
from typing import Any

import ipywidgets

from nbkit.dashboards.workers_control import StatusLine, WorkersControl
from nbkit.hello import Hello as Greetings
from nbkit.report import html_table
from nbkit.workers import Workers


class Hello:
    """Say hello from every rank and see who answered.

    Parameters
    ----------
    workers : Workers, optional
        Live workers to use; keep a name for them. Left out: the dashboard has its own,
        which ``close()`` ends.
    """

    def __init__(self, workers: Workers | None = None) -> None:
        self._workers = WorkersControl(workers)
        self._button = ipywidgets.Button(description="Say hello", button_style="primary", icon="play", disabled=True)
        self._status = StatusLine()
        self._answers = ipywidgets.HTML()
        self._button.on_click(lambda _: self._in_background(self._say_hello))
        controls = ipywidgets.HBox([self._workers.slider, self._button])
        self.widget = ipywidgets.VBox([controls, self._status, self._answers])
        self._in_background(self._wait_for_workers)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)

    def close(self) -> None:
        """Remove the widgets and end the workers, if they are the dashboard's own."""
        self._workers.close()
        self.widget.close()

    def _in_background(self, act: Any) -> None:
        self._button.disabled = True
        threading.Thread(target=self._act, args=(act,), name="nbkit-hello", daemon=True).start()

    def _act(self, act: Any) -> None:
        try:
            act()
        # Whatever happens belongs on the dashboard: a thread has no cell to show it in.
        except Exception as error:
            self._status.say_error(error)
        finally:
            self._button.disabled = False

    def _wait_for_workers(self) -> None:
        self._status.say("Starting the workers: importing torch takes a few seconds.")
        self._workers.show_count()
        self._status.say("Ready.")

    def _say_hello(self) -> None:
        self._answers.value = ""
        self._status.say("Waiting for every rank.")
        workers = self._workers.get_resized()
        greetings: Greetings = workers.hello().result()
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
