"""Dashboard: what all dashboards share: workers, one thing done at a time, errors shown in place."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ipywidgets

from nbkit.dashboards.workers_control import StatusLine, WorkersControl
from nbkit.workers import Workers


class Dashboard:
    """Widgets on some workers. What the button starts runs in a thread, so the kernel stays free.

    Attributes
    ----------
    widget : ipywidgets.VBox
        What a notebook shows.
    """

    def __init__(self, workers: Workers | None, button: str, ready: str) -> None:
        self._workers = WorkersControl(workers)
        self._status = StatusLine()
        self._button = ipywidgets.Button(description=button, button_style="primary", icon="play", disabled=True)
        self._is_busy = False
        self.widget = ipywidgets.VBox()
        self._in_background(lambda: self._wait_for_workers(ready))

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)

    def close(self) -> None:
        """Remove the widgets, and end the workers if they are the dashboard's own."""
        self._workers.close()
        self.widget.close()

    def _on_button(self, act: Callable[[], None]) -> None:
        self._button.on_click(lambda _: self._in_background(act))

    def _in_background(self, act: Callable[[], None]) -> None:
        if self._is_busy:
            return  # a second click, sent before the browser knew that the button is off
        self._is_busy = True
        self._button.disabled = True
        threading.Thread(target=self._act, args=(act,), name="nbkit-dashboard", daemon=True).start()

    def _act(self, act: Callable[[], None]) -> None:
        try:
            act()
        # Whatever happens belongs on the dashboard: a thread has no cell to show it in.
        except Exception as error:
            self._status.say_error(error)
        finally:
            self._is_busy = False
            self._button.disabled = False

    def _wait_for_workers(self, ready: str) -> None:
        self._status.say("Starting the workers: importing torch takes a few seconds.")
        self._workers.show_count()
        self._status.say(ready)
