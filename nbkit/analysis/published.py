"""The published times of the demo that this kit grew from, and what can be read out of them.

Source: Geronimo, 'LLM Inference on multiple GPUs with Accelerate', 27 November 2023,
https://medium.com/@geronimo7/llms-multi-gpu-inference-with-accelerate-5a8333e4c5db:
Llama-2-7b in bfloat16 on one to five RTX 3090, 100 prompts, 100 new tokens each, greedy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from nbkit.analysis.cost_model import (
    ASSUMED_GATHER,
    ASSUMED_GATHER_PROMPT_S,
    ASSUMED_GATHER_RANK_S,
    CostModel,
    FitQuality,
)
from nbkit.analysis.hardware import Hardware
from nbkit.analysis.measured_range import MeasuredRange
from nbkit.errors import InputError
from nbkit.measure.device_speed.speed import RTX_3090
from nbkit.models.model_arithmetic import LLAMA_2_7B

SOURCE = (
    "Geronimo, 'LLM Inference on multiple GPUs with Accelerate', 27 November 2023, "
    "https://medium.com/@geronimo7/llms-multi-gpu-inference-with-accelerate-5a8333e4c5db"
)
MODEL, DTYPE, GPU = "Llama-2-7b", "bfloat16", "RTX 3090"
PROMPTS = 100
NEW_TOKENS = 100
"""New tokens for each prompt."""
GPU_MEMORY_BYTES = 24 * 2**30
"""Of one RTX 3090: 24 GB of GDDR6X, by the appendix that ``RTX_3090.source`` names, all taken to be free. Its
bandwidth (936 GB/s) and arithmetic (71 TFLOP/s, 16 bits on tensor cores, dense, summed in float32) are
``RTX_3090``'s; the model's shape is ``LLAMA_2_7B``."""

UNKNOWABLE = (
    "Why a prompt takes longer with 4 and 5 GPUs cannot be known from the table, which has one time for all ranks "
    "together. The likely reason is the host's processor, which feeds every GPU: one prompt at a time keeps a GPU "
    "waiting for its next launch, and more ranks ask more of the same cores. Times of each rank and the load of the "
    "processor would tell."
)

Engine = Literal["simple", "batched"]


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One row of the table; ``batch_size`` is 1 for ``simple``, ``wall_s`` is in seconds."""

    gpus: int
    engine: Engine
    batch_size: int
    tokens_per_second: float
    wall_s: float


PUBLISHED = (
    PublishedRow(1, "simple", 1, 44, 225.5),
    PublishedRow(2, "simple", 1, 88, 112.9),
    PublishedRow(3, "simple", 1, 128, 77.6),
    PublishedRow(4, "simple", 1, 137, 72.7),
    PublishedRow(5, "simple", 1, 119, 83.8),
    PublishedRow(1, "batched", 16, 520, 19.2),
    PublishedRow(2, "batched", 16, 900, 11.1),
    PublishedRow(3, "batched", 16, 1205, 8.2),
    PublishedRow(4, "batched", 16, 1655, 6.0),
    PublishedRow(5, "batched", 16, 1658, 6.0),
)


@dataclass(frozen=True, slots=True)
class RoundsPrediction:
    """Seconds foretold for a number of GPUs from the batches that the busiest rank runs, beside the published ones.

    ``relative_error`` is predicted / published - 1: below 0 where the run took longer than foretold.
    """

    gpus: int
    rounds: int
    predicted_s: float
    published_s: float

    @property
    def relative_error(self) -> float:
        return self.predicted_s / self.published_s - 1


@dataclass(frozen=True, slots=True)
class PromptSeconds:
    """Seconds that the busiest rank took for one prompt, and how many times those of one GPU."""

    gpus: int
    share: int
    seconds: float
    ratio: float


def rows(engine: Engine) -> tuple[PublishedRow, ...]:
    """One engine's rows, by number of GPUs."""
    return tuple(row for row in PUBLISHED if row.engine == engine)


