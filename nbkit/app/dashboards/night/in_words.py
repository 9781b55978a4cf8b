"""How far a bulk is and what came of it, in words and numbers with their units."""

from __future__ import annotations

from datetime import datetime, timedelta

from nbkit.app.durations import duration
from nbkit.inference.bulk import BulkStatus
from nbkit.inference.bulk.history import History


def headline(status: BulkStatus, history: History) -> str:
    """What came of it: ``300 prompts in 12.3 s (2 starts): 299 outputs, 1 failed, 812 tokens/s``.

    The time is that of all processes that were at it, their start included, without the time between them. Where
    it is not known to the second, because one was killed, it says ``about``.
    """
    prompts = f"{status.done:,} prompt{'' if status.done == 1 else 's'}"
    came = f"{status.finished:,} output{'' if status.finished == 1 else 's'}, {status.failed:,} failed"
    latest = history.latest
    if latest is None or not history.seconds:
        return f"{prompts}: {came}"
    about = "" if history.is_exact(status.is_running) else "about "
    starts = f" ({len(history.sessions)} starts)" if len(history.sessions) > 1 else ""
    pace = f"{about}{latest.new_tokens / history.seconds:,.0f} tokens/s, start-up included"
    return f"{prompts} in {about}{duration(history.seconds)}{starts}: {came}, {pace}"


def numbers(status: BulkStatus, history: History, now: datetime) -> dict[str, str]:
    """How far it is, a number and its unit each; of one that does not run, without pace and end."""
    if status.total is not None:
        of = f" of {status.total:,}"
    else:
        of = f" of about {status.expected:,}" if status.expected else ""
    latest = history.latest
    told = {"prompts done": f"{status.done:,}{of}", "failed": f"{status.failed:,}"}
    if status.is_running:
        left = status.seconds_left
        told["tokens/s, last minute"] = f"{status.tokens_per_second:,.0f}"
        told["left"] = "-" if left is None else duration(left)
        told[f"ends about ({now:%Z})"] = "-" if left is None else clock(now, left)
    told["ranks lost"] = f"{latest.losses if latest else 0:,}"
    return told


def clock(now: datetime, seconds: float) -> str:
    """The time of day in so many seconds, with the day where it is another."""
    try:
        then = now + timedelta(seconds=seconds)
    except OverflowError:
        return "-"
    if then.date() == now.date():
        return f"{then:%H:%M}"
    return f"{then:%a %H:%M}" if then - now < timedelta(days=6) else f"{then:%d %b %Y}"
