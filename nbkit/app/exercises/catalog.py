"""Catalog: the exercises of each lesson, with the rules that make a right answer of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nbkit.analysis import published
from nbkit.analysis.roofline import RTX_3090, decode_limit
from nbkit.app.exercises.kinds import EachRank, Exact, Exercise, Measured
from nbkit.models.model_arithmetic import LLAMA_2_7B, ModelShape

if TYPE_CHECKING:
    from nbkit.analysis.lost_time import LostTime
    from nbkit.measure.device_speed.speed import DeviceSpeed
    from nbkit.records.run import Run

ROUGHLY = 1.0
"""Half or twice as much is right: for what nobody has seen before."""
ESTIMATED = 0.25

PUBLISHED_BATCH = 16


def _ten_times_rank(world_size: int) -> list[int]:
    return [10 * rank for rank in range(world_size)]


def _sum_of_squares(world_size: int) -> list[int]:
    return [sum(rank**2 for rank in range(world_size))] * world_size


def _items(gathered: Sequence[object]) -> int:
    return len(gathered)


def _samples(samples: Sequence[float]) -> Sequence[float]:
    return samples


def _busiest_share(prompts: int, world_size: int) -> int:
    return -(-prompts // world_size)


def _passes(max_new_tokens: int) -> int:
    return max_new_tokens


def _gather_percent(runs: Sequence[Run]) -> list[float]:
    return [100 * max(rank.gather_s for rank in run.ranks) / run.wall_s for run in runs]


def _wall_s(runs: Sequence[Run]) -> list[float]:
    return [run.wall_s for run in runs]


def _row_length(masks: Sequence[str]) -> int:
    return len(masks[0])


def _gain(before: Sequence[Run], after: Sequence[Run]) -> list[float]:
    return [new.tokens_per_second / old.tokens_per_second for old, new in zip(before, after, strict=True)]


def _step_ratio(few: Sequence[Run], many: Sequence[Run]) -> list[float]:
    return [100 * one.mean_tpot_s / other.mean_tpot_s for one, other in zip(few, many, strict=True)]


def _in_vain(run: Run) -> int:
    return run.total_computed_tokens - run.total_new_tokens


def _gather_of_lost_time(measured: LostTime) -> float:
    return 100 * measured.losses["gather and synchronisation"] / measured.wall_s


def _fewest_gpus() -> int:
    rounds = published.batch_rounds
    return next(gpus for gpus in range(1, 101) if rounds(published.PROMPTS, gpus, PUBLISHED_BATCH) == 1)


def _tokens_limit(speed: DeviceSpeed, shape: ModelShape) -> float:
    return speed.bytes_per_s / shape.weight_bytes(speed.dtype)


def _percent_of_limit() -> float:
    limit = decode_limit(LLAMA_2_7B, RTX_3090, published.DTYPE, batch_size=1, context=60)
    return 100 * 44 / limit.tokens_per_second


def _as_large_as_the_weights(shape: ModelShape) -> float:
    return shape.weight_bytes("float32") / (1000 * shape.kv_bytes_per_position("float32"))


LESSONS: dict[str, tuple[Exercise, ...]] = {
    "00_start_here": (
        Exercise(
            "round-trip",
            Measured("ms", ROUGHLY),
            _samples,
            "Nothing is started and nothing is loaded. What is left is to wake each rank, and to hear from it.",
            "So a job of a second spends next to nothing on its way.",
        ),
        Exercise(
            "ten-times-rank",
            EachRank(),
            _ten_times_rank,
            "Import Accelerator inside the function: Accelerator().process_index is the rank. Return 10 times it.",
            "One value of every rank, in rank order.",
        ),
    ),
    "01_hello_gather": (
        Exercise(
            "bare-string",
            Exact("items"),
            _items,
            'gather_object takes apart what each rank gives, one level deep. What are the parts of "hi"?',
            'A string is a sequence of letters: each rank\'s "hi" becomes "h", "i". Put what you gather in a list. '
            "(A single rank gathers nothing, and has its string back.)",
        ),
        Exercise(
            "sum-of-squares",
            EachRank(),
            _sum_of_squares,
            "gather_object([process_index ** 2]) gives every rank the squares of all; return their sum.",
            "Every rank has the whole list, so every rank has the same sum.",
        ),
        Exercise(
            "gather-ms",
            Measured("ms", ROUGHLY),
            _samples,
            "Less than you need to read this word; of the order of a round trip in the notebook before.",
            "It is paid once at the end of a run, however long the run was.",
        ),
    ),
    "02_one_prompt_at_a_time": (
        Exercise(
            "busiest-share",
            Exact("prompts"),
            _busiest_share,
            "Divide the prompts by the ranks. What does not divide evenly goes to the first ranks, one each.",
            "The run takes as long as the rank with the largest share.",
        ),
        Exercise(
            "passes",
            Exact("passes"),
            _passes,
            "The pass that reads the prompt gives a token, too.",
            "One prefill, which gives the first token, and a decode pass for each further one.",
        ),
        Exercise(
            "gather-percent",
            Measured("% of the wall time", ROUGHLY),
            _gather_percent,
            "You have measured a gather in notebook 1, and the seconds of a run stand above. Divide.",
            "Whatever keeps n ranks from being n times as fast here, it is hardly the gather.",
        ),
        Exercise(
            "one-rank-alone",
            Measured("s", ESTIMATED),
            _wall_s,
            "A prompt takes TTFT + (new tokens - 1) x TPOT. One rank has all prompts, one after the other.",
            "Less, where texts end early; more or less, where a rank is faster without others beside it.",
        ),
    ),
    "03_batches": (
        Exercise(
            "row-length",
            Exact("positions"),
            _row_length,
            "Take the longest prompt in the batch, and round its tokens up to a multiple of 8.",
            "Every prompt of the batch has as many, padding included.",
        ),
        Exercise(
            "gain-of-ten",
            Measured("times", ESTIMATED),
            _gain,
            "Ten, divided by how much longer a step takes for ten sequences. Is the device busy with one?",
            "The batch size is the most that a batch can bring; a step that takes longer takes away from it.",
        ),
        Exercise(
            "nearly-empty-batch",
            Measured("% of a full step", ESTIMATED),
            _step_ratio,
            "100 if a step costs the same whatever is in the batch; 20 if it costs by the sequence.",
            "A batch of 2 among batches of 10 is a fifth of the work, and this share of the time.",
        ),
        Exercise(
            "in-vain",
            Exact("tokens"),
            _in_vain,
            "A batch goes on until its last text has ended. For each prompt: how many steps came after its own end?",
            "They cost as much as the others, and nobody gets them.",
        ),
    ),
    "04_scaling": (
        Exercise(
            "batches-on-five",
            Exact("batches"),
            lambda: published.batch_rounds(published.PROMPTS, 5, PUBLISHED_BATCH),
            "A share is 20 prompts: 16 and ...?",
        ),
        Exercise(
            "batches-on-four",
            Exact("batches"),
            lambda: published.batch_rounds(published.PROMPTS, 4, PUBLISHED_BATCH),
            "A share is 25 prompts.",
        ),
        Exercise("speed-up-of-two", Exact("times"), lambda: 2, "Count batches: one rank runs two of them."),
        Exercise(
            "gather-percent",
            Measured("% of the wall time", ROUGHLY),
            _gather_of_lost_time,
            "The table of losses has its seconds; divide by the wall time.",
        ),
        Exercise("fewest-gpus", Exact("GPUs"), _fewest_gpus, "Each must have no more than one batch."),
    ),
    "05_limits": (
        Exercise("intensity-at-1", Exact("operations/byte"), lambda: 2 / 4, "Two operations for four bytes."),
        Exercise(
            "intensity-at-16",
            Exact("operations/byte"),
            lambda: 16 * 2 / 4,
            "The weights are read once for all 16 sequences.",
        ),
        Exercise("tokens-limit", Measured("tokens/s"), _tokens_limit, "Bytes a second, over bytes a token."),
        Exercise("percent-of-limit", Measured("%"), _percent_of_limit, "936 / 13.5 tokens/s are possible."),
        Exercise(
            "as-large-as-the-weights",
            Measured("sequences"),
            _as_large_as_the_weights,
            "Weights in bytes, over the cache of 1,000 positions in bytes.",
        ),
    ),
}
"""By the notebook's name, in the order in which the exercises come."""
