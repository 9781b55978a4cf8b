"""Settings: everything a generation is asked for, checked when it is written down."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from nbkit.errors import InputError, shorten, shorten_all
from nbkit.records.engine_spec import ENGINES, EngineSpec
from nbkit.records.setting_fields import (
    INFO,
    FieldInfo,
    setting,
    with_spaces,
    without_batches,
    without_draws,
    without_padding,
    without_quantization,
)
from nbkit.records.setting_values import Choice, Flag, Name, Number, Texts, Whole, Word

ARTICLE: dict[str, Any] = {"engine": "batched", "batch_size": 16, "split": "static", "order": "as_given"}
"""What the article 'Multi-GPU inference with Accelerate' does, as far as it differs from the defaults."""

AUTO = "auto"
QUANTIZATIONS = tuple(dict.fromkeys(bits for spec in ENGINES.values() for bits in spec.quantizations))
DTYPES = ("auto", "float32", "bfloat16", "float16")
SPLITS = ("static", "dynamic")
ORDERS = ("as_given", "by_length")
SPECIAL_TOKENS = ("auto", "add", "none")
DEFAULT_MODEL = "smollm2-135m"

MOST_TOKENS = 100_000_000
"""Of one text, and of a vocabulary: ten times the longest context that a model has."""

MOST_BATCH_SIZE = 1_000_000
MOST_BUDGET = 10**12
MOST_PADDING = 65_536
MOST_SEED = 2**63 - 1
"""The seeds that every engine takes."""


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
    max_new_tokens : int
        The most tokens generated for one prompt, at least 1.
    dtype : {"auto", "float32", "bfloat16", "float16"}
        Precision of weights and arithmetic. ``auto`` is bfloat16 on a GPU that has
        it (float16 on one that has not) and float32 on a CPU.
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
        Of the draws. A prompt's depend on the seed and its index in the list alone, so
        they are the same whatever the batch and the rank.
    quantization : {"none", "int8", "int4"}
        Weights of the linear layers in fewer bits than the dtype's.
    token_budget : int, optional
        The most positions of the KV cache, prompts and new tokens together, that the
        sequences decoded side by side on a rank may take: fewer long ones, more short ones.
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
    warm_up : bool
        Pay what a process pays once, the first time that it computes in a way or a shape, before
        the timed part. False: within it, as a part of its own, so that the cold start is seen.
    stop : sequence of str
        An output ends before the first of these strings that it comes to.

    Raises
    ------
    InputError
        A field has a value that cannot be used; the message says which and why.
    """

    model: str = setting(
        DEFAULT_MODEL,
        Name(example=DEFAULT_MODEL),
        label="model",
        help="A short name, a hub id or a folder",
        is_usual=True,
        said=str,
    )
    engine: str = setting(
        "compiled",
        Choice(tuple(ENGINES)),
        label="engine",
        help="How a worker turns prompts into text",
        is_usual=True,
        said=str,
    )
    batch_size: int | str = setting(
        AUTO,
        Whole(1, MOST_BATCH_SIZE, slider_to=128, word=Word(AUTO, AUTO, "as many as fit")),
        label="batch size",
        help="Prompts side by side on a worker",
        is_usual=True,
        why_not=without_batches,
    )
    max_new_tokens: int = setting(
        100,
        Whole(1, MOST_TOKENS, slider_to=400),
        label="new tokens",
        help="Tokens, at most, for one prompt",
        unit="tokens",
        is_usual=True,
        said="{} new tokens".format,
    )
    dtype: str = setting(
        "auto",
        Choice(DTYPES),
        label="dtype",
        help="Precision; auto: bfloat16 on GPUs, float32 on CPUs",
        is_usual=True,
        said=str,
    )
    split: str = setting(
        "dynamic",
        Choice(SPLITS),
        label="split",
        help="Equal shares at the start, or the next when free",
        is_usual=True,
        said=with_spaces,
    )
    order: str = setting(
        "by_length",
        Choice(ORDERS),
        label="order",
        help="Prompts as given, or the longest first",
        is_usual=True,
        said=with_spaces,
    )
    temperature: float = setting(
        0.0,
        Number(0.0, 100.0, slider=(0.0, 2.0)),
        label="temperature",
        help="0: the likeliest token; above: drawn at random",
    )
    top_p: float = setting(
        1.0,
        Number(0.0, 1.0, slider=(0.05, 1.0), is_open=True),
        label="top-p",
        help="Draw from the likeliest, up to this sum",
        why_not=without_draws,
    )
    top_k: int = setting(
        0,
        Whole(0, MOST_TOKENS),
        label="top-k",
        help="Draw from so many likeliest; 0: from all",
        why_not=without_draws,
    )
    seed: int = setting(0, Whole(0, MOST_SEED), label="seed", help="Of the draws", why_not=without_draws)
    quantization: str = setting(
        "none",
        Choice(QUANTIZATIONS),
        label="quantization",
        help="Weights of linear layers in fewer bits",
        said=lambda bits: "not quantised" if bits == "none" else bits,
        why_not=without_quantization,
    )
    token_budget: int | None = setting(
        None,
        Whole(2, MOST_BUDGET, word=Word("none", None, "no limit")),
        label="token budget",
        help="Tokens side by side on a worker",
        unit="tokens",
        said=lambda tokens: f"token budget {tokens}" if tokens else "no token budget",
        why_not=without_batches,
    )
    special_tokens: str = setting(
        "auto",
        Choice(SPECIAL_TOKENS),
        label="special tokens",
        help="The tokenizer's own, such as BOS; auto: none twice",
    )
    pad_to_multiple_of: int = setting(
        8,
        Whole(1, MOST_PADDING, slider_to=64),
        label="pad to",
        help="Tokens: padded to a multiple of this",
        unit="tokens",
        said="padded to {}".format,
        why_not=without_padding,
    )
    ignore_eos: bool = setting(
        False,
        Flag(),
        label="ignore end",
        help="Go on past the end of a text: equal work",
        said=lambda ignored: "past the end" if ignored else "to the end",
    )
    tokenize_first: bool = setting(
        False,
        Flag(),
        label="tokenise first",
        help="Before the timed part instead of in it",
        said=lambda first: "tokenised first" if first else "tokenised as it goes",
    )
    warm_up: bool = setting(
        True,
        Flag(),
        label="warm up",
        help="What the first time costs: before the timed part",
        said=lambda before: "warmed up" if before else "from cold",
    )
    stop: tuple[str, ...] = setting(
        (),
        Texts(),
        label="stop",
        help="An output ends before these strings",
        said=lambda texts: f"stop at {shorten_all(texts)}" if texts else "no stop strings",
    )

    def __post_init__(self) -> None:
        for name, info in FIELDS.items():
            object.__setattr__(self, name, info.values.checked(name, getattr(self, name)))
        if self.quantization not in self.engine_spec.quantizations:
            having = [repr(name) for name, spec in ENGINES.items() if self.quantization in spec.quantizations]
            raise InputError(
                f"quantization={self.quantization!r} needs engine={' or '.join(having)}; {self.engine} computes with "
                "weights in the dtype."
            )

    @property
    def engine_spec(self) -> EngineSpec:
        """The facts of the engine."""
        return ENGINES[self.engine]

    @property
    def prompts_a_batch(self) -> int | str:
        """The batch size that takes effect: 1 for ``simple``; what ``auto`` becomes, a Run tells."""
        return self.batch_size if self.engine_spec.batches else 1

    @property
    def is_in_flight(self) -> bool:
        """Whether a sequence joins whenever another has ended, instead of batch after batch."""
        return self.engine_spec.in_flight

    @property
    def schedule_label(self) -> str:
        """How prompts reach ranks, and in which order, in words: ``static, as given``."""
        return ", ".join(FIELDS[name].in_words(getattr(self, name)) for name in ("split", "order"))

    @classmethod
    def of(cls, settings: Settings | None = None, **changes: Any) -> Settings:
        """``settings`` (or the defaults) with ``changes`` made, checked again.

        Raises
        ------
        InputError
            A name in ``changes`` is no field, or a value cannot be used.
        """
        if settings is not None and not isinstance(settings, Settings):
            raise InputError(f"settings must be Settings, not {shorten(settings)}; write Settings(batch_size=16).")
        for name in changes:
            if name not in FIELDS:
                raise InputError(f"there is no setting {shorten(name)}; the settings are {', '.join(FIELDS)}.")
        return dataclasses.replace(settings if settings is not None else cls(), **changes)


FIELDS: dict[str, FieldInfo] = {field.name: field.metadata[INFO] for field in dataclasses.fields(Settings)}
"""What there is to know of every field of ``Settings``, by its name: those that are usual first."""


def with_batch_size(engine: str, batch_size: int | str, label: str | None = None, is_short: bool = False) -> str:
    """An engine and its batch size in words: ``batched, batch size 16``, or in short ``batched 16``.

    An engine that takes one prompt at a time has none to tell. ``label`` is what the engine is called.
    """
    told = label or engine
    if not ENGINES[engine].batches:
        return told
    return f"{told} {batch_size}" if is_short else f"{told}, {FIELDS['batch_size'].in_words(batch_size)}"
