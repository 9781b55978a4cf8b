"""Prompt file: what a file of prompts holds, read by its ending, and what of it was taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbkit.errors import InputError, file_name, shorten
from nbkit.files.atomic_write import path_of
from nbkit.prompts.files.choice import USUAL_COLUMN, Choice, Column, choose_column, describe_column
from nbkit.prompts.files.endings import numbered_lines, prompt_ending, unpack
from nbkit.prompts.files.forms import REQUEST_BODIES, SYSTEM_KEYS, TEXT, Taken, is_messages, read_value
from nbkit.prompts.files.json_values import Entries, Entry, read_json_document, read_json_lines
from nbkit.prompts.files.parquet_tables import ParquetTable
from nbkit.prompts.files.sentences import goes_without_saying, in_words, in_words_without_key
from nbkit.prompts.files.text_tables import USUAL_SEPARATORS, TextTable, read_header, read_text_table, separator_name
from nbkit.records.request import Conversation

COLUMN, KEY = "column", "key"


@dataclass(frozen=True, slots=True)
class PromptFile:
    """What a file holds.

    Attributes
    ----------
    prompts : list of str or Conversation
        In the file's order.
    taken : str
        What of the file they are, and what of it is not used, such as ``the column 'prompt'``.
    is_plain : bool
        Whether that goes without saying: lines of text, the only column, ``prompt``, or what was asked for.
    """

    prompts: list[str | Conversation]
    taken: str
    is_plain: bool


def read_prompts(path: str | Path, column: str | None = None) -> list[str | Conversation]:
    """Read prompts from a file of text, of JSON, or of a table; one line says what was taken if that is not plain.

    A ``.txt`` file holds one a line. A ``.jsonl`` or ``.ndjson`` file holds JSON a line, and a
    ``.json`` file a list, or an object with one list: of strings, of lists of messages, or of
    objects with the prompts under one key. The first row of a ``.csv``, ``.tsv`` or ``.parquet``
    table names its columns; commas, semicolons, tabs or bars separate those of ``.csv``, and
    its cells are text, whatever they look like. Each may be packed, as in ``.jsonl.gz``. Blank
    lines, blank cells and nulls are skipped.

    A prompt is text or a list of messages (``role`` and ``content``, or ``from`` and ``value``),
    which becomes a ``Conversation`` up to its last message that is no answer. Of a list ``turns``
    it is the first; of a batch request (``custom_id`` and ``body``) the body's messages or prompt.

    Parameters
    ----------
    path : str or Path
        The file; its ending says what it is.
    column : str, optional
        The column, or key, with the prompts. By default ``prompt`` if there is one, else the only
        one with messages, turns or batch requests, else the only one of text where the others
        hold numbers or say which row it is.

    Raises
    ------
    InputError
        The file cannot be read, has another ending or no prompts, has several columns of
        which none is plainly that of the prompts, or which line or row is no prompt.
    """
    path = path_of(path)
    name = file_name(path)
    prompt_ending(name)  # before a large file of another kind is read
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the prompts in {name}: {error.strerror or error}.") from None
    found = parse_prompt_file(name, data, column)
    if not found.is_plain:
        print(f"{file_name(path.name)}: took {found.taken}.")
    return found.prompts


def parse_prompts(name: str, data: bytes, column: str | None = None) -> list[str | Conversation]:
    """The prompts in a file's bytes, as ``read_prompts`` reads them.

    Raises
    ------
    InputError
        See ``read_prompts``.
    """
    return parse_prompt_file(name, data, column).prompts


def parse_prompt_file(name: str, data: bytes, column: str | None = None) -> PromptFile:
    """The prompts in a file's bytes, and what of the file they are.

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
    name = file_name(name)
    ending = prompt_ending(name)
    data = unpack(name, data)
    try:
        if ending == ".txt":
            found = _in_text(name, data, column)
        elif ending in USUAL_SEPARATORS:
            found = _in_text_table(name, ending, data, column)
        elif ending == ".parquet":
            found = _in_parquet(name, data, column)
        else:
            found = _in_json(name, ending, data, column)
    except RecursionError:
        raise InputError(f"{name} holds lists within lists, too deep to read.") from None
    if not found.prompts:
        raise InputError(f"{name} has no prompts; write one a line, in a table one a row.")
    return found


def prompt_columns(name: str, data: bytes) -> list[str]:
    """The columns of a file among which one can choose; empty for ``.txt`` and for JSON strings.

    Of JSON they are the keys with text, and of batch requests only the one with their bodies. Of a
    table only the head is read, however large it is.

    Raises
    ------
    InputError
        The file has another ending, or cannot be read as what its ending says.
    """
    name = file_name(name)
    ending = prompt_ending(name)
    data = unpack(name, data)
    if ending in USUAL_SEPARATORS:
        return read_header(name, ending, data)
    if ending == ".parquet":
        return ParquetTable(name, data).names
    if ending == ".txt":
        return []
    columns = _json_entries(name, ending, data, None).columns()
    requests = [column.name for column in columns if column.form in REQUEST_BODIES]
    return requests or [column.name for column in columns if column.form or isinstance(column.example, str)]