def batch_rounds(prompts: int, gpus: int, batch_size: int) -> int:
    """Batches that the busiest rank runs: ceil(ceil(prompts / gpus) / batch_size).

    Raises
    ------
    InputError
        A value is below 1.
    """
    for name, value in (("prompts", prompts), ("gpus", gpus), ("batch_size", batch_size)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, not {value}.")
    return -(-_busiest_share(prompts, gpus) // batch_size)


def predicted_seconds(gpus: int) -> float:
    """Seconds for the batched demo on this many GPUs, from the published time of one GPU alone.

    A batch takes as long whether it is full or not, for its steps are as many and
    reading the weights takes most of each; so the busiest rank's batches decide.
    """
    first = rows("batched")[0]
    one = batch_rounds(PROMPTS, 1, first.batch_size)
    return batch_rounds(PROMPTS, gpus, first.batch_size) * first.wall_s / one


def predict_from_first_row() -> tuple[RoundsPrediction, ...]:
    """The batched rows, each beside what its first row foretells."""
    return tuple(
        RoundsPrediction(
            row.gpus, batch_rounds(PROMPTS, row.gpus, row.batch_size), predicted_seconds(row.gpus), row.wall_s
        )
        for row in rows("batched")
    )


def seconds_per_prompt() -> tuple[PromptSeconds, ...]:
    """The simple rows, as seconds that the busiest rank took for each of its prompts.

    Were the ranks independent, all rows would be alike. From 4 GPUs on they are not:
    each rank itself got slower. ``UNKNOWABLE`` says what the table cannot tell of it.
    """
    first = rows("simple")[0]
    one = first.wall_s / PROMPTS
    shares = [(row, _busiest_share(PROMPTS, row.gpus)) for row in rows("simple")]
    return tuple(
        PromptSeconds(row.gpus, share, row.wall_s / share, row.wall_s / share / one) for row, share in shares
    )


def speed_ups(engine: Engine) -> dict[int, float]:
    """GPUs to speed-up as published: the time of one GPU over the time of n, T1 / Tn."""
    return _by_gpus(engine, lambda row, one_s: one_s / row.wall_s)


def efficiencies(engine: Engine) -> dict[int, float]:
    """GPUs to parallel efficiency as published: T1 / (n Tn), 1 where n GPUs are n times as fast."""
    return _by_gpus(engine, lambda row, one_s: one_s / row.wall_s / row.gpus)


def _by_gpus(engine: Engine, value: Callable[[PublishedRow, float], float]) -> dict[int, float]:
    of_engine = rows(engine)
    return {row.gpus: value(row, of_engine[0].wall_s) for row in of_engine}


def _busiest_share(prompts: int, gpus: int) -> int:
    return -(-prompts // gpus)


def published_cost_model() -> CostModel:
    """A cost model from the batched column's first row: a batch takes as long whatever is in it.

    The seconds of its 7 batches, 6 of 16 prompts and one of 4, are shared evenly among their steps of one token for
    each sequence. Of what the table does not tell, tokenising and ranks that slow each other down are 0, and
    the gather is assumed. What a larger batch takes more cannot be in a fit to one row: the
    card's bandwidth, arithmetic and memory bound it.
    """
    first = rows("batched")[0]
    rounds = batch_rounds(PROMPTS, 1, first.batch_size)
    step_s = first.wall_s / rounds / NEW_TOKENS
    return CostModel(
        engine="batched",
        dtype=DTYPE,
        prefill_fixed_s=step_s,
        prefill_position_s=0.0,
        prefill_square_s=0.0,
        step_fixed_s=step_s,
        step_sequence_s=0.0,
        step_cached_s=0.0,
        tokenize_s=(0.0, 0.0),
        detokenize_s=(0.0, 0.0),
        between_s=0.0,
        gather_rank_s=ASSUMED_GATHER_RANK_S,
        gather_prompt_s=ASSUMED_GATHER_PROMPT_S,
        corrections=(),
        quality=FitQuality(1, 0.0, 0.0),
        gather_basis=f"assumed: {ASSUMED_GATHER}",
        measured=MeasuredRange(
            ranks=(1, rows("batched")[-1].gpus),
            sequences=(PROMPTS - (rounds - 1) * first.batch_size, first.batch_size),
            length=None,
            steps=(NEW_TOKENS, NEW_TOKENS),
        ),
        hardware=Hardware(
            name=f"an {GPU}", shape=LLAMA_2_7B, dtype=DTYPE, speeds=(RTX_3090,), memory_bytes=GPU_MEMORY_BYTES
        ),
    )
