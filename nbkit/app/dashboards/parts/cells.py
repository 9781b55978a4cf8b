"""Cells: a cell that is run again replaces the dashboards that it made before."""

from __future__ import annotations

from typing import Protocol


class Closable(Protocol):
    """What can be closed."""

    def close(self) -> None: ...


_made: dict[str, tuple[str, list[Closable]]] = {}
"""By cell: the execution that made them, and the dashboards that are open."""


def replace_earlier(dashboard: Closable) -> None:
    """Close the dashboards that an earlier execution of the running cell made; remember this one.

    Without this, each time a cell is run again its old widgets, with whatever they
    have started, would stay behind in the kernel.
    """
    cell, execution = _running_cell()
    if cell is None:
        return
    made_by, dashboards = _made.get(cell, (execution, []))
    if made_by != execution:
        for earlier in list(dashboards):
            earlier.close()
        dashboards = []
    dashboards.append(dashboard)
    _made[cell] = (execution, dashboards)


def forget(dashboard: Closable) -> None:
    """A dashboard was closed."""
    for cell, (_, dashboards) in list(_made.items()):
        if dashboard in dashboards:
            dashboards.remove(dashboard)
        if not dashboards:
            del _made[cell]


def _running_cell() -> tuple[str | None, str]:
    """What names the cell that runs now, and this execution of it; None outside a cell.

    JupyterLab gives cells an id. Where a front end does not, the same code is the same cell.
    """
    from IPython import get_ipython

    shell = get_ipython()
    request = shell.get_parent() if hasattr(shell, "get_parent") else {}
    code = request.get("content", {}).get("code")
    cell = request.get("metadata", {}).get("cellId") or code
    return cell, request.get("header", {}).get("msg_id", "")
