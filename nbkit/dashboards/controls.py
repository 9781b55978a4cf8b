"""The explore dashboard's controls: the fields of Settings, each with its unit and a line that explains it."""

from __future__ import annotations

import html
from collections.abc import Callable

import ipywidgets

from nbkit.dashboards.panel import control_grid
from nbkit.dashboards.workers_control import CONTROL, LABEL_WIDTH, slider
from nbkit.models import EMBEDDED
from nbkit.settings import DTYPES, ENGINES, ORDERS, SPLITS, Settings

MOST_NEW_TOKENS = 400
MOST_BATCH_SIZE = 128
MOST_PADDING = 64
SIMPLE_TAKES_ONE = "Not used by simple: it takes one prompt at a time."


class Controls:
    """Widgets that become ``Settings``; ``on_change`` is called when one has a new value."""

    def __init__(self, settings: Settings, workers: ipywidgets.IntSlider, on_change: Callable[[], None]) -> None:
        self._engine = _dropdown("engine", ENGINES, settings.engine)
        self._batch_size = slider("batch size", settings.batch_size, MOST_BATCH_SIZE)
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
        self._dtype = _dropdown("dtype", DTYPES, settings.dtype)
        self._split = _dropdown("split", SPLITS, settings.split)
        self._order = _dropdown("order", ORDERS, settings.order)
        self._padding = slider("pad to", settings.pad_to_multiple_of, MOST_PADDING)
        self._ignore_eos = ipywidgets.Checkbox(
            description="ignore end", value=settings.ignore_eos, style=LABEL_WIDTH, layout=CONTROL
        )
        self._fields = [
            _Field(self._engine, "One prompt at a time, or several, padded."),
            _Field(workers, "Processes, each on a GPU or on CPU cores."),
            _Field(self._batch_size, "Prompts that a worker takes at once.", self._why_no_batches),
            _Field(self._max_new_tokens, "Tokens, at most, for one prompt."),
            _Field(self._model, "A short name, a hub id or a folder."),
            _Field(self._dtype, "Precision; auto: bfloat16 on GPUs, float32 on CPUs."),
            _Field(self._split, "Equal shares at the start, or a batch at a time."),
            _Field(self._order, "Prompts as given, or the longest first."),
            _Field(self._padding, "Tokens: padded to a multiple of this.", self._why_no_batches),
            _Field(self._ignore_eos, "Go on past the end of a text: equal work."),
        ]
        self.widget = control_grid([field.widget for field in self._fields])
        for field in self._fields:
            field.control.observe(lambda _: on_change(), "value")
        self._engine.observe(lambda _: self._show_what_applies(), "value")
        self._show_what_applies()

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
            batch_size=self._batch_size.value,
            max_new_tokens=self._max_new_tokens.value,
            dtype=self._dtype.value,
            split=self._split.value,
            order=self._order.value,
            pad_to_multiple_of=self._padding.value,
            ignore_eos=self._ignore_eos.value,
        )

    def _why_no_batches(self) -> str | None:
        return SIMPLE_TAKES_ONE if self._engine.value == "simple" else None

    def _show_what_applies(self) -> None:
        for field in self._fields:
            field.show_whether_it_applies()


class _Field:
    """A control and the line below it, which says what it is, or why it does not apply."""

    def __init__(
        self, control: ipywidgets.Widget, explanation: str, why_not: Callable[[], str | None] = lambda: None
    ) -> None:
        self.control = control
        self._explanation = explanation
        self._why_not = why_not
        self._line = ipywidgets.HTML(layout={"margin": "-2px 0 2px 108px"})
        self._line.add_class("nbkit-note")
        self.control.tooltip = explanation
        self.widget = ipywidgets.VBox([control, self._line], layout={"min_width": "0"})
        self.show_whether_it_applies()

    def show_whether_it_applies(self) -> None:
        why_not = self._why_not()
        self.control.disabled = why_not is not None
        self._line.value = html.escape(why_not or self._explanation)


def _dropdown(description: str, options: tuple[str, ...], value: str) -> ipywidgets.Dropdown:
    return ipywidgets.Dropdown(
        description=description, options=options, value=value, style=LABEL_WIDTH, layout=CONTROL
    )
