"""The part every dashboard has: whose workers it uses, how many, and a line that says what goes on."""

from __future__ import annotations

import html
import weakref

import ipywidgets

from nbkit.app.dashboards.parts.panel import in_words
from nbkit.errors import WorkersError
from nbkit.inference.workers import Workers

LABEL_WIDTH = {"description_width": "100px"}
# Not one Layout for all: each belongs to its widget and is closed with it.
CONTROL = {"width": "98%", "max_width": "430px"}
MOST_WORKERS = 8


class WorkersControl:
    """A slider for the number of workers, on workers of the user's or of its own.

    Workers that the user passes stay the user's: they are held weakly, so that running
    the cell that makes them again lets the old ones go. Its own start at once, or, with
    ``starts_later``, when they are first needed.
    """

    def __init__(self, workers: Workers | None, starts_later: bool = False) -> None:
        self.slider = slider("workers", 2, MOST_WORKERS)
        self._starts_later = starts_later and workers is None
        self._was_moved = False
        self.slider.observe(lambda _: self._note_move(), "value")
        self._own = Workers() if workers is None and not starts_later else None
        self._workers = weakref.ref(self._own or workers) if self._own or workers else lambda: None

    def get(self) -> Workers:
        """The workers.

        Raises
        ------
        WorkersError
            Nobody kept them.
        """
        if self._starts_later:
            self._start()
        workers = self._workers()
        if workers is None:
            raise WorkersError(
                "the workers of this dashboard are gone. Keep a name for them (workers = nbkit.Workers()) "
                "and run the dashboard's cell again."
            )
        return workers

    def _note_move(self) -> None:
        self._was_moved = True

    def _start(self) -> None:
        """As many as were asked for; if nobody has, as many as suit the machine."""
        self._starts_later = False
        self._own = Workers(self.slider.value if self._was_moved else None)
        self._workers = weakref.ref(self._own)
        self.show_count()

    def show_count(self) -> None:
        """Wait until the workers are up and set the slider to their number; closed ones keep it as it is."""
        workers = self.get()
        try:
            count = len(workers.wait_until_ready())
        except WorkersError:
            if workers.is_closed:
                return  # by a cell below, as in Run All Cells; the button starts them again
            raise
        self.slider.max = max(self.slider.max, count)
        self.slider.value = count

    def get_resized(self) -> Workers:
        """The workers, as many as the slider asks for; started again if a cell has closed them.

        Raises
        ------
        WorkersError
            Their number cannot be changed now: a cell or another dashboard is using them.
        """
        workers = self.get()
        if not self._fit(workers):
            if workers.unfinished_jobs and not workers.is_closed:
                raise WorkersError(
                    f"the number of workers cannot be changed while a job runs on them "
                    f"({workers.unfinished_jobs[0].name}); "
                    "wait until it has ended, or stop it where it was started."
                )
            workers.resize(self.slider.value)
        return workers

    def _fit(self, workers: Workers) -> bool:
        try:
            return not workers.is_closed and workers.world_size == self.slider.value
        except WorkersError:  # they could not start; perhaps another number can
            return False

    def get_with(self, ranks: int) -> Workers:
        """The workers, at least so many; started again if there are fewer or a cell has closed them.

        Raises
        ------
        WorkersError
            Their number cannot be changed now; see ``get_resized``.
        """
        self.slider.max = max(self.slider.max, ranks)
        self.slider.value = max(self.slider.value, ranks)
        return self.get_resized()

    def close(self) -> None:
        """End the workers, if they are the dashboard's own."""
        if self._own is not None:
            self._own.close()


class StatusLine(ipywidgets.HTML):  # type: ignore[misc]
    """One line: what goes on, or what went wrong. Text is shown as text, never as markup."""

    said = ""
    """What stands there, as plain text."""

    def say(self, text: str) -> None:
        self.said = text
        self.value = f"<div class='nbkit-status' role='status' dir='auto'>{html.escape(text)}</div>"

    def say_error(self, error: BaseException) -> None:
        self.said = in_words(error)
        self.value = f"<div class='nbkit-problem' role='alert'>{html.escape(self.said)}</div>"


def slider(description: str, value: int, most: int) -> ipywidgets.IntSlider:
    """A slider from 1 on, which tells its value when it is released."""
    return ipywidgets.IntSlider(
        description=description,
        value=value,
        min=1,
        max=max(most, value),
        style=LABEL_WIDTH,
        layout=CONTROL,
        continuous_update=False,
    )
