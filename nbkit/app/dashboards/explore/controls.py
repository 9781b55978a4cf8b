"""The explore dashboard's controls: the fields of Settings, each with a line that explains it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ipywidgets

from nbkit.app.dashboards.explore.more_controls import MoreControls
from nbkit.app.dashboards.parts.field import Field
from nbkit.app.dashboards.parts.panel import control_grid
from nbkit.app.dashboards.parts.setting_control import SettingControl
from nbkit.app.doctor import how_to_get_engine
from nbkit.records.engine_spec import ENGINES
from nbkit.records.settings import FIELDS, Settings

FIRST = ("engine", "batch_size", "max_new_tokens", "model")
"""What is seen at first, in this order; the number of workers comes after the batch size."""


class Controls:
    """Widgets that become ``Settings``; ``on_change`` is called when one has a new value.

    ``first`` are the fields that are seen at first, in this order; those of ``without`` are not shown.

    Attributes
    ----------
    first : GridBox
        The controls that are seen at first.
    more : MoreControls
        The others, below a fold.
    fields : list of Field
        Every control but the workers' with its line.
    """

    def __init__(
        self,
        settings: Settings,
        workers: ipywidgets.IntSlider,
        on_change: Callable[[], None],
        first: Sequence[str] = FIRST,
        without: Sequence[str] = (),
    ) -> None:
        self._unseen = {name: getattr(settings, name) for name in without}
        self._controls = {
            name: SettingControl(name, getattr(settings, name)) for name in FIELDS if name not in without
        }
        more = [name for name in FIELDS if name not in (*first, *without)]
        fields = {name: self._field(name) for name in (*first, *more)}
        self.more = MoreControls([fields[name] for name in more], lambda: self._values(more))
        self.fields = list(fields.values())
        seen = [fields[name].widget for name in first]
        how_many = Field(workers, "Processes, each on a GPU or on CPU cores.")
        self.first = control_grid([*seen[:2], how_many.widget, *seen[2:]])
        boxes = [control.word_box for control in self._controls.values() if control.word_box]
        for widget in (*(control.widget for control in self._controls.values()), *boxes):
            widget.observe(lambda _: self._show_what_applies(), "value")
            widget.observe(lambda _: on_change(), "value")
        workers.observe(lambda _: on_change(), "value")
        self._show_what_applies()

    def control(self, name: str) -> SettingControl:
        """The control for a field of ``Settings``."""
        return self._controls[name]

    @property
    def model(self) -> str:
        return self._controls["model"].value  # type: ignore[no-any-return]

    def on_model(self, act: Callable[[], None]) -> None:
        """Call ``act`` when another model is named."""
        self._controls["model"].widget.observe(lambda _: act(), "value")

    def settings(self) -> Settings:
        """What the controls ask for.

        Raises
        ------
        InputError
            A control has a value that cannot be used.
        """
        return Settings(**self._unseen, **self._values(self._controls))

    def show(self, settings: Settings) -> None:
        """Ask for these."""
        self._unseen = {name: getattr(settings, name) for name in self._unseen}
        for name, control in self._controls.items():
            control.value = getattr(settings, name)

    def _values(self, names: Iterable[str]) -> dict[str, Any]:
        values = {name: self._controls[name].value for name in names}
        if "quantization" in values and self._why_not("quantization"):
            # Off, it keeps what was chosen for an engine that has it.
            values["quantization"] = Settings().quantization
        return values

    def _field(self, name: str) -> Field:
        control = self._controls[name]
        explanation: str | Callable[[], str] = self._about_engine if name == "engine" else control.line
        return Field(
            control.widget, explanation, lambda: self._why_not(name) or control.why_off, beside=control.word_box
        )

    def _why_not(self, name: str) -> str | None:
        """Why a field has no effect, by those that always have one; the name of a model decides nothing."""
        deciding = [each for each in self._controls if FIELDS[each].always_applies and each != "model"]
        return FIELDS[name].why_not(Settings(**{each: self._controls[each].value for each in deciding}))

    def _about_engine(self) -> str:
        engine = self._controls["engine"].value
        how = how_to_get_engine(engine)
        return ENGINES[engine].about if how is None else f"To install: {how}"

    def _show_what_applies(self) -> None:
        for name, control in self._controls.items():
            if control.word_box:
                control.word_box.disabled = self._why_not(name) is not None
        for field in self.fields:
            field.show_whether_it_applies()
        self.more.name_what_is_unusual()
