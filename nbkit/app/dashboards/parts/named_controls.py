"""Named controls: what a screen reader says of a dashboard's sliders, and of what has a tooltip only."""

from __future__ import annotations

from pathlib import Path

import anywidget


class NamedControls(anywidget.AnyWidget):
    """Nothing to be seen: it names sliders' handles and read-outs by their labels, other inputs by their tooltips."""

    _esm = Path(__file__).parent / "named_controls.js"
