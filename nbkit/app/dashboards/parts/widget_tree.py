"""Closing widgets whole: ipywidgets' own close leaves children, layouts and styles open."""

from __future__ import annotations

from collections.abc import Iterator

import ipywidgets


def close_tree(widget: ipywidgets.Widget) -> None:
    """Close a widget, what it contains, and the layout and style models that belong to each."""
    for each in list(_parts(widget)):
        each.close()


def _parts(widget: ipywidgets.Widget) -> Iterator[ipywidgets.Widget]:
    for child in getattr(widget, "children", ()):
        yield from _parts(child)
    for name in ("layout", "style"):
        part = getattr(widget, name, None)
        if isinstance(part, ipywidgets.Widget):
            yield part
    yield widget
