"""Which column, or key, of a file holds its prompts: the one that is plain, or a refusal that lists them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from nbkit.errors import InputError, shorten
from nbkit.prompts.files.forms import SYSTEM_KEYS, form_of

USUAL_COLUMN = "prompt"
MOST_LISTED = 12
EXAMPLE_LENGTH = 40

# fmt: off
# By the last word of a column's name: what says which row it is, whence or of what kind, but is no prompt.
BOOKKEEPING = frozenset((
    "id", "ids", "uuid", "guid", "hash", "sha", "index", "idx", "number", "url", "uri", "link", "href",
    "source", "sources", "origin", "model", "models", "method", "category", "categories", "type", "kind",
    "role", "lang", "language", "languages", "locale", "split", "subset", "dataset", "domain", "topic", "tag",
    "tags", "label", "labels", "title", "name", "names", "author", "date", "time", "timestamp", "created",
    "updated", "at", "version", "revision", "license", "difficulty", "level", "status", "error", "object",
    "score", "rating", "group", "filename", "file", "path",
    "meta", "metadata", "info",
))
# These hold text, but what a model is to say rather than what it is asked.
ANSWERS = frozenset((
    "answer", "answers", "response", "responses", "reply", "output", "outputs", "completion", "completions",
    "target", "targets", "reference", "references", "chosen", "rejected", "solution", "solutions",
    "explanation", "rationale", "result", "results",
))
# fmt: on
WORDS_THAT_ARE_NO_TEXT = frozenset(
    ["true", "false", "yes", "no", "none", "null", "nan", "na", "n/a", "inf", "infinity"]
)
ONE_MESSAGE = ({"role", "content"}, {"from", "value"})


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table or a key of objects, its first value that is not blank, and what its values are."""

    name: str
    example: Any
    holds_text: bool
    form: str | None


@dataclass(frozen=True, slots=True)
class Choice:
    """The column to take; whether nobody could have meant another; and columns that are left, though they matter."""

    name: str
    is_plain: bool
    left: tuple[str, ...] = ()


def describe_column(name: str, values: Iterable[Any], names: Sequence[str], may_hold_text: bool = False) -> Column:
    """A column by its values, beside columns of these names.

    ``may_hold_text`` says that the values are a sample, and that others of them could be text.
    """
    example = None
    for value in values:
        # Numbers, the most of what is looked through, are none of both.
        if not isinstance(value, int | float | None):
            form = form_of(name, value, names)
            if form or _holds_text(value):
                return Column(name, value, True, form)
        if example is None and not _is_blank(value):
            example = value
    return Column(name, example, may_hold_text and example is None, None)


def choose_column(file: str, noun: str, columns: Sequence[Column], asked: str | None) -> Choice:
    """The column asked for, else ``prompt``, else the only one of a known form, else the only one of text.

    Parameters
    ----------
    file : str
        The file's name, for messages.
    noun : str
        What its columns are called: ``column`` or ``key``.
    columns : sequence of Column
        All of them.
    asked : str, optional
        The one that the user named.

    Raises
    ------
    InputError
        There is no such column, there are two of its name, or none is plainly the one with the
        prompts; the columns are listed with an example of each.
    """
    names = [column.name for column in columns]
    if asked is None:
        choice = _usual(columns) or _of_known_form(file, noun, columns) or _only_text(file, noun, columns)
    else:
        choice = Choice(asked, is_plain=True) if asked in names else None
    if choice is None:
        _refuse(file, noun, columns, USUAL_COLUMN if asked is None else asked)
    if names.count(choice.name) > 1:
        raise InputError(
            f"{file} has {names.count(choice.name)} {noun}s {shorten(choice.name)}; give each a name of its own."
        )
    return choice


def is_bookkeeping(name: str) -> bool:
    """Whether a column of this name says which row it is, whence or of what kind: never a prompt by itself."""
    return _last_word(name) in BOOKKEEPING


