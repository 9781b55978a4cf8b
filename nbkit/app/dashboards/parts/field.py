"""Field: a control with the line below it that says what it is, or why it does not apply."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

import ipywidgets

from nbkit.app.dashboards.parts.workers_control import CONTROL, LABEL_WIDTH

MOST_COUNT = 2**31 - 1


class Field:
    """A control and its line.

    Parameters
    ----------
    explanation : str or callable
        What the control is, in one line; a callable where that depends on other controls.
    why_not : callable
        Why the control does not apply now, in a sentence, or None: it is off while it does not.
    beside : widget, optional
        A second control, on the same line; it is not switched off.
    """

    def __init__(
        self,
        control: ipywidgets.Widget,
        explanation: str | Callable[[], str],
        why_not: Callable[[], str | None] = lambda: None,
        beside: ipywidgets.Widget | None = None,
    ) -> None:
        self.control = control
        self._explanation = explanation
        self._why_not = why_not
        self._line = ipywidgets.HTML()
        self._line.add_class("nbkit-note")
        self._line.add_class("nbkit-line")
        row = control
        if beside is not None:
            control.layout.flex = "1 1 auto"
            row = ipywidgets.HBox([control, beside], layout={**CONTROL, "align_items": "center"})
        self.widget = ipywidgets.VBox([row, self._line], layout={"min_width": "0"})
        self.show_whether_it_applies()

    @property
    def says(self) -> str:
        """The line below the control, as HTML."""
        return self._line.value  # type: ignore[no-any-return]

    def show_whether_it_applies(self) -> None:
        """Switch the control on or off, and say what it is or why it is off."""
        why_not = self._why_not()
        explanation = self._explanation if isinstance(self._explanation, str) else self._explanation()
        self.control.disabled = why_not is not None
        self.control.tooltip = explanation
        self._line.value = html.escape(why_not or explanation)


def dropdown(description: str, options: Sequence[str | tuple[str, str]], value: str) -> ipywidgets.Dropdown:
    """A choice of some names; a pair is how a name is shown, and the name."""
    return ipywidgets.Dropdown(
        description=description, options=options, value=value, style=LABEL_WIDTH, layout=CONTROL
    )


def named(description: str, options: Sequence[str], value: str) -> ipywidgets.Combobox:
    """A name to type, with some to choose from; told when it is left."""
    return ipywidgets.Combobox(
        description=description,
        options=options,
        value=value,
        ensure_option=False,
        style=LABEL_WIDTH,
        layout=CONTROL,
        continuous_update=False,
    )


def checkbox(description: str, value: bool) -> ipywidgets.Checkbox:
    """A yes or no, its box where the other controls begin."""
    return ipywidgets.Checkbox(description=description, value=value, style=LABEL_WIDTH, layout=CONTROL)


def count(description: str, value: int) -> ipywidgets.BoundedIntText:
    """A whole number from 0 on, to type."""
    return ipywidgets.BoundedIntText(
        description=description,
        value=value,
        min=0,
        max=max(MOST_COUNT, value),
        style=LABEL_WIDTH,
        layout=CONTROL,
    )


def fraction_slider(description: str, value: float, least: float, most: float) -> ipywidgets.FloatSlider:
    """A slider in steps of 0.05, which tells its value when it is released."""
    return ipywidgets.FloatSlider(
        description=description,
        value=value,
        min=min(least, value),
        max=max(most, value),
        step=0.05,
        readout_format=".2f",
        style=LABEL_WIDTH,
        layout=CONTROL,
        continuous_update=False,
    )


def lines(description: str, value: str, placeholder: str) -> ipywidgets.Textarea:
    """A text of a few lines, told when it is left; the placeholder is shown while it is empty."""
    return ipywidgets.Textarea(
        description=description,
        value=value,
        placeholder=placeholder,
        rows=2,
        style=LABEL_WIDTH,
        layout=CONTROL,
        continuous_update=False,
    )
