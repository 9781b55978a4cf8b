"""Where the prompts of a night come from: a file, of which it is said what is taken, or lines to try it with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets

from nbkit.app.dashboards.parts.background import Background
from nbkit.app.dashboards.parts.field import dropdown
from nbkit.app.dashboards.parts.served import check_may_read
from nbkit.app.dashboards.parts.widget_tree import close_tree
from nbkit.app.dashboards.parts.workers_control import CONTROL, LABEL_WIDTH, StatusLine, slider
from nbkit.errors import InputError, shorten
from nbkit.prompts import first_lines
from nbkit.prompts.files import PROMPT_ENDINGS
from nbkit.prompts.files.streamed import stream_prompts
from nbkit.records.request import PromptLike

FILE, FIRST_LINES, GIVEN = "a file", "first lines, to try it", "given"
MOST_LINES = 1000


class PromptsControl:
    """Widgets that become the source of a bulk; a file is read no farther than it takes to say what it is."""

    def __init__(self, source: str | Path | Sequence[PromptLike] | None) -> None:
        path = str(source) if isinstance(source, str | Path) else ""
        self._given = None if source is None or isinstance(source, str | Path) else list(source)
        options = [FILE, FIRST_LINES] if self._given is None else [GIVEN, FILE, FIRST_LINES]
        self._kind = dropdown("prompts", options, options[0])
        self._path = _text("file", path, f"prompts.jsonl, or {', '.join(PROMPT_ENDINGS)}")
        self._column = _text("column", "", "the plain one; or the name of another")
        self._count = slider("lines", 20, MOST_LINES)
        self._said = StatusLine()
        self._said.layout.margin = "0 0 0 108px"
        self._parts: dict[str, list[ipywidgets.Widget]] = {
            FILE: [self._path, self._column],
            FIRST_LINES: [self._count],
            GIVEN: [],
        }
        self.widget = ipywidgets.VBox(layout={"min_width": "0"})
        self._looking = Background(self._said.say_error)
        for control in (self._kind, self._path, self._column, self._count):
            control.observe(lambda _: self._show(), "value")
        self._show()

    def source(self) -> str | Path | list[PromptLike]:
        """What the controls ask for.

        Raises
        ------
        InputError
            No file is named, there is none, or it may not be read.
        """
        if self._kind.value == GIVEN:
            assert self._given is not None
            return self._given
        if self._kind.value == FIRST_LINES:
            return [*first_lines(self._count.value)]
        if not self._path.value.strip():
            raise InputError("name the file with the prompts.")
        path = check_may_read(os.path.expanduser(self._path.value.strip()))
        if not path.is_file():
            raise InputError(f"there is no file {shorten(str(path))} beside this notebook ({Path.cwd()}).")
        return path

    @property
    def named(self) -> str:
        """The source, in a few words."""
        if self._kind.value == FILE:
            return Path(self._path.value.strip()).name or "no file yet"
        return f"{len(self._given or ()) if self._kind.value == GIVEN else self._count.value:,} prompts"

    @property
    def column(self) -> str | None:
        """The column, or key, of the file; None for the plain one."""
        return (self._column.value.strip() or None) if self._kind.value == FILE else None

    def show(self, described: dict[str, Any]) -> None:
        """Ask for the source of a bulk, as far as its folder tells."""
        if described["kind"] == "file":
            self._kind.value = FILE
            self._path.value, self._column.value = described["path"], described["column"] or ""
        elif self._given is None and described["prompts"]:
            # Whether they were these is found out by the driver, which knows prompts again.
            self._kind.value = FIRST_LINES
            self._count.max = max(self._count.max, described["prompts"])
            self._count.value = described["prompts"]

    def close(self) -> None:
        """Stop looking, and close what is not shown."""
        self._looking.close()
        for part in (part for parts in self._parts.values() for part in parts):
            close_tree(part)

    def _show(self) -> None:
        self.widget.children = (self._kind, *self._parts[self._kind.value], self._said)
        self._looking.request(self._say_what_is_taken)

    def _say_what_is_taken(self) -> None:
        if self._kind.value == GIVEN:
            self._said.say(f"{len(self._given or ()):,} prompts, given where this dashboard was made.")
        elif self._kind.value == FIRST_LINES:
            self._said.say(f"{self._count.value:,} prompts: ten first lines of novels, repeated.")
        elif not self._path.value.strip():
            self._said.say("A text has a prompt a line, a table one a row; any of them may be .gz.")
        else:
            path = self.source()
            assert isinstance(path, Path)
            taken = stream_prompts(path, self.column).taken
            self._said.say(f"{path.name}, {_size(path.stat().st_size)}: {taken}.")


def _text(description: str, value: str, placeholder: str) -> ipywidgets.Text:
    return ipywidgets.Text(
        value,
        description=description,
        placeholder=placeholder,
        style=LABEL_WIDTH,
        layout=CONTROL,
        continuous_update=False,
    )


def _size(size: int) -> str:
    return (
        f"{size:,} bytes" if size < 10_000 else f"{size / 1e3:,.0f} kB" if size < 10**7 else f"{size / 1e6:,.0f} MB"
    )