def _in_text(name: str, data: bytes, column: str | None) -> PromptFile:
    if column is not None:
        raise InputError(f"{name} is text without columns; do not choose a column of it ({shorten(column)}).")
    return PromptFile([line for _, line in numbered_lines(name, data)], "each line", is_plain=True)


def _in_text_table(name: str, ending: str, data: bytes, column: str | None) -> PromptFile:
    table = read_text_table(name, ending, data)
    choice = choose_column(name, COLUMN, _columns_of(table), column)
    at = {key: table.header.index(key) for key in (choice.name, *SYSTEM_KEYS) if key in table.header}
    rows = ((f"line {line}", {key: cells[column] for key, column in at.items()}) for line, cells in table.rows)
    taken = Taken()
    prompts = _of_rows(name, rows, choice.name, taken)
    sentence = in_words(COLUMN, choice, taken)
    is_plain = goes_without_saying(choice, taken)
    if table.separator != USUAL_SEPARATORS[ending]:
        return PromptFile(prompts, f"{sentence}; {separator_name(table.separator)} separate the columns", False)
    # A file without a header loses its first prompt to it; its reader sees which.
    return PromptFile(prompts, sentence, is_plain and (choice.name == USUAL_COLUMN or column is not None))


def _columns_of(table: TextTable) -> list[Column]:
    return [
        describe_column(header, (cells[column] for _, cells in table.rows), table.header)
        for column, header in enumerate(table.header)
    ]


def _in_parquet(name: str, data: bytes, column: str | None) -> PromptFile:
    table = ParquetTable(name, data)
    choice = choose_column(name, COLUMN, table.columns(), column)
    keys = [choice.name, *(key for key in SYSTEM_KEYS if key in table.names and key != choice.name)]
    rows = ((f"row {number}", row) for number, row in enumerate(table.rows(keys), 1))
    taken = Taken()
    prompts = _of_rows(name, rows, choice.name, taken)
    return PromptFile(prompts, in_words(COLUMN, choice, taken), goes_without_saying(choice, taken))


def _of_rows(
    name: str, rows: Iterable[tuple[str, Mapping[str, Any]]], key: str, taken: Taken
) -> list[str | Conversation]:
    """The prompts in a table's rows, each with where it stands."""
    return [prompt for where, row in rows for prompt in prompts_of_row(name, where, key, row, taken)]


def prompts_of_row(name: str, where: str, key: str, row: Mapping[str, Any], taken: Taken) -> list[str | Conversation]:
    """The prompts in a table's row, which stands ``where``."""
    found = _read(name, where, key, row, taken)
    if found is None:
        raise InputError(
            f"{name}, {where}: column {shorten(key)} holds {shorten(row[key])}, which is no text; "
            "choose a column of text or of messages, or convert this one."
        )
    return found


def _json_entries(name: str, ending: str, data: bytes, column: str | None) -> Entries:
    return read_json_document(name, data, column) if ending == ".json" else read_json_lines(name, data)


def _in_json(name: str, ending: str, data: bytes, column: str | None) -> PromptFile:
    entries = _json_entries(name, ending, data, column)
    columns = entries.columns()
    choice = Choice(column or USUAL_COLUMN, is_plain=True)
    if columns:
        choice = choose_column(name, KEY, columns, None if entries.was_asked else column)
    taken, strings = Taken(), Taken()
    prompts: list[str | Conversation] = []
    for entry in entries.listed:
        prompts += prompts_of_entry(name, entry, choice.name, taken, strings)
    said = [in_words_without_key(strings)] if strings.forms else []
    said += [in_words(KEY, choice, taken)] if taken.forms else []
    under = f" of the list under {shorten(entries.under)}" if entries.under is not None else ""
    is_plain = (
        goes_without_saying(choice, taken) and set(strings.forms) <= {TEXT} and (not under or entries.was_asked)
    )
    return PromptFile(prompts, " and ".join(said) + under, is_plain)


def prompts_of_entry(name: str, entry: Entry, key: str, taken: Taken, strings: Taken) -> list[str | Conversation]:
    """The prompts in a value of a JSON file: in an object, under the key."""
    value = entry.value
    if isinstance(value, str) and value:
        strings.forms[TEXT] += 1
        return [value]
    found = None
    if is_messages(value):
        found = _read(name, entry.where, "", {"": value}, strings)
    elif isinstance(value, dict) and key in value:
        found = _read(name, entry.where, key, value, taken)
    if found is None:
        raise InputError(
            f"{name}, {entry.where}: expected a string or an object with text under the key {shorten(key)}, "
            f"got {shorten(value)}; write it so, remove it, or name another key by column='...'."
        )
    return found


def _read(name: str, where: str, key: str, row: Mapping[str, Any], taken: Taken) -> list[str | Conversation] | None:
    try:
        return read_value(key, row, taken)
    except InputError as error:
        raise InputError(f"{name}, {where}: {error}") from None
