"""Execute a notebook: ``python -m nbkit.app.check.execute_notebook FILE [MODEL INSTEAD]``.

The exit code is 1 if a cell fails. ``MODEL INSTEAD``: the notebook's line that names its model names another.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

CELL_S = 600
"""The most that one cell may take; whoever called sets the time for the whole notebook."""


def main(file: str, *models: str) -> int:
    """Execute it in its own folder, and say the error of the cell that failed, if one did."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    path = Path(file).resolve()
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call, unused-ignore]
    if models:
        put_in_model(notebook, *models)
    try:
        NotebookClient(notebook, timeout=CELL_S, resources={"metadata": {"path": str(path.parent)}}).execute()
    except CellExecutionError as error:
        print(f"{error}\n{error.ename}: {error.evalue}", file=sys.stderr)
        return 1
    return 0


def put_in_model(notebook: Any, model: str, instead: str) -> None:
    """Have the notebook's line ``MODEL = ...`` name another model; one without such a line is left as it is."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = cell.source.replace(f'MODEL = "{model}"', f'MODEL = "{instead}"')


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
