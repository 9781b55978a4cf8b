"""Tables as text, ``.csv`` and ``.tsv``: the separator by a clear rule, and rows that all have the header's cells."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nbkit.errors import InputError, shorten
from nbkit.prompts.files.endings import decode

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
USUAL_SEPARATORS = {".csv": ",", ".tsv": "\t"}
SPREADSHEET_LINE = re.compile(r"sep=([,;\t|:])\r?\n")  # which some spreadsheets write before the header
SNIFFED_ROWS = 20
HEAD_BYTES = 2**20
LONGEST_CELL = 2**25
"""Characters of a cell where a table is streamed: a quote that is not closed takes in all that follows."""


@dataclass(frozen=True, slots=True)
class TextTable:
    """The header and the rows of a table, each row with the number of the line that it begins in."""

    separator: str
    header: list[str]
    rows: list[tuple[int, list[str]]]


def read_text_table(name: str, ending: str, data: bytes) -> TextTable:
    """A table in full.

    The separator of ``.tsv`` is a tab. That of ``.csv`` is the one among commas, semicolons,
    tabs and bars that splits the header, and the first rows into as many cells; a file whose
    header none of them splits has one column.

    Raises
    ------
    InputError
        The bytes are not UTF-8, the separator is not plain, a quote is not closed, or a row has
        more or fewer cells than the header; it says in which line.
    """
    text = decode(name, data)
    separator = _separator(name, ending, text)
    rows = _rows(name, text, separator)
    _, header = next(rows, (0, []))
    if not header:
        raise InputError(f"{name} is empty; write a header with the columns' names, and a prompt a row.")
    return TextTable(separator, header, [_checked(name, separator, header, line, cells) for line, cells in rows])


def stream_text_table(
    name: str, ending: str, head: str, file: Iterable[str]
) -> tuple[str, list[str], Iterator[tuple[int, list[str] | InputError]]]:
    """A table's separator, its header, and its rows as they are read, each with its line's number.

    Parameters
    ----------
    head : str
        The file's first lines, enough to tell the separator.
    file : iterable of str
        Its lines, from the first on.

    Raises
    ------
    InputError
        The separator is not plain, or there is no header. Of a row with more or fewer cells than the header the
        error stands in its place; a quote that is not closed raises where it is come to.
    """
    separator = _separator(name, ending, head)
    rows = _rows_in(name, file, head, separator, LONGEST_CELL)
    _, header = next(rows, (0, []))
    if not header:
        raise InputError(f"{name} is empty; write a header with the columns' names, and a prompt a row.")
    return separator, header, (_row_or_error(name, separator, header, line, cells) for line, cells in rows)


def _row_or_error(
    name: str, separator: str, header: list[str], line: int, cells: list[str]
) -> tuple[int, list[str] | InputError]:
    try:
        return _checked(name, separator, header, line, cells)
    except InputError as error:
        return line, error


def read_header(name: str, ending: str, data: bytes) -> list[str]:
    """The columns' names, from the head of a file however large it is.

    Raises
    ------
    InputError
        As for ``read_text_table``, where the head shows it.
    """
    text = _head(data) or decode(name, data)
    _, header = next(_rows(name, text, _separator(name, ending, text)), (0, []))
    return header


def _head(data: bytes) -> str | None:
    """The first lines, if they are enough to tell the separator."""
    end = data.rfind(b"\n", 0, HEAD_BYTES)
    if len(data) <= HEAD_BYTES or data.count(b"\n", 0, HEAD_BYTES) <= 10 * SNIFFED_ROWS:
        return None
    try:
        return data[:end].decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _separator(name: str, ending: str, text: str) -> str:
    if told := SPREADSHEET_LINE.match(text):
        return told[1]
    if ending == ".tsv":
        return USUAL_SEPARATORS[ending]
    widths = {separator: _widths(text, separator) for separator in SEPARATORS}
    splitting = [separator for separator, found in widths.items() if found and found[0] > 1]
    even = [separator for separator in splitting if len(set(widths[separator])) == 1]
    # Where rows differ from the header, reading them says which line does.
    fitting = even or splitting
    if len(fitting) > 1:
        told_apart = " and by ".join(SEPARATORS[separator] for separator in fitting)
        raise InputError(
            f"{name} can be split by {told_apart}; put the cells that hold one of them in double quotes, "
            "or write a first line such as sep=;"
        )
    return fitting[0] if fitting else USUAL_SEPARATORS[".csv"]


def _widths(text: str, separator: str) -> list[int]:
    """How many cells the first rows have; nothing if their quotes rule this separator out."""
    try:
        return [len(cells) for _, cells in itertools.islice(_rows("", text, separator), SNIFFED_ROWS)]
    except InputError:
        return []


def _rows(name: str, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, the header included, each with the number of its first line."""
    yield from _rows_in(name, io.StringIO(text, newline=""), text, separator, len(text))


def _rows_in(
    name: str, file: Iterable[str], head: str, separator: str, longest: int
) -> Iterator[tuple[int, list[str]]]:
    """As ``_rows``, of a file whose text begins with ``head`` and whose cells are at most ``longest`` characters."""
    # The limit is the process's, and shorter than some prompts.
    csv.field_size_limit(max(csv.field_size_limit(), longest))
    told = SPREADSHEET_LINE.match(head)
    first = head[told.end() if told else 0 :].lstrip("\r\n").partition("\n")[0]
    padded = 0 < first.count(separator) == first.count(f"{separator} ")
    read = csv.reader(file, delimiter=separator, strict=True, skipinitialspace=padded)
    if told:
        next(read)
    while True:
        line = read.line_num + 1
        try:
            cells = next(read, None)
        except csv.Error as error:
            raise InputError(
                f"{name}, line {line}: no row of cells ({error}); a cell that begins with a double quote ends with "
                "one, and a double quote within it is written twice."
            ) from None
        if cells is None:
            return
        if cells and (len(cells) > 1 or cells[0].strip()):
            yield line, [cell.strip() for cell in cells] if padded else cells


def _checked(name: str, separator: str, header: list[str], line: int, cells: list[str]) -> tuple[int, list[str]]:
    if len(cells) != len(header):
        many = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
        raise InputError(
            f"{name}, line {line}: {many}, separated by {separator_name(separator)}, where the header has "
            f"{len(header)}: {shorten(cells)}; put a cell that holds {shorten(separator)} or a line break in "
            "double quotes."
        )
    return line, cells


def separator_name(separator: str) -> str:
    """A separator in words."""
    return SEPARATORS.get(separator, repr(separator))
