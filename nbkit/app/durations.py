"""Durations in words."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Seconds in words: ``2.5 ms``, ``12.3 s``, ``5 min 20 s``, ``2 h 05 min``."""
    if seconds < 1:
        return f"{1000 * seconds:.1f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"
