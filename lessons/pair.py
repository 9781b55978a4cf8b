"""Keep the notebooks in step with their text twins.

lessons/text/NAME.py -> notebooks/NAME.ipynb, and lessons/app/explore_app.py -> lessons/app/explore_app.ipynb.

The twins are percent scripts (jupytext), which review well; the notebooks are made from
them, without outputs and with cell ids that do not change. ``--check`` writes nothing and
fails where a notebook differs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import jupytext
import nbformat

HERE = Path(__file__).parent
FOLDERS = {HERE / "text": HERE.parent / "notebooks", HERE / "app": HERE / "app"}
"""Where twins are, and where their notebooks."""
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def notebook_of(twin: Path) -> str:
    """The notebook that a text twin describes, as JSON."""
    notebook = jupytext.read(twin)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        cell.metadata = {}
    # Without a kernelspec JupyterLab opens a dialog instead of the notebook.
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    notebook.nbformat_minor = 5
    return nbformat.writes(notebook) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a notebook differs")
    check = parser.parse_args().check
    stale = []
    for twin in (twin for folder in FOLDERS for twin in sorted(folder.glob("*.py"))):
        target, text = FOLDERS[twin.parent] / f"{twin.stem}.ipynb", notebook_of(twin)
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            stale.append(target.name)
            if not check:
                target.write_text(text, encoding="utf-8")
    if check and stale:
        print(f"out of step with lessons: {', '.join(stale)}; run make notebooks (a saved notebook has outputs)")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
