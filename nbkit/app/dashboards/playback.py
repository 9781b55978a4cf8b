"""Playback: finished runs token by token; several race on one clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ipywidgets

from nbkit.app.dashboards.parts import cells
from nbkit.app.dashboards.parts.batch_player import BatchPlayer
from nbkit.app.dashboards.parts.widget_tree import close_tree
from nbkit.errors import InputError
from nbkit.figures.html.player import grids_of
from nbkit.records.run import Run


class Playback:
    """Play runs back from their records: one by itself, or several on one clock as a race.

    Parameters
    ----------
    *runs : Run, str or Path
        The runs, or the files that ``Run.save`` wrote.
    **named
        Further runs by the names to show, for example ``article=run, default=other``.

    Attributes
    ----------
    widget : ipywidgets.VBox
        What a notebook shows.

    Raises
    ------
    InputError
        There are no runs, a file cannot be read, or of none of them is known when its tokens came.
    """

    def __init__(self, *runs: Run | str | Path, **named: Run | str | Path) -> None:
        given = [*(("", run) for run in runs), *named.items()]
        if not given:
            raise InputError("there is no run to play back; give at least one, for example Playback(run).")
        grids = grids_of((name, run if isinstance(run, Run) else Run.load(run)) for name, run in given)
        if not grids:
            raise InputError("there is nothing to play back: no record tells when the tokens of these runs came.")
        cells.replace_earlier(self)
        player = BatchPlayer()
        player.show(grids)
        self.widget = ipywidgets.VBox([player])
        self.widget.add_class("nbkit")

    def _repr_mimebundle_(self, **options: Any) -> Any:
        return self.widget._repr_mimebundle_(**options)

    def close(self) -> None:
        """Remove the widgets; safe to call again."""
        cells.forget(self)
        close_tree(self.widget)
