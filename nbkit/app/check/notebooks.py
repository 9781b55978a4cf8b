"""Notebooks: each is executed from top to bottom, by a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from nbkit.app.check.bench import Bench
from nbkit.app.check.findings import Answer, Skipped, judged
from nbkit.app.check.runner import NO_TIME, OutOfTime, Part
from nbkit.files.machine import package_version
from nbkit.models import EMBEDDED

NEEDED = ("nbclient", "ipykernel", "ipywidgets", "plotly")
USUAL_FOLDER = "notebooks"
LEAST_S = 20.0
"""With less time left no notebook is begun."""
END_S = 15.0


def notebooks(bench: Bench) -> Iterator[Part]:
    """Every notebook of the folder, in the order of their names."""
    if (why_not := why_none(bench.notebooks)) is not None:
        yield Part("the notebooks", lambda: _skip(why_not))
        return
    assert bench.notebooks is not None
    for path in sorted(bench.notebooks.glob("*.ipynb")):
        yield Part(path.name, lambda p=path: _notebook(bench, p))  # type: ignore[misc]


def find_folder(asked: Path | None) -> Path | None:
    """The folder that was asked for, else ``notebooks`` where the command was given, if it is there."""
    if asked is not None:
        return asked
    usual = Path(USUAL_FOLDER)
    return usual if usual.is_dir() else None


def why_none(folder: Path | None) -> str | None:
    """Why no notebook can be executed; None if they can."""
    if folder is None:
        return "there is no folder notebooks here; --notebooks names it"
    if not any(folder.glob("*.ipynb")):
        return f"there is no notebook in {folder}"
    missing = [name for name in NEEDED if package_version(name) is None]
    return f"not installed: {', '.join(missing)}; they run notebooks" if missing else None


def _skip(reason: str) -> Answer:
    raise Skipped(reason)


def _notebook(bench: Bench, path: Path) -> Answer:
    # Its kernel wants the GPUs' memory.
    bench.close_workers()
    left_s = bench.clock.left_s
    if left_s < LEAST_S:
        raise Skipped(NO_TIME)
    model = [] if bench.text_model == EMBEDDED[0] else [EMBEDDED[0], bench.text_model]
    process = subprocess.Popen(
        [sys.executable, "-m", "nbkit.app.check.execute_notebook", str(path), *model],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # The kernel must find the same nbkit as this process.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)},
        # An interrupt is for this process, which then ends that one and its kernel.
        start_new_session=True,
    )
    try:
        _, complaint = process.communicate(timeout=left_s)
    except subprocess.TimeoutExpired:
        raise OutOfTime from None
    finally:
        _end(process)
    said = f"{path.name}: ran to its end"
    if process.returncode:
        lines = complaint.strip().splitlines() or [f"exit code {process.returncode}"]
        said = f"{path.name}: {lines[-1][:300]}"
    return judged(not process.returncode, said, complaint=complaint[-4000:] if process.returncode else "")


def _end(process: subprocess.Popen[str]) -> None:
    """End what still runs: SIGTERM has nbclient end the kernel first."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stderr is not None:
        process.stderr.close()
