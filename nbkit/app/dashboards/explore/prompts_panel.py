"""The prompts panel: where prompts come from, how many, and how long they are, before anything runs."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import ipywidgets

from nbkit.app.dashboards.parts.background import Background
from nbkit.app.dashboards.parts.fold import Fold
from nbkit.app.dashboards.parts.live_figure import LiveFigure
from nbkit.app.dashboards.parts.panel import TWO_COLUMNS, Panel
from nbkit.app.dashboards.parts.served import check_may_read
from nbkit.app.dashboards.parts.widget_tree import close_tree
from nbkit.app.dashboards.parts.workers_control import CONTROL, LABEL_WIDTH, StatusLine, slider
from nbkit.errors import InputError, NbkitError, shorten
from nbkit.figures import histogram_bars, token_histogram
from nbkit.models.token_lengths import token_lengths
from nbkit.prompts import LENGTH_DISTRIBUTIONS, first_lines, synthetic_prompts
from nbkit.prompts.files import PROMPT_ENDINGS, parse_prompt_file, prompt_columns
from nbkit.records.request import Conversation, PromptLike, check_prompts

FIRST_LINES, PASTED, FILE, SYNTHETIC, GIVEN = "first lines", "pasted text", "a file", "synthetic", "given"
MOST_PROMPTS = 200
MOST_SYNTHETIC = 10_000
COUNT_AFTER_S = 0.2
NOT_CHOSEN = 0  # no column's name; with None a drop-down shows nothing
NO_COLUMNS, AS_FOUND = ("-", NOT_CHOSEN), ("the plain one", NOT_CHOSEN)


class PromptsPanel:
    """One source at a time; ``on_change`` is called when other prompts are asked for."""

    def __init__(self, prompts: Sequence[PromptLike] | None, model: str, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._from_file: list[str | Conversation] = []
        # Conversations, and texts of several lines, cannot be pasted one a line.
        self._given = check_prompts(prompts) if prompts else []
        are_lines = all(isinstance(prompt, str) and len(prompt.splitlines()) == 1 for prompt in self._given)
        self._source = ipywidgets.ToggleButtons(
            options=[*(() if are_lines else (GIVEN,)), FIRST_LINES, PASTED, FILE, SYNTHETIC],
            value=FIRST_LINES if not self._given else PASTED if are_lines else GIVEN,
            style={"button_width": "92px"},
        )
        self._count = slider("prompts", 20, MOST_PROMPTS)
        self._text = ipywidgets.Textarea(
            value="\n".join(map(str, self._given)) if are_lines else "",
            placeholder="Prompts of your own, one a line.",
            layout={"width": "100%", "height": "120px"},
        )
        self._file = _FileSource(self._take_file)
        self._synthetic_count = slider("prompts", 100, MOST_SYNTHETIC)
        self._mean_words = slider("mean words", 20, 500)
        self._distribution = ipywidgets.Dropdown(
            description="lengths",
            options=LENGTH_DISTRIBUTIONS,
            value=LENGTH_DISTRIBUTIONS[-1],
            style=LABEL_WIDTH,
            layout=CONTROL,
        )
        synthetic = ipywidgets.VBox([self._synthetic_count, self._mean_words, self._distribution])
        self._sources = {
            FIRST_LINES: self._count,
            PASTED: self._text,
            GIVEN: ipywidgets.HTML(f"{len(self._given):,} prompts, given where this dashboard was made."),
            FILE: self._file.widget,
            SYNTHETIC: synthetic,
        }
        self._stack = ipywidgets.VBox()
        self._said = StatusLine()
        self._histogram = LiveFigure(token_histogram([], "Lengths of the prompts"))
        self._panel = Panel(self._histogram)
        left = ipywidgets.VBox([self._source, self._stack, self._said], layout={"min_width": "0"})
        content = ipywidgets.GridBox(
            [left, self._panel], layout={"grid_template_columns": TWO_COLUMNS, "grid_gap": "8px", "width": "100%"}
        )
        self.fold = Fold([content], "Prompts", "Where prompts come from, how many, how long")
        self.widget = self.fold.widget
        self._counting = Background(self._said.say_error)
        asking = (self._count, self._text, self._synthetic_count, self._mean_words, self._distribution)
        for control in asking:
            control.observe(lambda _: self._changed(), "value")
        self._source.observe(lambda _: self._changed(), "value")
        self._show_source()
        self.show_lengths_of(model)

    def prompts(self) -> list[str | Conversation]:
        """The prompts that are asked for.

        Raises
        ------
        InputError
            There are none, and why.
        """
        if self._source.value == GIVEN:
            return self._given
        if self._source.value == FIRST_LINES:
            return [*first_lines(self._count.value)]
        if self._source.value == SYNTHETIC:
            asked = self._synthetic_count.value, self._mean_words.value, self._distribution.value
            return [*synthetic_prompts(*asked)]
        if self._source.value == FILE:
            if not self._from_file:
                raise InputError("no prompts were read yet: name a file below 'Prompts' and press Read.")
            return self._from_file
        own: list[str | Conversation] = [line for line in self._text.value.splitlines() if line.strip()]
        if not own:
            raise InputError("there is no pasted text: write prompts below 'Prompts', one a line.")
        return own

    def show_lengths_of(self, model: str) -> None:
        """Count tokens with this model's tokenizer from now on."""
        self._model = model
        self._counting.request(self._count_tokens, after_s=COUNT_AFTER_S)

    def close(self) -> None:
        """Stop counting, and close the sources that are not shown: those are in no tree of widgets."""
        self._counting.close()
        for source in self._sources.values():
            close_tree(source)

    def _show_source(self) -> None:
        self._stack.children = (self._sources[self._source.value],)

    def _take_file(self, prompts: list[str | Conversation]) -> None:
        self._from_file = prompts
        self._changed()

    def _changed(self) -> None:
        self._show_source()
        self._counting.request(self._count_tokens, after_s=COUNT_AFTER_S)
        self._on_change()

    def _count_tokens(self) -> None:
        try:
            prompts = self.prompts()
        except InputError as error:
            self._say(str(error), "Prompts: none")
            self._panel.draw(lambda: self._histogram.show([histogram_bars([])]))
            return
        lengths = token_lengths(self._model, prompts)
        title = f"Prompts: {len(prompts):,}, {self._source.value}"
        if any(isinstance(prompt, Conversation) for prompt in prompts):
            self._say("The lengths of conversations will be known when the model's chat template is applied.", title)
        elif lengths is None:
            self._say("Their lengths will be known when the model is on this machine.", title)
        else:
            self._say(_in_words(lengths), title)
        self._panel.draw(lambda: self._histogram.show([histogram_bars(lengths or [])]))

    def _say(self, text: str, title: str) -> None:
        self._said.say(text)
        self.fold.title = title


