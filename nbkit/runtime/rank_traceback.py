"""A rank's traceback, printed where the source is: in the notebook."""

from __future__ import annotations

import traceback

from nbkit.runtime.wire import Raised


def format_traceback(raised: Raised) -> str:
    """The traceback as Python prints it, with the source lines of the notebook's cells."""
    if raised.details:
        return raised.details
    frames = [traceback.FrameSummary(f.filename, f.lineno, f.name) for f in raised.frames]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)] if frames else []
    return "".join(lines) + raised.summary
