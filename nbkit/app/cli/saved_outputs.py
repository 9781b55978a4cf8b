"""Saved outputs: those of ``nbkit generate`` in a file, never fewer in the place of more, and saved in any case."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nbkit.app.cli.terminal import console
from nbkit.errors import InputError, file_name
from nbkit.files.atomic_write import write_atomically
from nbkit.records.output_table import output_rows
from nbkit.records.request import Conversation
from nbkit.records.run import Run


def kept_outputs(out: Path) -> int:
    """How many finished outputs a file holds; 0 if there is none, or nothing in it.

    Raises
    ------
    InputError
        It holds something else.
    """
    try:
        if not out.exists() or out.stat().st_size == 0:
            return 0
        if out.suffix == ".json":
            return Run.load(out).finished_prompts
        with out.open(encoding="utf-8") as lines:
            return sum(_is_output(line) for line in lines if line.strip())
    except (InputError, OSError, ValueError, RecursionError):
        raise InputError(
            f"{file_name(out)} is there already and holds something other than outputs of nbkit generate: name "
            "another file, or replace it by --force."
        ) from None


def _is_output(line: str) -> bool:
    row = json.loads(line)
    if not isinstance(row, dict) or not {"index", "output"} <= set(row):
        raise ValueError("no line of an output")
    return True


def save_somewhere(run: Run, out: Path, force: bool) -> bool:
    """Save a run's finished outputs and say where; whether that is ``out``.

    Where ``out`` holds more than the run, or something else, they go beside it unless ``force``; and where they
    cannot be written into a temporary folder, else one in the home.
    """
    place = out if force or _may_replace(run, out) else _free_name(out)
    how_many = f"{run.finished_prompts:,} of {len(run.prompts):,} outputs in "
    try:
        save(run, place)
    except InputError as error:
        console.print(f"nbkit: {error}", markup=False, soft_wrap=True)
        place = _save_elsewhere(run, out.name)
    console.print(f"saved {'' if run.is_complete else how_many}{place}", markup=False, soft_wrap=True)
    return place == out


def _may_replace(run: Run, out: Path) -> bool:
    """Whether a file holds no more than the run brings; looked at again, as others write while it runs."""
    try:
        kept = kept_outputs(out)
    except InputError:
        console.print(f"{out} holds something else by now and stays as it is.", markup=False, soft_wrap=True)
        return False
    if kept > run.finished_prompts:
        console.print(f"{out} keeps its {kept:,} outputs, which are more.", markup=False, soft_wrap=True)
    return kept <= run.finished_prompts


def save(run: Run, out: Path) -> None:
    """Write a run's finished outputs, a line each, or the whole run, as the file's ending asks.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    if out.suffix == ".json":
        run.save(out)
        return
    rows = output_rows(run)
    for row, prompt in zip(rows, run.prompts, strict=True):
        row["prompt"] = prompt.to_list() if isinstance(prompt, Conversation) else prompt
    finished = [{"index": i, **row} for i, row in enumerate(rows) if run.outputs[i] is not None]
    write_atomically(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in finished))


def _free_name(out: Path) -> Path:
    """The first of ``name-2``, ``name-3``, ... that is not there."""
    number = 2
    while (free := out.with_name(f"{out.stem}-{number}{out.suffix}")).exists():
        number += 1
    return free


def _save_elsewhere(run: Run, name: str) -> Path:
    for folder in _other_folders():
        try:
            save(run, folder / name)
        except InputError as error:
            console.print(f"nbkit: {error}", markup=False, soft_wrap=True)
        else:
            return folder / name
    raise InputError("the outputs could be saved nowhere: make room, and run the command again.")


def _other_folders() -> Iterator[Path]:
    for parent in (Path(tempfile.gettempdir()), Path.home()):
        try:
            yield Path(tempfile.mkdtemp(prefix="nbkit-outputs-", dir=parent))
        except OSError as error:
            console.print(f"nbkit: cannot write {parent}: {error.strerror or error}.", markup=False, soft_wrap=True)
