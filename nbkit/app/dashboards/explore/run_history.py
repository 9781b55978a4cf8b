"""The explore dashboard's memory: the runs so far, files of them, and the chosen ones compared."""

from __future__ import annotations

import ipywidgets

from nbkit.app.dashboards.explore.run_comparison import RunComparison
from nbkit.app.dashboards.explore.run_files import RunFiles
from nbkit.app.dashboards.explore.run_list import RunList
from nbkit.records.run import Run


class RunHistory:
    """Hidden until there is a run, or someone opens it to load one."""

    def __init__(self) -> None:
        self._list = RunList(self._compare)
        self._comparison = RunComparison()
        self._files = RunFiles(lambda: self._list.chosen, lambda name, run: self._list.add(run, name))
        content = ipywidgets.VBox([self._list.widget, self._files.widget, self._comparison.widget])
        self.widget = ipywidgets.Accordion([content], titles=["Runs so far"], selected_index=None)
        self._compare()

    @property
    def runs(self) -> list[Run]:
        """The runs that are kept, the oldest first."""
        return self._list.runs

    def add(self, run: Run, failure: str = "") -> None:
        """Add a run, finished, stopped or ended by a failure, and choose it for comparison."""
        if not self.runs:
            self.widget.selected_index = 0
        self._list.add(run, failure=failure)

    def _compare(self) -> None:
        self._comparison.show(self._list.chosen, self._list.baseline)
