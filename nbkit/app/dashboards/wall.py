"""The wall dashboard: everyone's runs in a room, as they come, from a folder or an address."""

from __future__ import annotations

import threading
from pathlib import Path

import ipywidgets

from nbkit import figures
from nbkit.analysis.wall import Board, Expected
from nbkit.app.dashboards.parts.dashboard import Dashboard
from nbkit.app.dashboards.parts.live_figure import LiveFigure
from nbkit.app.dashboards.parts.panel import Panel
from nbkit.app.wall.in_words import headline_html, table_html
from nbkit.app.wall.source import Wall

LOOK_EVERY_S = 1.0
STYLE = f"<style>{(Path(__file__).parents[1] / 'wall' / 'wall.css').read_text()}</style>"


class WallDashboard(Dashboard):
    """Batch size against tokens per second of everyone in the room, who has not started, and the best so far.

    It needs no workers and begins by itself; ``close()`` ends it.

    Parameters
    ----------
    where : str or Path
        The wall's folder, or the address that ``nbkit wall`` has printed.
    expected : int or sequence of str, optional
        How many learners are to come, or their names: who is missing is then said.
    """

    def __init__(self, where: str | Path, expected: Expected = 0) -> None:
        wall = Wall.at(where, expected)
        super().__init__(None, starts_workers_later=True)
        self._wall = wall
        self._closing = threading.Event()
        self._headline = ipywidgets.HTML()
        self._choice = ipywidgets.Dropdown(options=[("-", None)], description="shown")
        self._choice.layout.display = "none"
        self._drawn = figures.wall(self._wall.board_of_nothing())
        self._figure = LiveFigure(self._drawn)
        self._panel = Panel(self._figure)
        self._words = ipywidgets.HTML()
        self._words.add_class("nbkit-wall-words")
        # Beside each other where there is room.
        parts = ipywidgets.HBox(
            [ipywidgets.VBox([self._panel]), self._words], layout={"flex_flow": "row wrap", "grid_gap": "4px 18px"}
        )
        for part, basis in zip(parts.children, ("11 1 480px", "9 1 380px"), strict=True):
            part.layout.flex, part.layout.min_width = basis, "0"
        self.widget.children = (ipywidgets.HTML(STYLE), self._headline, self._choice, self._status, parts)
        self._status.say("Looking at the wall.")
        self._background.request(self._watch)

    def close(self) -> None:
        """Look no more, and remove the widgets; safe to call again."""
        self._closing.set()
        super().close()

    def _watch(self) -> None:
        while not self._closing.is_set():
            try:
                board = self._wall.board(self._wall.read(), self._choice.value)
            # The wall may come back: a folder on another machine, a server that is started again.
            except Exception as error:
                self._status.say_error(error)
            else:
                self._status.say("Live.")
                self._panel.draw(lambda board=board: self._draw(board))  # type: ignore[misc]
            self._closing.wait(LOOK_EVERY_S)

    def _draw(self, board: Board) -> None:
        self._headline.value = headline_html(board)
        self._words.value = table_html(board)
        self._offer(board)
        figure = figures.wall(board)
        if figure != self._drawn:
            self._drawn = figure
            self._figure.begin(figure)

    def _offer(self, board: Board) -> None:
        """Let the model be chosen, where runs of several are on the wall."""
        pairs = sorted({*board.others, *([(board.model, board.device)] if board.model else [])})
        options = [(f"{model} on {device}", (model, device)) for model, device in pairs]
        if len(options) > 1 and tuple(options) != tuple(self._choice.options):
            self._choice.options = options
            self._choice.value = (board.model, board.device)
            self._choice.layout.display = None
