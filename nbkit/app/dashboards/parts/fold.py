"""Fold: a button that shows or hides what is below it, reached with Tab, as an accordion's title is not."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets


class Fold:
    """Some widgets below a button with a title.

    Attributes
    ----------
    widget : VBox
        The button, and below it what it shows.
    """

    def __init__(
        self, content: Sequence[ipywidgets.Widget], title: str, tooltip: str = "", is_open: bool = False
    ) -> None:
        self._tooltip = tooltip
        self._content = ipywidgets.VBox(list(content), layout={"min_width": "0"})
        self._button = ipywidgets.ToggleButton(is_open, layout={"width": "auto", "max_width": "98%"})
        self._button.add_class("nbkit-fold")
        self._button.observe(lambda _: self._on_press(), "value")
        self.widget = ipywidgets.VBox([self._button, self._content], layout={"min_width": "0"})
        self.title = title
        self._on_press()

    @property
    def title(self) -> str:
        """What the button says."""
        return self._button.description  # type: ignore[no-any-return]

    @title.setter
    def title(self, title: str) -> None:
        self._button.description = title
        # A long title is cut off on the button.
        self._button.tooltip = f"{title}. {self._tooltip}" if self._tooltip else title

    @property
    def is_open(self) -> bool:
        """Whether what is below the button is shown."""
        return self._button.value  # type: ignore[no-any-return]

    @is_open.setter
    def is_open(self, is_open: bool) -> None:
        self._button.value = is_open

    def _on_press(self) -> None:
        self._content.layout.display = None if self.is_open else "none"
        self._button.icon = "caret-down" if self.is_open else "caret-right"
