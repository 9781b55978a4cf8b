"""Settings: everything a generation is asked for, checked when it is written down."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from nbkit.errors import InputError

ARTICLE: dict[str, Any] = {"engine": "batched", "batch_size": 16, "split": "static", "order": "as_given"}
"""What the article 'Multi-GPU inference with Accelerate' does, as far as it differs from the defaults."""

ENGINES = ("simple", "batched", "compiled", "continuous", "vllm", "openvino")
IN_FLIGHT = ("compiled", "continuous", "vllm", "openvino")
"""Engines in which a sequence joins whenever another has ended; the others finish a batch before the next."""

AUTO = "auto"
QUANTIZATIONS = ("none", "int8", "int4")
DTYPES = ("auto", "float32", "bfloat16", "float16")
SPLITS = ("static", "dynamic")
ORDERS = ("as_given", "by_length")
SPECIAL_TOKENS = ("auto", "add", "none")
DEFAULT_MODEL = "smollm2-135m"
CHOICES = {
    "engine": ENGINES,
    "dtype": DTYPES,
    "quantization": QUANTIZATIONS,
    "split": SPLITS,
    "order": ORDERS,
    "special_tokens": SPECIAL_TOKENS,
}
WHOLE = {"max_new_tokens": 1, "top_k": 0, "seed": 0, "pad_to_multiple_of": 1}
"""Fields that are whole numbers, and the least that each may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a generation is asked for. The defaults are the fastest without extras; ``ARTICLE`` is the article's way.

    Parameters
    ----------
    model : str
        A short name (``nbkit.models.EMBEDDED``), a hub id or a folder.
    engine : {"simple", "batched", "compiled", "continuous", "vllm", "openvino"}
        ``simple`` generates one prompt at a time and ``batched`` one batch at a time,
        padded on the left, both by transformers' ``generate``. In the others a prompt
        joins whenever a sequence has ended: ``compiled`` decodes with a static KV cache,
        a CUDA graph a step on GPUs and packed weights on CPUs; ``continuous`` is
        transformers' continuous batching; ``vllm`` and ``openvino`` are extras.
    batch_size : int or "auto"
        Sequences decoded side by side on a rank, at least 1. ``auto``: as many as fit into
        the rank's memory, spread evenly over ranks and batches. ``simple`` ignores it.
    token_budget : int, optional
        The most positions of the KV cache, prompts and new tokens together, that the
        sequences decoded side by side on a rank may take: fewer long ones, more short ones.
    max_new_tokens : int
        The most tokens generated for one prompt, at least 1.
    dtype : {"auto", "float32", "bfloat16", "float16"}
        Precision of weights and arithmetic. ``auto`` is bfloat16 on a GPU that has
        it (float16 on one that has not) and float32 on a CPU.
    quantization : {"none", "int8", "int4"}
        Weights of the linear layers in fewer bits than the dtype's.
    split : {"static", "dynamic"}
        How prompts reach ranks. ``static``: each rank gets an equal, contiguous share
        before it begins, as in the article. ``dynamic``: each takes the next ones when it
        has room, many at first and one by one at the end, so that none waits while there is work.
    order : {"as_given", "by_length"}
        ``by_length`` takes the longest prompts first, so that those of a batch are of
        like length and little is padded; a static share is ordered within itself.
        Outputs come in the prompts' order all the same.
    temperature : float
        0 takes the likeliest token (greedy); above 0, tokens are drawn from the
        distribution softmax(logits / temperature).
    top_p : float
        Draw only from the likeliest tokens whose probabilities reach this sum, above 0 to 1.
    top_k : int
        Draw only from so many likeliest tokens; 0: from all.
    seed : int
        Of the draws. A prompt's depend on the seed and its place in the list alone, so
        they are the same whatever the batch and the rank.
    stop : sequence of str
        An output ends before the first of these strings that it comes to.
    special_tokens : {"auto", "add", "none"}
        Of prompts that are strings: whether the tokenizer adds its own, such as BOS. ``auto``
        adds them, but no second BOS to a text that begins with it, as one that a chat
        template has made does. A conversation has just those of the model's template.
    pad_to_multiple_of : int
        Batched prompts are padded to a multiple of this many tokens, at least 1.
    ignore_eos : bool
        Go on to ``max_new_tokens`` past the end-of-sequence token: equal work for
        every prompt, for benchmarks.
    tokenize_first : bool
        Tokenise all of a rank's prompts before the timed part instead of within it.

    Raises
    ------
    InputError
        A field has a value that cannot be used; the message says which and why.
    """

    model: str = DEFAULT_MODEL
    engine: str = "compiled"
    batch_size: int | str = AUTO
    token_budget: int | None = None
    max_new_tokens: int = 100
    dtype: str = "auto"
    quantization: str = "none"
    split: str = "dynamic"
    order: str = "by_length"
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    stop: tuple[str, ...] = ()
    special_tokens: str = "auto"
    pad_to_multiple_of: int = 8
    ignore_eos: bool = False
    tokenize_first: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.model, str) or not self.model.strip():
            raise InputError(
                f"model must be a short name, a hub id or a folder, not {self.model!r}; try model={DEFAULT_MODEL!r}."
            )
        for field, choices in CHOICES.items():
            _check_choice(field, getattr(self, field), choices)
        if self.batch_size != AUTO:
            _check_whole("batch_size", self.batch_size, least=1, instead='or "auto"')
        if self.token_budget is not None:
            _check_whole("token_budget", self.token_budget, least=2)
        for field, least in WHOLE.items():
            _check_whole(field, getattr(self, field), least)
        _check_between("temperature", self.temperature, 0.0, 100.0)
        _check_between("top_p", self.top_p, 0.0, 1.0, is_open=True)
        for field in ("ignore_eos", "tokenize_first"):
            if not isinstance(getattr(self, field), bool):
                raise InputError(f"{field} must be True or False, not {getattr(self, field)!r}.")
        object.__setattr__(self, "stop", _stop_strings(self.stop))
        if self.quantization != "none" and self.engine != "compiled":
            raise InputError(
                f"quantization={self.quantization!r} needs engine='compiled'; {self.engine} computes with weights in "
                "the dtype."
            )

    @property
    def prompts_a_batch(self) -> int | str:
        """The batch size that takes effect: 1 for ``simple``; what ``auto`` becomes, a Run tells."""
        return 1 if self.engine == "simple" else self.batch_size

    @property
    def is_in_flight(self) -> bool:
        """Whether a sequence joins whenever another has ended, instead of batch after batch."""
        return self.engine in IN_FLIGHT

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


def _check_whole(field: str, value: object, least: int, instead: str = "") -> None:
    # bool is an int in Python: batch_size=True would pass as 1.
    if not isinstance(value, int) or isinstance(value, bool):
        either = f" {instead}" if instead else ""
        raise InputError(
            f"{field} must be a whole number of at least {least}{either}, not {value!r} ({type(value).__name__})."
        )
    if value < least:
        raise InputError(f"{field} must be at least {least}, not {value}.")


def _check_between(field: str, value: object, low: float, high: float, is_open: bool = False) -> None:
    """``is_open``: the lower bound itself is excluded."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and low <= value <= high) or (is_open and value == low):  # type: ignore[operator]
        bounds = f"above {low:g} and at most {high:g}" if is_open else f"{low:g} to {high:g}"
        raise InputError(f"{field} must be a number, {bounds}, not {value!r}.")


def _stop_strings(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        raise InputError(f"stop must be a list of strings, not one string; write stop=[{value!r}].")
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) and text for text in value):
        raise InputError(f"stop must be a list of strings that are not empty, not {value!r}.")
    return tuple(value)
