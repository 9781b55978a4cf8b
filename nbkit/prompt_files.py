"""Files of prompts, on disk or uploaded: ``.txt``, ``.jsonl``, ``.csv`` and ``.parquet``."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from nbkit.errors import InputError
from nbkit.prompts import shorten

if TYPE_CHECKING:
    import pandas as pd

PROMPT_ENDINGS = (".txt", ".jsonl", ".csv", ".parquet")
"""The files that can be read; in a name the letters may be capitals."""

USUAL_COLUMN = "prompt"
INDEX_OF_PANDAS = "__index_level_"


def read_prompts(path: str | Path, column: str | None = None) -> list[str]:
    """Read prompts from a ``.txt``, ``.jsonl``, ``.csv`` or ``.parquet`` file.

    A ``.txt`` file holds one a line. A line of a ``.jsonl`` file is a JSON string, or an
    object with the prompt under the key ``column``. The first row of a ``.csv`` file names
    its columns, and its cells are text, whatever they look like. Blank lines, blank cells
    and nulls are skipped.

    Parameters
    ----------
    path : str or Path
        The file; its ending says what it is.
    column : str, optional
        The column (the key, in ``.jsonl``) with the prompts. By default ``prompt`` if there
        is such a column, else the only one.

    Raises
    ------
    InputError
        The file cannot be read, has another ending or no prompts, has several columns of
        which none is chosen, or a line or cell is not a prompt.
    """
    name = str(path)
    _ending(name)  # before a large file of another kind is read
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the prompts in {name}: {error.strerror or error}.") from None
    return parse_prompts(name, data, column)


def parse_prompts(name: str, data: bytes, column: str | None = None) -> list[str]:
    """The prompts in a file's bytes, as ``read_prompts`` reads them.

    Parameters
    ----------
    name : str
        The file's name: its ending says how to read the bytes, and messages begin with it.
    data : bytes
        All of the file.
    column : str, optional
        See ``read_prompts``.

    Raises
    ------
    InputError
        See ``read_prompts``.
    """
    ending = _ending(name)
    if ending == ".txt":
        prompts = _in_text(name, data, column)
    elif ending == ".jsonl":
        prompts = _in_jsonl(name, data, column)
    elif ending == ".csv":
        prompts = _in_csv(name, data, column)
    else:
        prompts = _in_parquet(name, data, column)
    if not prompts:
        raise InputError(f"{name} has no prompts; write one a line, in a table one a row.")
    return prompts


def prompt_columns(name: str, data: bytes) -> list[str]:
    """The columns of a file among which one can choose; empty for ``.txt`` and for JSON strings.

    Of a ``.jsonl`` file they are the keys with text in its first object. Of a ``.csv`` or
    ``.parquet`` file only the head is read, however large it is.

    Raises
    ------
    InputError
        The file has another ending, or cannot be read as what its ending says.
    """
    ending = _ending(name)
    if ending == ".jsonl":
        return _text_keys(_first_object([value for _, _, value in _json_lines(name, data)]))
    if ending == ".csv":
        return _header(_csv_table(name, data, rows=1))
    if ending == ".parquet":
        return _parquet_columns(_parquet_file(name, data))
    return []


def _ending(name: str) -> str:
    ending = Path(name).suffix
    if ending.lower() not in PROMPT_ENDINGS:
        choices = f"{', '.join(PROMPT_ENDINGS[:-1])} or {PROMPT_ENDINGS[-1]}"
        raise InputError(f"{name}: a file of prompts ends in {choices}, not {ending or 'nothing'!r}.")
    return ending.lower()


def _in_text(name: str, data: bytes, column: str | None) -> list[str]:
    if column is not None:
        raise InputError(f"{name} is text without columns; do not choose a column of it ({column!r}).")
    return [line for _, line in _lines(name, data)]


def _in_jsonl(name: str, data: bytes, column: str | None) -> list[str]:
    lines = _json_lines(name, data)
    key = column if column is not None else _usual_key(name, _first_object([value for _, _, value in lines]))
    prompts = []
    for number, line, value in lines:
        if isinstance(value, str) and value:
            prompts.append(value)
        elif isinstance(value, dict) and isinstance(value.get(key, 0), str | None):
            prompts += _without_blanks([value[key]])
        else:
            raise InputError(
                f"{name}, line {number}: expected a string or an object with text under the key {key!r}, "
                f"got {shorten(line)}."
            )
    return prompts


def _in_csv(name: str, data: bytes, column: str | None) -> list[str]:
    table = _csv_table(name, data)
    columns = _header(table)
    at = columns.index(_choose(name, columns, column))
    return _without_blanks(table.iloc[1:, at].tolist())


def _in_parquet(name: str, data: bytes, column: str | None) -> list[str]:
    file = _parquet_file(name, data)
    column = _choose(name, _parquet_columns(file), column)
    try:
        cells = file.read(columns=[column]).column(column).to_pylist()
    except Exception as error:  # damaged files surface as whatever the part of pyarrow at hand raises
        _refuse(name, "Parquet", error)
    for row, cell in enumerate(cells, 1):
        if not isinstance(cell, str | None):
            raise InputError(
                f"{name}, row {row}: column {column!r} holds {shorten(cell)}, which is no text; "
                "choose a column of text or convert this one."
            )
    return _without_blanks(cells)


def _lines(name: str, data: bytes) -> list[tuple[int, str]]:
    """The lines that are not blank, each with its number from 1."""
    # Not splitlines(): it also breaks at characters such as U+2028, which may
    # stand inside a JSON string.
    lines = _decode(name, data).split("\n")
    return [(number, line.rstrip("\r")) for number, line in enumerate(lines, 1) if line.strip()]


def _json_lines(name: str, data: bytes) -> list[tuple[int, str, Any]]:
    """The lines that are not blank, each with its number from 1 and its value."""
    values = []
    for number, line in _lines(name, data):
        try:
            values.append((number, line, json.loads(line)))
        except (ValueError, RecursionError) as error:  # not JSON, a number too long, brackets too deep
            raise InputError(f"{name}, line {number}: not JSON ({error}): {shorten(line)}.") from None
    return values


def _csv_table(name: str, data: bytes, rows: int | None = None) -> pd.DataFrame:
    """The first ``rows`` rows of a CSV file, the one with the columns' names included, or all."""
    import pandas as pd

    try:
        # The names are read as a row like any other: given a header, pandas takes cells
        # beyond it for an index and shifts the columns, without a word.
        return pd.read_csv(
            io.BytesIO(data), encoding="utf-8-sig", header=None, nrows=rows, dtype=str, na_filter=False
        )
    except UnicodeDecodeError:
        _decode(name, data)  # raises, and counts from the file's first byte instead of a chunk's
        raise
    except ValueError as error:
        _refuse(name, "CSV", error)


