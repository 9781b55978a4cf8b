"""Settings: everything a generation is asked for, checked when it is written down."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from nbkit.errors import InputError

ENGINES = ("simple", "batched")
DTYPES = ("auto", "float32", "bfloat16", "float16")
SPLITS = ("static", "dynamic")
ORDERS = ("as_given", "by_length")
DEFAULT_MODEL = "smollm2-135m"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a generation is asked for. The defaults are the published demo's.

    Parameters
    ----------
    model : str
        A short name (``nbkit.models.EMBEDDED``), a hub id or a folder.
    engine : {"simple", "batched"}
        ``simple`` generates one prompt at a time; ``batched`` generates
        ``batch_size`` prompts at a time, padded on the left.
    batch_size : int
        Prompts a batch and rank, at least 1. ``simple`` ignores it.
    max_new_tokens : int
        The most tokens generated for one prompt, at least 1.
    dtype : {"auto", "float32", "bfloat16", "float16"}
        Precision of weights and arithmetic. ``auto`` is bfloat16 on a GPU that has
        it (float16 on one that has not) and float32 on a CPU.
    split : {"static", "dynamic"}
        How prompts reach ranks. ``static``: each rank gets an equal, contiguous share
        before it begins, as in the article. ``dynamic``: each takes the next batch when
        it is free, so that none waits while there is work.
    order : {"as_given", "by_length"}
        ``by_length`` takes the longest prompts first, so that those of a batch are of
        like length and little is padded; a static share is ordered within itself.
        Outputs come in the prompts' order all the same.
    pad_to_multiple_of : int
        Batched prompts are padded to a multiple of this many tokens, at least 1.
    ignore_eos : bool
        Go on to ``max_new_tokens`` past the end-of-sequence token: equal work for
        every prompt, for benchmarks.

    Raises
    ------
    InputError
        A field has a value that cannot be used; the message says which and why.
    """

    model: str = DEFAULT_MODEL
    engine: str = "batched"
    batch_size: int = 16
    max_new_tokens: int = 100
    dtype: str = "auto"
    split: str = "static"
    order: str = "as_given"
    pad_to_multiple_of: int = 8
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model.strip():
            raise InputError(
                f"model must be a short name, a hub id or a folder, not {self.model!r}; try model={DEFAULT_MODEL!r}."
            )
        _check_choice("engine", self.engine, ENGINES)
        _check_choice("dtype", self.dtype, DTYPES)
        _check_choice("split", self.split, SPLITS)
        _check_choice("order", self.order, ORDERS)
        for field in ("batch_size", "max_new_tokens", "pad_to_multiple_of"):
            _check_at_least_one(field, getattr(self, field))
        if not isinstance(self.ignore_eos, bool):
            raise InputError(f"ignore_eos must be True or False, not {self.ignore_eos!r}.")

    @property
    def prompts_a_batch(self) -> int:
        """The batch size that takes effect: 1 for ``simple``."""
        return 1 if self.engine == "simple" else self.batch_size

    @classmethod
    def of(cls, settings: Settings | None = None, **changes: Any) -> Settings:
        """``settings`` (or the defaults) with ``changes`` made, checked again.

        Raises
        ------
        InputError
            A name in ``changes`` is no field, or a value cannot be used.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for name in changes:
            if name not in known:
                raise InputError(f"there is no setting {name!r}; the settings are {', '.join(known)}.")
        return dataclasses.replace(settings if settings is not None else cls(), **changes)


def _check_choice(field: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{field} must be one of {', '.join(choices)}, not {value!r}.")


def _check_at_least_one(field: str, value: object) -> None:
    # bool is an int in Python: batch_size=True would pass as 1.
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{field} must be a whole number of at least 1, not {value!r} ({type(value).__name__}).")
    if value < 1:
        raise InputError(f"{field} must be at least 1, not {value}.")
