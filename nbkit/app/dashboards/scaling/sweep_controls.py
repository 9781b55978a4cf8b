"""What a sweep is asked for: the grid, each choice a box to tick, each number a slider or a list."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from nbkit.app.dashboards.parts.panel import control_grid
from nbkit.app.dashboards.parts.setting_control import SettingControl
from nbkit.app.dashboards.parts.workers_control import CONTROL, LABEL_WIDTH, slider
from nbkit.app.doctor import engine_label
from nbkit.measure.sweep import Grid, Sweep, whole_numbers
from nbkit.prompts import first_lines
from nbkit.records.request import Conversation
from nbkit.records.setting_fields import with_spaces
from nbkit.records.setting_values import Choice
from nbkit.records.settings import FIELDS, Settings

MOST_PROMPTS = 200
MOST_REPEATS = 10
TICKED = ("engine", "dtype", "split", "order")
FOR_ALL = ("model", "max_new_tokens")
FIRST = Settings(max_new_tokens=20, ignore_eos=True)
"""What a first sweep is made with: equal work for every prompt, and little of it."""


class SweepControls:
    """Widgets that become a ``Grid`` and its prompts."""

    def __init__(self, sweep: Sweep | None = None) -> None:
        self._prompts_given: list[str | Conversation] | None = None
        self._axes: dict[str, Sequence[Any]] = {}
        self._ranks = _text("ranks")
        self._batch_sizes = _text(f"{FIELDS['batch_size'].label}s")
        self._ticks = {name: _ticks(name) for name in TICKED}
        self._model, self._new_tokens = (SettingControl(name, getattr(FIRST, name)).widget for name in FOR_ALL)
        self._prompts = slider("prompts", 20, MOST_PROMPTS)
        self._repeats = slider("repeats", 2, MOST_REPEATS)
        notes = {
            self._ranks: "How many work, of those started; with commas.",
            self._batch_sizes: FIELDS["batch_size"].line("with commas"),
            self._prompts: "The ten first lines, repeated.",
            self._new_tokens: FIELDS["max_new_tokens"].line("equal work"),
            self._repeats: "Every setting so often, in shuffled order.",
            self._model: FIELDS["model"].line(),
        }
        noted = [_with_note(widget, note) for widget, note in notes.items()]
        self.widget = control_grid([*noted, *(ticks.widget for ticks in self._ticks.values())])
        self.suggest(most_ranks=2)
        # What a sweep brought along stays until something else is asked for.
        self._prompts.observe(lambda _: self._forget_prompts(), "value")
        for name, control in zip(FOR_ALL, (self._model, self._new_tokens), strict=True):
            control.observe(lambda _, name=name: self._axes.pop(name, None), "value")
        if sweep is not None:
            self.show(sweep)

    def suggest(self, most_ranks: int) -> None:
        """Ask for a first sweep on 1, 2, 4, ... ranks."""
        self._show_grid(_first_grid(most_ranks))

    def show(self, sweep: Sweep) -> None:
        """Ask for what a sweep asked for."""
        self._show_grid(sweep.grid)
        _set_slider(self._prompts, len(sweep.prompts))
        self._prompts_given = list(sweep.prompts)

    def _show_grid(self, grid: Grid) -> None:
        self._ranks.value = ",".join(map(str, grid.ranks))
        self._batch_sizes.value = ",".join(map(str, grid.batch_sizes))
        choices = grid.choices()
        for name, ticks in self._ticks.items():
            ticks.choose(choices[name])
        self._model.value = grid.base.model
        _set_slider(self._new_tokens, grid.base.max_new_tokens)
        _set_slider(self._repeats, grid.repeats)
        # At last, as the controls moved above let go of axes of their own.
        self._base, self._seed, self._axes = grid.base, grid.seed, dict(grid.axes)

    def grid(self) -> Grid:
        """The grid that the controls ask for.

        Raises
        ------
        InputError
            A control has a value that cannot be used.
        """
        return Grid(
            ranks=whole_numbers(self._ranks.value, "ranks"),
            batch_sizes=whole_numbers(self._batch_sizes.value, "batch sizes"),
            **{f"{name}s": ticks.chosen for name, ticks in self._ticks.items()},
            axes=self._axes,
            base=Settings.of(self._base, model=self._model.value, max_new_tokens=self._new_tokens.value),
            repeats=self._repeats.value,
            seed=self._seed,
        )

    def prompts(self) -> Sequence[str | Conversation]:
        """The prompts of the sweep."""
        return self._prompts_given or first_lines(self._prompts.value)

    def _forget_prompts(self) -> None:
        self._prompts_given = None


class _Ticks:
    """A line of boxes, of which any number may be ticked."""

    def __init__(self, description: str, options: Sequence[str], in_words: Callable[[str], str]) -> None:
        self._boxes = {
            option: ipywidgets.Checkbox(description=in_words(option), indent=False, layout={"width": "auto"})
            for option in options
        }
        label = ipywidgets.Label(description, layout={"width": "100px", "flex": "0 0 auto"})
        label.add_class("nbkit-label")
        columns = "repeat(auto-fill, minmax(145px, 1fr))"
        boxes = ipywidgets.GridBox(
            list(self._boxes.values()), layout={"grid_template_columns": columns, "flex": "1 1 0", "min_width": "0"}
        )
        self.widget = ipywidgets.HBox([label, boxes], layout={"align_items": "flex-start", "min_width": "0"})

    def choose(self, options: Sequence[str]) -> None:
        for option, box in self._boxes.items():
            box.value = option in options

    @property
    def chosen(self) -> tuple[str, ...]:
        return tuple(option for option, box in self._boxes.items() if box.value)


def _ticks(name: str) -> _Ticks:
    """A box for each choice of a field."""
    info = FIELDS[name]
    assert isinstance(info.values, Choice)
    return _Ticks(f"{info.label}s", info.values.names, engine_label if name == "engine" else with_spaces)


def _first_grid(most_ranks: int) -> Grid:
    counts = tuple(2**k for k in range(most_ranks.bit_length()) if 2**k <= most_ranks)
    return Grid(
        ranks=tuple(sorted({*counts, most_ranks})),
        batch_sizes=(1, 4, 16),
        base=FIRST,
        repeats=2,
    )


def _text(description: str) -> ipywidgets.Text:
    return ipywidgets.Text(description=description, style=LABEL_WIDTH, layout=CONTROL, continuous_update=False)


def _set_slider(control: ipywidgets.IntSlider, value: int) -> None:
    control.max = max(control.max, value)
    control.value = value


def _with_note(widget: ipywidgets.Widget, note: str) -> ipywidgets.VBox:
    line = ipywidgets.HTML(html.escape(note), layout={"margin": "-2px 0 2px 108px"})
    line.add_class("nbkit-note")
    widget.tooltip = note
    return ipywidgets.VBox([widget, line], layout={"min_width": "0"})
