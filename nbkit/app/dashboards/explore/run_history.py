"""The explore dashboard's memory: the runs so far, files of them, and the chosen ones compared."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets

from nbkit.app.dashboards.explore.run_comparison import RunComparison
from nbkit.app.dashboards.explore.run_files import RunFiles
from nbkit.app.dashboards.explore.run_list import RunList
from nbkit.app.dashboards.parts.fold import Fold
from nbkit.records.run import Run


class RunHistory:
    """Hidden until there is a run, or someone opens it to load one.

    ``on_change`` is called when other runs are kept, ``on_show`` with a run that is to be shown.
    """

    def __init__(
        self, on_change: Callable[[], None] = lambda: None, on_show: Callable[[Run], None] = lambda run: None
    ) -> None:
        self._on_change = on_change
        self._list = RunList(self._changed, on_show)
        self._comparison = RunComparison()
        self._files = RunFiles(lambda: self._list.chosen, lambda name, run: self._list.add(run, name))
        content = ipywidgets.VBox([self._list.widget, self._files.widget, self._comparison.widget])
        self._fold = Fold([content], "Runs so far", "Compare, save and load runs")
        self.widget = self._fold.widget
        self._compare()

    @property
    def runs(self) -> list[Run]:
        """The runs that are kept, the oldest first."""
        return self._list.runs

    def add(self, run: Run, failure: str = "") -> None:
        """Add a run, finished, stopped or ended by a failure, and choose it for comparison."""
        if not self.runs:
            self._fold.is_open = True
        self._list.add(run, failure=failure)

    def name_of(self, run: Run) -> str:
        """What the list calls a run; nothing, if it is not kept."""
        return self._list.name_of(run)

    def _changed(self) -> None:
        self._compare()
        self._on_change()

    def _compare(self) -> None:
        self._comparison.show(self._list.chosen, self._list.baseline)