class _FileSource:
    """A file beside the notebook or from the user's computer, and the column to take."""

    def __init__(self, take: Callable[[list[str | Conversation]], None]) -> None:
        self._take = take
        self._name, self._data = "", b""
        self._path = ipywidgets.Text(
            description="file", placeholder="prompts.txt, .jsonl, .csv, ...", style=LABEL_WIDTH, layout=CONTROL
        )
        read = ipywidgets.Button(description="Read", layout={"width": "72px"})
        self._upload = ipywidgets.FileUpload(
            description="Upload",
            accept=",".join((*PROMPT_ENDINGS, ".gz")),
            tooltip=f"A file from your computer: {', '.join(PROMPT_ENDINGS)}, or one of them with .gz",
        )
        self._column = ipywidgets.Dropdown(
            description="column", options=[NO_COLUMNS], disabled=True, style=LABEL_WIDTH, layout=CONTROL
        )
        self._said = StatusLine()
        read.on_click(lambda _: self._try(self._read_path))
        self._upload.observe(lambda _: self._try(self._read_upload), "value")
        self._column.observe(lambda _: self._try(self._parse), "value")
        row = ipywidgets.HBox([self._path, read, self._upload], layout={"flex_flow": "row wrap"})
        self.widget = ipywidgets.VBox([row, self._column, self._said])

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except (NbkitError, OSError) as error:
            self._said.say_error(error)

    def _read_path(self) -> None:
        path = check_may_read(os.path.expanduser(self._path.value.strip()))  # leaves a user that it does not know
        if not path.is_file():
            raise InputError(f"there is no file {shorten(str(path))} beside this notebook ({Path.cwd()}).")
        self._read(path.name, path.read_bytes())

    def _read_upload(self) -> None:
        for file in self._upload.value:
            self._read(file.name, bytes(file.content))
        if self._upload.value:
            self._upload.value = ()

    def _read(self, name: str, data: bytes) -> None:
        self._name = ""  # so that the control, which tells of its new columns, takes none of them
        self._column.options = [NO_COLUMNS]
        try:
            columns = prompt_columns(name, data)
        except InputError:
            columns = []  # reading the prompts says what is wrong, or which column to name
        self._column.options = [AS_FOUND, *((column, column) for column in columns)] if columns else [NO_COLUMNS]
        self._column.disabled = not columns
        self._name, self._data = name, data
        self._parse()

    def _parse(self) -> None:
        if not self._name:
            return
        chosen = self._column.value
        try:
            found = parse_prompt_file(self._name, self._data, None if chosen == NOT_CHOSEN else chosen)
        except InputError:
            self._take([])  # rather than run what another file or column held
            raise
        self._said.say(f"{len(found.prompts):,} prompts read from {self._name}: {found.taken}.")
        self._take(found.prompts)


def _in_words(lengths: Sequence[int]) -> str:
    return (
        f"{len(lengths):,} prompts, {sum(lengths):,} tokens: from {min(lengths)} to {max(lengths)}, "
        f"median {statistics.median(lengths):g}."
    )
