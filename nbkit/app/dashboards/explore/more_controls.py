"""The controls that are used less often: the fields of Settings below a fold."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from nbkit.app.dashboards.parts.field import Field, checkbox, count, dropdown, fraction_slider, lines
from nbkit.app.dashboards.parts.panel import control_grid
from nbkit.app.dashboards.parts.workers_control import slider
from nbkit.records.settings import IN_FLIGHT, QUANTIZATIONS, SPECIAL_TOKENS, Settings

MOST_TEMPERATURE = 2.0
LEAST_TOP_P = 0.05
MOST_PADDING = 64
SIMPLE_TAKES_ONE = "Not used by simple: it takes one prompt at a time."
NOTHING_IS_DRAWN = "Not used at temperature 0: nothing is drawn."


class MoreControls:
    """Widgets below a fold, which is closed at first; its title names what is not as usual.

    Parameters
    ----------
    engine : callable
        The name of the engine that is chosen now: what applies depends on it.
    """

    def __init__(self, settings: Settings, engine: Callable[[], str]) -> None:
        self._engine = engine
        self._quantization = dropdown("quantization", QUANTIZATIONS, settings.quantization)
        self._token_budget = count("token budget", settings.token_budget or 0)
        self._temperature = fraction_slider("temperature", settings.temperature, 0.0, MOST_TEMPERATURE)
        self._top_p = fraction_slider("top-p", settings.top_p, LEAST_TOP_P, 1.0)
        self._top_k = count("top-k", settings.top_k)
        self._seed = count("seed", settings.seed)
        self._stop = lines("stop", stop_text(settings.stop), r"\n stands for a line break")
        self._special_tokens = dropdown("special tokens", SPECIAL_TOKENS, settings.special_tokens)
        self._padding = slider("pad to", settings.pad_to_multiple_of, MOST_PADDING)
        self._ignore_eos = checkbox("ignore end", settings.ignore_eos)
        self._tokenize_first = checkbox("tokenise first", settings.tokenize_first)
        self.fields = [
            Field(self._temperature, "0: the likeliest token; above: drawn at random."),
            Field(self._top_p, "Draw from the likeliest, up to this sum.", self._why_no_draws),
            Field(self._top_k, "Draw from so many likeliest; 0: from all.", self._why_no_draws),
            Field(self._seed, "Of the draws.", self._why_no_draws),
            Field(self._quantization, "Weights of linear layers in fewer bits.", self._why_no_quantization),
            Field(self._token_budget, "Tokens side by side on a worker; 0: no limit.", self._why_no_budget),
            Field(self._special_tokens, "The tokenizer's own, such as BOS; auto: none twice."),
            Field(self._padding, "Tokens: padded to a multiple of this.", self._why_no_padding),
            Field(self._ignore_eos, "Go on past the end of a text: equal work."),
            Field(self._tokenize_first, "Before the timed part instead of in it."),
            Field(self._stop, "An output ends before these: one a line."),
        ]
        self.widget = ipywidgets.Accordion(
            [control_grid([field.widget for field in self.fields])], titles=["More"], selected_index=None
        )
        for field in self.fields:
            field.control.observe(lambda _: self.show_what_applies(), "value")
        self.show_what_applies()

    def values(self) -> dict[str, Any]:
        """What the controls say, by the names of ``Settings``."""
        return {
            # Off, it keeps what was chosen for an engine that has it.
            "quantization": "none" if self._quantization.disabled else self._quantization.value,
            "token_budget": self._token_budget.value or None,
            "temperature": self._temperature.value,
            "top_p": self._top_p.value,
            "top_k": self._top_k.value,
            "seed": self._seed.value,
            "stop": stop_strings(self._stop.value),
            "special_tokens": self._special_tokens.value,
            "pad_to_multiple_of": self._padding.value,
            "ignore_eos": self._ignore_eos.value,
            "tokenize_first": self._tokenize_first.value,
        }

    def show_what_applies(self) -> None:
        """Switch off what does not apply to the engine, and name in the title what is not as usual."""
        for field in self.fields:
            field.show_whether_it_applies()
        usual = Settings()
        unusual = [name for name, value in self.values().items() if value != getattr(usual, name)]
        shown = ", ".join(name.replace("_", " ") for name in unusual)
        self.widget.titles = [f"More: {shown}" if unusual else "More"]

    def _why_no_draws(self) -> str | None:
        return None if self._temperature.value else NOTHING_IS_DRAWN

    def _why_no_quantization(self) -> str | None:
        engine = self._engine()
        return None if engine == "compiled" else f"Not used by {engine}: only compiled has it."

    def _why_no_budget(self) -> str | None:
        return SIMPLE_TAKES_ONE if self._engine() == "simple" else None

    def _why_no_padding(self) -> str | None:
        engine = self._engine()
        return f"Not used by {engine}: it pads no batches." if engine in IN_FLIGHT else self._why_no_budget()


def stop_text(stop: Sequence[str]) -> str:
    r"""Stop strings as people type them: one a line, a line break as ``\n``, a backslash as ``\\``."""
    return "\n".join(text.replace("\\", "\\\\").replace("\n", "\\n") for text in stop)


def stop_strings(text: str) -> tuple[str, ...]:
    """The stop strings that ``stop_text`` gave; spaces count, empty lines do not."""
    written = [line for line in text.split("\n") if line]
    return tuple(re.sub(r"\\(n|\\)", lambda found: "\n" if found[1] == "n" else "\\", line) for line in written)
