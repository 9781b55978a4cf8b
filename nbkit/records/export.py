"""Export: Runs as files to take home: CSV for a spreadsheet, JSON to go on with."""

from __future__ import annotations

import csv
import dataclasses
import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nbkit.errors import InputError, file_name, shorten
from nbkit.files.atomic_write import check_writable, path_of, write_atomically
from nbkit.files.json_files import read_json
from nbkit.records.output_table import output_rows
from nbkit.records.run import Run

CSV_TABLES = ("runs", "outputs")
EXPORT_VERSION = 1
"""Of the file that holds several Runs; each Run in it has its own ``schema_version``."""
FORMULA_STARTS = "=+-@\N{MINUS SIGN}"
"""What a spreadsheet may take for the beginning of a formula (OWASP, 'CSV Injection'), in whatever width."""
UNSEEN = ("Cc", "Cf", "Zl", "Zp")
"""Characters that show nothing, tabs and line breaks among them: some spreadsheets drop them and read on."""
# Without it Excel takes UTF-8 for the system's own encoding; pandas and others skip it.
_BYTE_ORDER_MARK = "\ufeff"


def export_csv(runs: Mapping[str, Run], path: str | Path) -> list[Path]:
    """Write named Runs as two tables, ``<stem>-runs.csv`` and ``<stem>-outputs.csv``, beside each other.

    The first has a row a Run: its name, when it was created, the columns of
    ``Run.summary`` and what was asked for (``settings.batch_size`` and so on). The second
    has a row a prompt: run, index and the columns of ``nbkit.records.output_table``.

    The texts come from people and models, and a spreadsheet runs a cell as a formula that
    begins with ``=``, ``+``, ``-``, ``@``, one of them in full width, a tab, a line break or
    another control character (OWASP, 'CSV Injection'). Such texts get a single quote ``'``
    before them; ``export_json`` keeps all texts as they are. The files are UTF-8 with a byte order mark, for Excel.

    Parameters
    ----------
    path : str or Path
        The folder and the stem, with or without an ending: ``results/mine.csv`` gives
        ``results/mine-runs.csv`` and ``results/mine-outputs.csv``.

    Raises
    ------
    InputError
        There are no Runs, or a file cannot be written.
    """
    _check_some(runs)
    path = check_writable(path)
    rows = (
        [_run_row(name, run) for name, run in runs.items()],
        [row for name, run in runs.items() for row in _output_rows(name, run)],
    )
    return [
        write_atomically(csv_path(path, table), _csv_text(own)) for table, own in zip(CSV_TABLES, rows, strict=True)
    ]


def csv_path(path: Path, table: str) -> Path:
    """Where ``export_csv`` writes a table."""
    return path.with_name(f"{path.stem}-{table}.csv")


def export_json(runs: Mapping[str, Run], path: str | Path) -> Path:
    """Write named Runs as one JSON file that ``load_runs`` reads, and return its path.

    Raises
    ------
    InputError
        There are no Runs, or the file cannot be written.
    """
    _check_some(runs)
    data = {"schema_version": EXPORT_VERSION, "runs": {name: run.to_dict() for name, run in runs.items()}}
    return write_atomically(path, json.dumps(data, ensure_ascii=False, indent=1))


def load_runs(path: str | Path) -> dict[str, Run]:
    """Read the named Runs that ``export_json`` wrote, or one that ``Run.save`` wrote, named as its file is.

    Raises
    ------
    InputError
        The file cannot be read, or holds no Runs that this nbkit knows; the message says
        which Run is wrong.
    """
    path = path_of(path)
    data = read_json(path, "saved Runs")
    if not isinstance(data, dict) or "runs" not in data:
        return {path.stem: _run_of(file_name(path), data)}
    if data.get("schema_version") != EXPORT_VERSION:
        raise InputError(
            f"{file_name(path)} holds Runs in version {shorten(data.get('schema_version'))}, not {EXPORT_VERSION}; "
            "a newer file needs a newer nbkit."
        )
    if not isinstance(data["runs"], dict) or not data["runs"]:
        raise InputError(f"{file_name(path)} holds no Runs; write it with nbkit.records.export.export_json.")
    return {name: _run_of(f"{file_name(path)}, Run {shorten(name)}", each) for name, each in data["runs"].items()}


def _run_row(name: str, run: Run) -> dict[str, Any]:
    # Prefixed: the summary's dtype is what was used, the settings' what was asked for.
    asked = {f"settings.{field}": value for field, value in dataclasses.asdict(run.settings).items()}
    return {"name": name, "created": run.created, **run.summary(), **asked}


def _output_rows(name: str, run: Run) -> list[dict[str, Any]]:
    return [{"run": name, "index": index, **row} for index, row in enumerate(output_rows(run))]


def _csv_text(rows: list[dict[str, Any]]) -> str:
    import pandas

    safe = [{column: without_formula(value) for column, value in row.items()} for row in rows]
    # Every text in quotes: where a spreadsheet separates by semicolons, one in a text would begin a cell.
    table: str = pandas.DataFrame(safe).to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    return _BYTE_ORDER_MARK + table


def without_formula(value: Any) -> Any:
    """A value as a spreadsheet may be given it; see ``export_csv``."""
    if not isinstance(value, str) or not value:
        return value
    is_formula = unicodedata.normalize("NFKC", value[0]) in FORMULA_STARTS or unicodedata.category(value[0]) in UNSEEN
    return f"'{value}" if is_formula else value


def _check_some(runs: Mapping[str, Run]) -> None:
    if not runs:
        raise InputError("there are no Runs to export; give at least one, for example {'batched': run}.")


def _run_of(where: str, data: Any) -> Run:
    try:
        return Run.from_dict(data)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
