"""The explore dashboard's controls: the fields of Settings, each with its unit and a line that explains it."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets

from nbkit.app.dashboards.explore.more_controls import SIMPLE_TAKES_ONE, MoreControls
from nbkit.app.dashboards.parts.field import Field, dropdown
from nbkit.app.dashboards.parts.panel import control_grid
from nbkit.app.dashboards.parts.workers_control import CONTROL, LABEL_WIDTH, slider
from nbkit.app.doctor import engine_label, how_to_get_engine
from nbkit.models import EMBEDDED
from nbkit.records.settings import ARTICLE, AUTO, DTYPES, ENGINES, ORDERS, SPLITS, Settings

MOST_NEW_TOKENS = 400
MOST_BATCH_SIZE = 128
AUTO_CHOOSES = "auto: as many as fit. Untick to choose."
ABOUT_ENGINES = {
    "simple": "One prompt at a time.",
    "batched": "A batch of prompts at a time, padded.",
    "compiled": "Prompts join as others end; nbkit's own fast steps.",
    "continuous": "Prompts join as others end, in transformers.",
    "vllm": "Prompts join as others end, in vLLM.",
    "openvino": "Prompts join as others end, in OpenVINO.",
}


class Controls:
    """Widgets that become ``Settings``; ``on_change`` is called when one has a new value."""

    def __init__(self, settings: Settings, workers: ipywidgets.IntSlider, on_change: Callable[[], None]) -> None:
        size = settings.batch_size
        self._engine = dropdown("engine", [(engine_label(name), name) for name in ENGINES], settings.engine)
        self._batch_size = slider(
            "batch size", size if isinstance(size, int) else ARTICLE["batch_size"], MOST_BATCH_SIZE
        )
        self._auto = ipywidgets.Checkbox(
            description=AUTO,
            value=size == AUTO,
            indent=False,
            tooltip="As many as fit into memory, dealt evenly",
            layout={"width": "64px", "flex": "0 0 auto"},
        )
        self._max_new_tokens = slider("new tokens", settings.max_new_tokens, MOST_NEW_TOKENS)
        self._model = ipywidgets.Combobox(
            description="model",
            options=EMBEDDED,
            value=settings.model,
            ensure_option=False,
            style=LABEL_WIDTH,
            layout=CONTROL,
            continuous_update=False,
        )
        self._dtype = dropdown("dtype", DTYPES, settings.dtype)
        self._split = dropdown("split", SPLITS, settings.split)
        self._order = dropdown("order", ORDERS, settings.order)
        self._more = MoreControls(settings, lambda: self._engine.value)
        self._first = [
            Field(self._engine, self._about_engine),
            Field(workers, "Processes, each on a GPU or on CPU cores."),
            Field(self._batch_size, "Prompts side by side on a worker.", self._why_no_batch_size, self._auto),
            Field(self._max_new_tokens, "Tokens, at most, for one prompt."),
            Field(self._model, "A short name, a hub id or a folder."),
            Field(self._dtype, "Precision; auto: bfloat16 on GPUs, float32 on CPUs."),
            Field(self._split, "Equal shares at the start, or the next when free."),
            Field(self._order, "Prompts as given, or the longest first."),
        ]
        self.widget = ipywidgets.VBox([control_grid([field.widget for field in self._first]), self._more.widget])
        for control in (self._engine, self._auto):
            control.observe(lambda _: self._show_what_applies(), "value")
        for control in (self._auto, *(field.control for field in self.fields)):
            control.observe(lambda _: on_change(), "value")
        self._show_what_applies()

    @property
    def fields(self) -> list[Field]:
        """Every control with its line."""
        return [*self._first, *self._more.fields]

    @property
    def model(self) -> str:
        return self._model.value  # type: ignore[no-any-return]

    def on_model(self, act: Callable[[], None]) -> None:
        """Call ``act`` when another model is named."""
        self._model.observe(lambda _: act(), "value")

    def settings(self) -> Settings:
        """What the controls ask for.

        Raises
        ------
        InputError
            A control has a value that cannot be used.
        """
        return Settings(
            model=self._model.value,
            engine=self._engine.value,
            batch_size=AUTO if self._auto.value else self._batch_size.value,
            max_new_tokens=self._max_new_tokens.value,
            dtype=self._dtype.value,
            split=self._split.value,
            order=self._order.value,
            **self._more.values(),
        )

    def _about_engine(self) -> str:
        engine = self._engine.value
        how = how_to_get_engine(engine)
        return ABOUT_ENGINES[engine] if how is None else f"To install: {how}"

    def _why_no_batch_size(self) -> str | None:
        if self._engine.value == "simple":
            return SIMPLE_TAKES_ONE
        return AUTO_CHOOSES if self._auto.value else None

    def _show_what_applies(self) -> None:
        self._auto.disabled = self._engine.value == "simple"
        for field in self._first:
            field.show_whether_it_applies()
        self._more.show_what_applies()
