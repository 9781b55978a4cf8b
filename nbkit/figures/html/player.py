"""Player: batch grids played back as a section of a page, and the script for it, without library or network."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from nbkit.analysis.batch_grid import Grid, batch_grid
from nbkit.records.run import Run

FOLDER = Path(__file__).parent
SCRIPTS = ("batch_canvas.js", "batch_player.js")

_START = """
for (const place of document.querySelectorAll(".nbkit-playback")) {
  createBatchPlayer(place).show(JSON.parse(place.querySelector("script").textContent));
}
"""


@cache
def player_source() -> str:
    """The script that defines ``createBatchPlayer(element)``."""
    return "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)


def grids_of(runs: Iterable[tuple[str, Run]]) -> list[Grid]:
    """The grids of Runs with their names (empty: made of their settings), without those of which nothing is known."""
    grids = [batch_grid(run, name) for name, run in runs]
    return [grid for grid in grids if grid["ranks"]]


def player_html(grids: Sequence[Grid]) -> str:
    """A player of these grids on one clock; empty where there are none. ``player_script`` follows once a page."""
    if not grids:
        return ""
    # No text of the data can end the element that holds it.
    data = json.dumps(grids, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<div class="nbkit-playback"><script type="application/json">{data}</script></div>'


def player_script() -> str:
    """The script that starts the players that stand before it."""
    return f'<script type="module">{player_source()}{_START}</script>'
