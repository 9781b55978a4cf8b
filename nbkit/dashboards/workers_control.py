"""The part every dashboard has: whose workers it uses, how many, and a line that says what goes on."""

from __future__ import annotations

import html
import weakref

import ipywidgets

from nbkit.errors import NbkitError, WorkersError
from nbkit.workers import Workers

LABEL_WIDTH = {"description_width": "90px"}
CONTROL = ipywidgets.Layout(width="400px")
MOST_WORKERS = 8


class WorkersControl:
    """A slider for the number of workers, on workers of the user's or of its own.

    Workers that the user passes stay the user's: they are held weakly, so that running
    the cell that makes them again lets the old ones go.
    """

    def __init__(self, workers: Workers | None) -> None:
        self._own = Workers() if workers is None else None
        self._workers = weakref.ref(self._own or workers)
        self.slider = ipywidgets.IntSlider(
            description="workers",
            min=1,
            max=MOST_WORKERS,
            value=2,
            style=LABEL_WIDTH,
            layout=CONTROL,
            continuous_update=False,
            tooltip="Ranks: one process each, on a GPU of its own or on the CPU",
        )

    def get(self) -> Workers:
        """The workers.

        Raises
        ------
        WorkersError
            Nobody kept them.
        """
        workers = self._workers()
        if workers is None:
            raise WorkersError(
                "the workers of this dashboard are gone. Keep a name for them (workers = nbkit.Workers()) "
                "and run the dashboard's cell again."
            )
        return workers

    def show_count(self) -> None:
        """Wait until the workers are up and set the slider to their number; closed ones keep it as it is."""
        workers = self.get()
        try:
            count = workers.world_size
        except WorkersError:
            if workers.is_closed:
                return  # by a cell below, as in Run All Cells; the button starts them again
            raise
        self.slider.max = max(self.slider.max, count)
        self.slider.value = count

    def get_resized(self) -> Workers:
        """The workers, as many as the slider asks for; started again if a cell has closed them."""
        workers = self.get()
        if not self._fit(workers):
            workers.resize(self.slider.value)
        return workers

    def _fit(self, workers: Workers) -> bool:
        try:
            return not workers.is_closed and workers.world_size == self.slider.value
        except WorkersError:  # they could not start; perhaps another number can
            return False

    def close(self) -> None:
        """End the workers, if they are the dashboard's own."""
        if self._own is not None:
            self._own.close()


class StatusLine(ipywidgets.HTML):  # type: ignore[misc]
    """One line: what goes on, or what went wrong. Text is shown as text, never as markup."""

    def say(self, text: str) -> None:
        self.value = f"<div style='line-height:1.4'>{html.escape(text)}</div>"

    def say_error(self, error: BaseException) -> None:
        text = str(error) if isinstance(error, NbkitError) else f"{type(error).__name__}: {error}"
        self.value = f"<pre style='color:#b00020;white-space:pre-wrap;margin:0'>{html.escape(text)}</pre>"
