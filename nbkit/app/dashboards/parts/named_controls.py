"""Named controls: what a screen reader says of a dashboard's sliders, and of what has a tooltip only."""

from __future__ import annotations

from pathlib import Path

import anywidget


class NamedControls(anywidget.AnyWidget):
    """Nothing to be seen: it names each slider's handle and read-out by its label, and other inputs by their tooltip."""

    _esm = Path(__file__).parent / "named_controls.js"
