"""What a person sees of widgets and can move, found by the words that stand there."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

import ipywidgets

from nbkit.app.dashboards.parts.live_figure import LiveFigure

FOLDED = ("caret-right", "caret-down")
"""The picture on a fold's button: closed, open."""


def unfold(of: Any) -> None:
    """Open every fold."""
    while closed := pictured(of, FOLDED[0]):
        closed[0].value = True


def control(of: Any, label: str) -> Any:
    """The one control with this label."""
    [found] = [each for each in _all(of) if getattr(each, "description", None) == label]
    return found


def press(of: Any, label: str) -> None:
    """Press the button with this label."""
    control(of, label).click()


def pictured(of: Any, icon: str) -> list[Any]:
    """The buttons with this picture instead of a label."""
    return [each for each in _all(of) if getattr(each, "icon", None) == icon]


def choose(of: Any, option: str) -> None:
    """Choose what one control alone offers."""
    [offering] = [each for each in _all(of) if option in getattr(each, "options", ())]
    offering.value = option


def words(of: Any) -> str:
    """All text that is shown, without its markup, and the titles of what is folded."""
    texts = [each.value for each in _all(of) if isinstance(each, (ipywidgets.HTML, ipywidgets.Label))]
    titles = [title for each in _all(of) for title in getattr(each, "titles", ())]
    titles += [each.description for each in _all(of) if getattr(each, "icon", "") in FOLDED]
    without_links = re.sub(r"</?a\b[^>]*>", "", "\n".join([*texts, *titles]))
    return html.unescape(re.sub("<[^>]*>", " ", without_links))


def figure(of: Any, title: str) -> LiveFigure:
    """The one figure that is shown with this in its title."""
    [found] = [each for each in _all(of) if isinstance(each, LiveFigure) and title in each.title]
    return found


def figure_titles(of: Any) -> list[str]:
    """The titles of the figures that are shown."""
    return [each.title for each in _all(of) if isinstance(each, LiveFigure)]


def state_size(of: Any) -> int:
    """How many characters all that the browser is told has, scripts and styles aside."""
    return sum(
        len(str(value))
        for each in _all(of)
        for name, value in each.get_state().items()
        if name not in ("_esm", "_css")
    )


def _all(of: Any) -> Iterator[ipywidgets.Widget]:
    widget = getattr(of, "widget", of)
    if widget.layout.display == "none":
        return
    yield widget
    for child in getattr(widget, "children", ()):
        yield from _all(child)
