"""Setting fields: how each field of ``Settings`` is told, what it may be, and why it may be without effect.

The checks, the command line's options, the widgets and a sweep's axes are made from these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nbkit.records.engine_spec import ENGINES
from nbkit.records.setting_values import Values

if TYPE_CHECKING:
    from nbkit.records.settings import Settings

INFO = "info"


def _always(asked: Settings) -> str | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldInfo:
    """A field of ``Settings``, for those who ask for a value.

    Attributes
    ----------
    label : str
        Its name beside a control.
    help : str
        What it is, in a line without its full stop.
    values : Values
        What it may be.
    unit : str
        Of a number; empty: a count, or no number.
    is_usual : bool
        Whether many change it; the others are shown below a fold.
    said : callable, optional
        A value in words; left out: the label and the value.
    why_not : callable
        Of ``Settings``: None where the field has an effect, else why it has none, in a sentence. It may
        depend on fields that always have an effect alone.
    """

    label: str
    help: str
    values: Values
    unit: str = ""
    is_usual: bool = False
    said: Callable[[Any], str] | None = None
    why_not: Callable[[Settings], str | None] = _always

    @property
    def always_applies(self) -> bool:
        """Whether no other field can take its effect away."""
        return self.why_not is _always

    def line(self, *hints: str) -> str:
        """The help as a sentence, with what is particular to where it is shown."""
        return "; ".join((self.help, *hints)) + "."

    def in_words(self, value: Any) -> str:
        """A value, as labels of runs name it."""
        if self.said is not None:
            return self.said(value)
        return f"{self.label} {value:g}" if isinstance(value, float) else f"{self.label} {value}"


def setting(default: Any, values: Values, label: str, help: str, **more: Any) -> Any:
    """A field of ``Settings`` with its ``FieldInfo``; ``more`` are its other attributes."""
    info = FieldInfo(label=label, help=help, values=values, **more)
    return dataclasses.field(default=default, metadata={INFO: info})


def with_spaces(name: str) -> str:
    """A name in words."""
    return name.replace("_", " ")


def without_batches(asked: Settings) -> str | None:
    """Why nothing is decoded side by side."""
    return None if asked.engine_spec.batches else f"Not used by {asked.engine}: it takes one prompt at a time."


def without_padding(asked: Settings) -> str | None:
    """Why no prompt is padded."""
    if asked.engine_spec.pads:
        return None
    return without_batches(asked) or f"Not used by {asked.engine}: it pads no batches."


def without_draws(asked: Settings) -> str | None:
    """Why no token is drawn."""
    return None if asked.temperature else "Not used at temperature 0: nothing is drawn."


def without_quantization(asked: Settings) -> str | None:
    """Why the weights are in the dtype."""
    having = [name for name, spec in ENGINES.items() if len(spec.quantizations) > 1]
    return None if asked.engine in having else f"Not used by {asked.engine}: only {' and '.join(having)} has it."
