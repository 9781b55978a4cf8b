"""Setting control: the widget for a field of ``Settings``, made from what there is to know of the field."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import ipywidgets

from nbkit.app.dashboards.parts.field import checkbox, count, dropdown, fraction_slider, lines, named
from nbkit.app.dashboards.parts.workers_control import slider
from nbkit.app.doctor import engine_label
from nbkit.models import EMBEDDED
from nbkit.records.setting_values import Choice, Flag, Name, Number, Texts, Whole, Word
from nbkit.records.settings import ARTICLE, FIELDS


class SettingControl:
    """The control for one field, with the value that it begins with.

    Attributes
    ----------
    widget : widget
        What is moved, chosen or typed.
    word_box : Checkbox or None
        Beside a slider: ticked, a word such as ``auto`` stands in the place of the number.
    """

    def __init__(self, name: str, value: Any) -> None:
        self._info = FIELDS[name]
        self.word_box = _word_box(self._word, value) if self._word and self._has_slider else None
        if self._word and value == self._word.value:
            value = ARTICLE.get(name, 0)
        self.widget = _widget(name, value)

    @property
    def value(self) -> Any:
        """What the control says, as ``Settings`` has it."""
        shown = self.widget.value
        if isinstance(self._info.values, Texts):
            return stop_strings(shown)
        is_word = self.word_box.value if self.word_box else shown == 0
        return self._word.value if self._word and is_word else shown

    @value.setter
    def value(self, value: Any) -> None:
        is_word = self._word is not None and value == self._word.value
        if self.word_box:
            self.word_box.value = is_word
        if isinstance(self._info.values, Texts):
            value = stop_text(value)
        elif is_word:
            if self.word_box:
                return
            value = 0
        elif hasattr(self.widget, "max"):
            self.widget.min, self.widget.max = min(self.widget.min, value), max(self.widget.max, value)
        self.widget.value = value

    @property
    def line(self) -> str:
        """What the field is, and how it is given here."""
        hints = []
        if isinstance(self._info.values, Texts):
            hints.append("one a line")
        if self._word and not self.word_box:
            hints.append(f"0: {self._word.means}")
        return self._info.line(*hints)

    @property
    def why_off(self) -> str | None:
        """Why nothing can be chosen while the word stands in the place of the number."""
        if self._word and self.word_box and self.word_box.value:
            return f"{self._word.name}: {self._word.means}. Untick to choose."
        return None

    @property
    def _word(self) -> Word | None:
        return self._info.values.word if isinstance(self._info.values, Whole) else None

    @property
    def _has_slider(self) -> bool:
        return isinstance(self._info.values, Whole) and self._info.values.slider_to is not None


def _word_box(word: Word, value: Any) -> ipywidgets.Checkbox:
    return ipywidgets.Checkbox(
        description=word.name,
        value=value == word.value,
        indent=False,
        tooltip=f"{word.means[0].upper()}{word.means[1:]}",
        layout={"width": "64px", "flex": "0 0 auto"},
    )


def _widget(name: str, value: Any) -> ipywidgets.Widget:
    info = FIELDS[name]
    match info.values:
        case Choice(names):
            options = [(engine_label(each), each) for each in names] if name == "engine" else names
            return dropdown(info.label, options, value)
        case Whole(slider_to=None):
            return count(info.label, value)
        case Whole(slider_to=int(most)):
            return slider(info.label, value, most)
        case Number(slider=(least, most)):
            return fraction_slider(info.label, value, least, most)
        case Flag():
            return checkbox(info.label, value)
        case Texts():
            return lines(info.label, stop_text(value), r"\n stands for a line break")
        case Name():
            return named(info.label, EMBEDDED, value)


def stop_text(stop: Sequence[str]) -> str:
    r"""Stop strings as people type them: one a line, a line break as ``\n``, a backslash as ``\\``."""
    return "\n".join(text.replace("\\", "\\\\").replace("\n", "\\n") for text in stop)


def stop_strings(text: str) -> tuple[str, ...]:
    """The stop strings that ``stop_text`` gave; spaces count, empty lines do not."""
    written = [line for line in text.split("\n") if line]
    return tuple(re.sub(r"\\(n|\\)", lambda found: "\n" if found[1] == "n" else "\\", line) for line in written)