def _parquet_file(name: str, data: bytes) -> Any:
    """A Parquet file of which only the head is read so far."""
    from pyarrow import BufferReader, parquet

    try:
        return parquet.ParquetFile(BufferReader(data))
    except Exception as error:  # whatever class, as in reading the cells
        _refuse(name, "Parquet", error)


def _parquet_columns(file: Any) -> list[str]:
    # pandas writes the index of a filtered or sorted table as one more column.
    return [column for column in file.schema_arrow.names if not column.startswith(INDEX_OF_PANDAS)]


def _decode(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from None


def _refuse(name: str, kind: str, error: Exception) -> NoReturn:
    reason = " ".join(str(error).split()) or type(error).__name__
    raise InputError(f"{name} cannot be read as {kind}: {reason.removesuffix('.')}.") from None


def _choose(name: str, columns: list[str], column: str | None) -> str:
    """The column asked for, else ``prompt``, else the only one."""
    listed = ", ".join(map(repr, columns)) or "none"
    wanted = USUAL_COLUMN if column is None else column
    if column is None and len(columns) == 1:
        wanted = columns[0]
    if wanted not in columns:
        raise InputError(f"{name} has no column {wanted!r}; choose the column with the prompts, of: {listed}.")
    if columns.count(wanted) > 1:
        raise InputError(f"{name} has {columns.count(wanted)} columns {wanted!r}; give each a name of its own.")
    return wanted


def _usual_key(name: str, first: dict[str, Any]) -> str:
    keys = _text_keys(first)
    # The first object may have a null under 'prompt', so that it is none of the keys with text.
    return USUAL_COLUMN if USUAL_COLUMN in first or not keys else _choose(name, keys, None)


def _first_object(values: list[Any]) -> dict[str, Any]:
    return next((value for value in values if isinstance(value, dict)), {})


def _text_keys(first: dict[str, Any]) -> list[str]:
    return [key for key, value in first.items() if isinstance(value, str)]


def _header(table: pd.DataFrame) -> list[str]:
    columns: list[str] = table.iloc[0].tolist()
    return columns


def _without_blanks(cells: list[str | None]) -> list[str]:
    return [cell for cell in cells if cell is not None and cell.strip()]
