"""Dashboard: what all dashboards share: workers, one thing done at a time, errors shown in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets
from IPython.display import publish_display_data

from nbkit.app.dashboards.parts import cells, kernel_interrupt, lost_subshells
from nbkit.app.dashboards.parts.background import Background
from nbkit.app.dashboards.parts.named_controls import NamedControls
from nbkit.app.dashboards.parts.widget_tree import close_tree
from nbkit.app.dashboards.parts.workers_control import StatusLine, WorkersControl
from nbkit.inference.workers import Workers

INSTEAD = "A dashboard was shown here. Run the cells again, and it is back."
"""What stands in a saved notebook where nothing draws the dashboard."""
# JupyterLab shows an error in the place of a widget that ended with its kernel, and no other form of the same output:
# so the sentence is an output of its own, and either it is seen or the widget.
ONE_OF_BOTH = """<style>
.jp-OutputArea:has(.nbkit) > .jp-OutputArea-child:has(.nbkit-instead),
.jp-OutputArea:has(.nbkit-instead):not(:has(.nbkit)) >
  .jp-OutputArea-child:has(> .jp-OutputArea-output.jupyter-widgets) { display: none; }
</style>"""


class Dashboard:
    """Widgets on some workers. What they start runs in a thread, so the kernel stays free.

    Run again, a cell closes the dashboard that it made before.

    Attributes
    ----------
    widget : ipywidgets.VBox
        What a notebook shows.
    """

    def __init__(self, workers: Workers | None, starts_workers_later: bool = False) -> None:
        lost_subshells.receive_their_messages()
        cells.replace_earlier(self)
        self._workers = WorkersControl(workers, starts_workers_later)
        self._status = StatusLine()
        self._background = Background(self._status.say_error)
        self.widget = ipywidgets.VBox()
        self.widget.add_class("nbkit")

    @property
    def is_busy(self) -> bool:
        """Whether something that the dashboard has started goes on or waits: its workers at first, then its runs."""
        return self._background.is_busy

    @property
    def status(self) -> str:
        """What the dashboard says of what goes on, or of what went wrong."""
        return self._status.said

    def _ipython_display_(self) -> None:
        publish_display_data(self._repr_mimebundle_())
        html = f'<div class="nbkit-instead"><em>{INSTEAD}</em></div>{ONE_OF_BOTH}'
        publish_display_data({"text/plain": INSTEAD, "text/html": html})

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options) | {"text/plain": INSTEAD}

    def close(self) -> None:
        """Remove the widgets, and end the workers if they are the dashboard's own; safe to call again."""
        cells.forget(self)
        kernel_interrupt.forget(self)
        self._background.close()
        self._workers.close()
        close_tree(self.widget)

    def _lay_out(self, *parts: ipywidgets.Widget) -> None:
        """Have the widget consist of these, one below the other."""
        self.widget.children = (*parts, NamedControls())

    def _press(self, button: ipywidgets.Button, act: Callable[[], None]) -> None:
        """Do in the background what a button is for, unless the button is off; ``act`` switches it on again."""
        # By the button, not by the thread: a second click is on its way before the browser knows that the button
        # is off, and one that is wanted comes when it is on again and the thread not yet at its end.
        if not button.disabled:
            button.disabled = True
            self._background.request(act)

    def _start_with_workers(self, then: Callable[[], None]) -> None:
        """When the workers are up, do what is to be done first."""
        self._background.request(lambda: self._wait_for_workers(then))

    def _wait_for_workers(self, then: Callable[[], None]) -> None:
        self._status.say("Starting the workers: importing torch takes a few seconds.")
        try:
            self._workers.show_count()
        finally:
            then()