def list_columns(columns: Sequence[Column]) -> str:
    """Columns as a message lists them, each with an example."""
    listed = [f"{shorten(column.name)} ({shorten(column.example, EXAMPLE_LENGTH)})" for column in columns]
    more = len(listed) - MOST_LISTED
    return ", ".join(listed[:MOST_LISTED]) + (f" and {more:,} more" if more > 0 else "")


def _usual(columns: Sequence[Column]) -> Choice | None:
    """``prompt``; or the one column of that name but for capitals and spaces, which is said."""
    names = [column.name for column in columns]
    # A conversation or a system's text beside the prompts belongs to them or holds them, too.
    beside = [
        c.name for c in columns if c.name != USUAL_COLUMN and (c.form or c.name in SYSTEM_KEYS) and c.holds_text
    ]
    if USUAL_COLUMN in names:
        return Choice(USUAL_COLUMN, not beside, tuple(beside))
    alike = [name for name in names if name.strip().lower() == USUAL_COLUMN]
    return Choice(alike[0], False, tuple(beside)) if len(alike) == 1 else None


def _of_known_form(file: str, noun: str, columns: Sequence[Column]) -> Choice | None:
    known = [column for column in columns if column.form and _last_word(column.name) not in ANSWERS | BOOKKEEPING]
    if len(known) > 1:
        raise InputError(
            f"{file} has prompts under several {noun}s: {list_columns(known)}; "
            f"choose one, as by {_remedy(known[0].name)}."
        )
    if not known:
        return None
    others = [column for column in _offered(columns) if column.name != known[0].name]
    return Choice(known[0].name, False, tuple(column.name for column in others))


def _only_text(file: str, noun: str, columns: Sequence[Column]) -> Choice | None:
    """The only column of text, where the others hold numbers and the like or only say which row it is."""
    names = {column.name for column in columns}
    if any(one <= names for one in ONE_MESSAGE):
        raise InputError(
            f"{file} holds messages where prompts should be; put those of a conversation into one list, "
            '{"messages": [{"role": "user", "content": "..."}]}.'
        )
    possible = columns if len(columns) == 1 else [column for column in columns if column.holds_text]
    possible = [column for column in possible if not is_bookkeeping(column.name)]
    if len(possible) != 1 or _last_word(possible[0].name) in ANSWERS:
        return None
    if not isinstance(possible[0].example, str | None):
        return None
    return Choice(possible[0].name, is_plain=len(columns) == 1)


def _refuse(file: str, noun: str, columns: Sequence[Column], wanted: str) -> NoReturn:
    offered = _offered(columns)
    lacks = f"{file} has no {noun} {shorten(wanted)}"
    if offered:
        example = _remedy(offered[0].name)
        raise InputError(
            f"{lacks}; choose the {noun} with the prompts, as by {example}, of: {list_columns(offered)}."
        )
    raise InputError(
        f"{lacks}, and the others hold no text or are named like ids, kinds and sources; write the prompts under "
        f"{USUAL_COLUMN!r}, or name their {noun} by column='...' (in a terminal --column)."
    )


def _offered(columns: Sequence[Column]) -> list[Column]:
    """The columns with text to choose from, those named like answers last."""
    offered = [column for column in columns if column.holds_text and not is_bookkeeping(column.name)]
    return sorted(offered, key=lambda column: _last_word(column.name) in ANSWERS)


def _remedy(name: str) -> str:
    return f"column={shorten(name)} (in a terminal --column)"


def _last_word(name: str) -> str:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    words = re.findall(r"[^\W_]+", apart)
    return words[-1] if words else ""


def _holds_text(value: object) -> bool:
    """Whether a value is text, or a list or an object with text anywhere in it."""
    if isinstance(value, str):
        return _is_prose(value)
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str) and _is_prose(value):
            return True
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list | tuple):
            waiting += value
    return False


def _is_prose(text: str) -> bool:
    """Whether text is more than a number, a date or a yes or no."""
    if not any(map(str.isalpha, text)) or text.strip().lower() in WORDS_THAT_ARE_NO_TEXT:
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False


def _is_blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
