"""The explore dashboard's controls: the fields of Settings, and the prompts."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets

from nbkit.dashboards.workers_control import CONTROL, LABEL_WIDTH
from nbkit.models import EMBEDDED
from nbkit.prompts import first_lines
from nbkit.settings import DTYPES, ENGINES, Settings

MOST_PROMPTS = 200
MOST_NEW_TOKENS = 400
MOST_BATCH_SIZE = 128


class Controls:
    """Widgets that become ``Settings`` and prompts."""

    def __init__(self, settings: Settings, workers: ipywidgets.IntSlider, prompts: Sequence[str] | None) -> None:
        self._engine = ipywidgets.Dropdown(
            description="engine", options=ENGINES, value=settings.engine, style=LABEL_WIDTH, layout=CONTROL
        )
        self._batch_size = _slider("batch size", settings.batch_size, MOST_BATCH_SIZE, "Prompts a batch and rank")
        self._max_new_tokens = _slider(
            "new tokens", settings.max_new_tokens, MOST_NEW_TOKENS, "The most tokens generated for a prompt"
        )
        self._model = ipywidgets.Combobox(
            description="model",
            options=EMBEDDED,
            value=settings.model,
            ensure_option=False,
            style=LABEL_WIDTH,
            layout=CONTROL,
            continuous_update=False,
            tooltip="A short name, a hub id or a folder",
        )
        self._dtype = ipywidgets.Dropdown(
            description="dtype", options=DTYPES, value=settings.dtype, style=LABEL_WIDTH, layout=CONTROL
        )
        self._count = _slider("prompts", 20, MOST_PROMPTS, "How many of the ten first lines, repeated")
        self._text = ipywidgets.Textarea(
            value="\n".join(prompts or ()),
            placeholder="Prompts of your own, one a line. Empty: first lines of ten novels, repeated.",
            layout=ipywidgets.Layout(width="100%", height="120px"),
        )
        own_prompts = ipywidgets.Accordion([self._text], titles=["Prompts of your own"], selected_index=None)
        left = ipywidgets.VBox([self._engine, self._batch_size, self._max_new_tokens])
        right = ipywidgets.VBox([workers, self._model, self._dtype])
        columns = ipywidgets.HBox([left, right], layout=ipywidgets.Layout(flex_flow="row wrap"))
        self.widget = ipywidgets.VBox([columns, self._count, own_prompts])
        self._engine.observe(lambda _: self._disable_what_does_not_apply(), "value")
        self._text.observe(lambda _: self._disable_what_does_not_apply(), "value")
        self._disable_what_does_not_apply()

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
        )

    def prompts(self) -> list[str]:
        """The user's own prompts, a line each; else the first lines."""
        own = [line for line in self._text.value.splitlines() if line.strip()]
        return own or first_lines(self._count.value)

    def _disable_what_does_not_apply(self) -> None:
        self._batch_size.disabled = self._engine.value == "simple"
        self._count.disabled = bool(self._text.value.strip())


def _slider(description: str, value: int, most: int, tooltip: str) -> ipywidgets.IntSlider:
    return ipywidgets.IntSlider(
        description=description,
        value=value,
        min=1,
        max=max(most, value),
        style=LABEL_WIDTH,
        layout=CONTROL,
        continuous_update=False,
        tooltip=tooltip,
    )
