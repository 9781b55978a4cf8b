"""The runs so far: named, pinned, chosen for comparison, deleted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import ipywidgets

from nbkit.app.dashboards.parts.widget_tree import close_tree
from nbkit.figures import headline_with_note
from nbkit.records.run import Run
from nbkit.records.settings import with_batch_size

MOST_UNPINNED = 20
MOST_CHOSEN = 4


@dataclass
class Entry:
    """A run with its row of widgets."""

    run: Run
    row: ipywidgets.HBox
    chosen: ipywidgets.Checkbox
    pinned: ipywidgets.ToggleButton
    name: ipywidgets.Text


class RunList:
    """A row a run, the newest on top. Of the runs that are not pinned, the newest ``MOST_UNPINNED`` are kept.

    ``on_change`` is called when other runs are kept or chosen, ``on_show`` with a run that is to be shown.
    """

    def __init__(self, on_change: Callable[[], None], on_show: Callable[[Run], None] = lambda run: None) -> None:
        self._on_change = on_change
        self._on_show = on_show
        self._entries: list[Entry] = []
        self._made = 0
        self.widget = ipywidgets.VBox()
        self.widget.add_class("nbkit-runs")

    @property
    def runs(self) -> list[Run]:
        """All runs that are kept, the oldest first."""
        return [entry.run for entry in self._entries]

    def name_of(self, run: Run) -> str:
        """What the run is called; nothing, if it is not kept."""
        return next((entry.name.value.strip() for entry in self._entries if entry.run is run), "")

    @property
    def chosen(self) -> dict[str, Run]:
        """The runs to compare by name, the oldest first; equal names are told apart by a number."""
        return {name: entry.run for name, entry in self._named().items()}

    @property
    def baseline(self) -> str | None:
        """Of the chosen runs the name of the first pinned, else of the oldest."""
        named = self._named()
        return next((name for name, entry in named.items() if entry.pinned.value), next(iter(named), None))

    def _named(self) -> dict[str, Entry]:
        named: dict[str, Entry] = {}
        for entry in self._entries:
            if entry.chosen.value:
                name = entry.name.value.strip() or "run"
                again = sum(other == name or other.startswith(f"{name} (") for other in named)
                named[f"{name} ({again + 1})" if again else name] = entry
        return named

    def add(self, run: Run, name: str | None = None, failure: str = "") -> None:
        """Add a run and choose it; without a name it gets its number and what was asked.

        ``failure`` says why it ended before its time, where nobody stopped it.
        """
        self._made += 1
        self._entries.append(self._entry(run, name or _name(self._made, run), failure))
        chosen = [entry for entry in self._entries if entry.chosen.value and not entry.pinned.value]
        for entry in chosen[:-MOST_CHOSEN]:
            _set_quietly(entry.chosen, False, self._changed)
        for entry in [entry for entry in self._entries if not entry.pinned.value][:-MOST_UNPINNED]:
            self._remove(entry)
        self._show()

    def _entry(self, run: Run, name: str, failure: str) -> Entry:
        chosen = ipywidgets.Checkbox(value=True, indent=False, tooltip="Compare", layout={"width": "24px"})
        pinned = ipywidgets.ToggleButton(icon="thumb-tack", tooltip="Pin: keep this run", layout={"width": "36px"})
        text = ipywidgets.Text(name, continuous_update=False, tooltip="Name", layout={"width": "210px"})
        words = f"failed: {failure} {headline_with_note(run)}" if failure else headline_with_note(run)
        line = ipywidgets.Label(words, layout={"flex": "1 1 200px", "min_width": "0"})
        show = ipywidgets.Button(icon="eye", tooltip="Show this run in the figures above", layout={"width": "36px"})
        delete = ipywidgets.Button(icon="trash", tooltip="Delete this run", layout={"width": "36px"})
        row = ipywidgets.HBox(
            [chosen, pinned, text, line, show, delete], layout={"align_items": "center", "width": "100%"}
        )
        entry = Entry(run, row, chosen, pinned, text)
        for control in (chosen, pinned, text):
            control.observe(self._changed, "value")
        show.on_click(lambda _: self._on_show(run))
        delete.on_click(lambda _: self._delete(entry))
        return entry

    def _changed(self, _: object = None) -> None:
        self._on_change()

    def _delete(self, entry: Entry) -> None:
        self._remove(entry)
        self._show()

    def _remove(self, entry: Entry) -> None:
        self._entries.remove(entry)
        self.widget.children = [child for child in self.widget.children if child is not entry.row]
        close_tree(entry.row)

    def _show(self) -> None:
        self.widget.children = [entry.row for entry in reversed(self._entries)]
        self._on_change()


def _set_quietly(control: ipywidgets.Widget, value: object, observer: Callable[[object], None]) -> None:
    control.unobserve(observer, "value")
    control.value = value
    control.observe(observer, "value")


def _name(number: int, run: Run) -> str:
    return f"{number}: {with_batch_size(run.engine, run.batch_size, is_short=True)}, {run.world_size}w"
