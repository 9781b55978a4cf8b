"""What is shown of a bulk: how far it is, how fast it went, what it came to last; bounded, whatever its size."""

from __future__ import annotations

import html
from datetime import datetime
from typing import Any

import ipywidgets

from nbkit import figures
from nbkit.app.dashboards.night.in_words import headline, numbers
from nbkit.app.dashboards.parts.live_figure import LiveFigure
from nbkit.app.dashboards.parts.panel import TWO_COLUMNS, Panel
from nbkit.figures.html.report import html_table
from nbkit.inference.bulk import Bulk, BulkStatus
from nbkit.inference.bulk.history import History
from nbkit.records.request import Conversation

ROWS = 5
LOG_LINES = 8
MOST_CHARACTERS = 300
OF_A_FAILED_PROMPT = 100
TABLES = {"max_height": "300px", "overflow": "auto"}


class NightView:
    """Redrawn from a bulk's folder, of which only the ends of files are read."""

    def __init__(self) -> None:
        self._bar = ipywidgets.FloatProgress(
            0.0,
            min=0.0,
            max=1.0,
            description="progress",
            style={"description_width": "initial"},
            layout={"width": "99%", "margin": "4px 2px"},
        )
        self._numbers = ipywidgets.HTML()
        self._throughput = LiveFigure(figures.bulk_throughput(History([])))
        self._outputs, self._failures, self._log = (ipywidgets.HTML(layout=TABLES) for _ in range(3))
        self._parts = (self._numbers, self._throughput, self._outputs, self._failures, self._log)
        self._panels = {part: Panel(part) for part in self._parts}
        below = ipywidgets.GridBox(
            [self._panels[self._failures], self._panels[self._log]],
            layout={"grid_template_columns": TWO_COLUMNS, "grid_gap": "8px", "width": "100%"},
        )
        for table in (self._outputs, self._failures):
            table.add_class("nbkit-rows")
        shown = [self._panels[part] for part in (self._numbers, self._throughput, self._outputs)]
        self.widget = ipywidgets.VBox([self._bar, *shown, below])
        self.hide()

    def hide(self) -> None:
        """There is no bulk to show."""
        self.widget.layout.display = "none"

    def show(self, bulk: Bulk, status: BulkStatus) -> None:
        """Draw how it stands."""
        history = bulk.history()
        self.widget.layout.display = None
        of = status.total or status.expected
        self._bar.value = min(1.0, status.done / of) if of else 0.0
        self._bar.bar_style = "success" if status.is_complete else ""
        self._panels[self._numbers].draw(lambda: self._show_numbers(status, history))
        self._panels[self._throughput].draw(lambda: self._show_throughput(status, history))
        self._panels[self._outputs].draw(lambda: self._show_outputs(bulk, status))
        self._panels[self._failures].draw(lambda: self._show_failures(bulk, status))
        self._panels[self._log].draw(lambda: self._show_log(bulk))

    def _show_numbers(self, status: BulkStatus, history: History) -> None:
        told = numbers(status, history, datetime.now().astimezone())
        tiles = "".join(
            f"<div class='nbkit-tile'><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>"
            for name, value in told.items()
        )
        self._numbers.value = f"<div class='nbkit-tiles'>{tiles}</div>"

    def _show_throughput(self, status: BulkStatus, history: History) -> None:
        latest = history.latest
        if latest is None or not history.seconds:
            title = "Throughput: no time has been taken yet"
        else:
            since = "until now" if status.is_running else "overall"
            title = f"{latest.new_tokens / history.seconds:,.0f} new tokens/s {since}, start-up included"
        self._throughput.show([figures.bulk_throughput_line(history)], title)

    def _show_outputs(self, bulk: Bulk, status: BulkStatus) -> None:
        which = "The last outputs, in the prompts' order" if status.is_complete else "Outputs that finished last"
        rows = [
            {"index": row["index"], "prompt": _shown(row["prompt"]), "output": _shown(row["output"])}
            for row in bulk.latest(ROWS)
        ]
        self._outputs.value = _titled(which, html_table(rows) or "None yet.")

    def _show_failures(self, bulk: Bulk, status: BulkStatus) -> None:
        rows = [
            {
                "index": row["index"],
                "error": _shown(row["error"]),
                "prompt": _shown(row["prompt"], OF_A_FAILED_PROMPT),
            }
            for row in bulk.latest_failures(ROWS)
        ]
        which = f"The last {len(rows):,} of {status.failed:,} that failed" if len(rows) < status.failed else "Failed"
        self._failures.value = _titled(which, html_table(rows) or "None.")

    def _show_log(self, bulk: Bulk) -> None:
        lines = "\n".join(line[:MOST_CHARACTERS] for line in bulk.log_lines(LOG_LINES))
        style = (
            "white-space:pre-wrap;overflow-wrap:anywhere;word-break:normal;font-size:12px;line-height:1.4;margin:0"
        )
        self._log.value = _titled("Log, its last lines (UTC)", f"<pre style='{style}'>{html.escape(lines)}</pre>")


def state_in_words(folder: str, bulk: Bulk | None, status: BulkStatus, runs_here: bool) -> str:
    """How a folder stands, and what can be done there."""
    if bulk is None:
        return f"Nothing in {folder} yet."
    if status.is_running and runs_here:
        return f"Running in {folder}." if status.done else f"Running in {folder}: workers and model are made ready."
    if status.is_running:
        return f"Another process is at it ({_who(bulk.history())}): {folder} is only watched here."
    if status.is_complete:
        return f"Finished: {headline(status, bulk.history())}. Another bulk needs another folder."
    of = f" of {'' if status.total is not None else 'about '}{status.expected:,}" if status.expected else ""
    return f"Stopped after {status.done:,}{of} prompts: 'Go on' goes on from there."


def _who(history: History) -> str:
    if not history.sessions:
        return "it does not say which"
    return f"process {history.sessions[-1].pid} on {history.sessions[-1].node}"


def _shown(value: Any, most: int = MOST_CHARACTERS) -> str:
    """A prompt or a text, cut; a conversation a line a message."""
    text = str(Conversation.of(value)) if isinstance(value, list) else str(value or "")
    return text.strip() if len(text) <= most else f"{text[:most].strip()} ..."


def _titled(title: str, content: str) -> str:
    return f"<b>{html.escape(title)}</b><div>{content}</div>"
