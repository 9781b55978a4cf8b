"""Catalog: the exercises of each lesson, with the rules that make a right answer of what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nbkit.analysis import published
from nbkit.analysis.roofline import RTX_3090, decode_limit
from nbkit.app.exercises.challenge import AsFastAsTheSweep, Challenge
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


def _gather_of_lost_time(accounts: Sequence[LostTime]) -> list[float]:
    return [100 * account.losses["gather and synchronisation"] / account.wall_s for account in accounts]


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


def _empty_places() -> float:
    return 100 * (1 - 20 / 32)


def _itself(challenge: Challenge) -> Challenge:
    return challenge


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
            "One of 16 and one of 4.",
        ),
        Exercise(
            "batches-on-four",
            Exact("batches"),
            lambda: published.batch_rounds(published.PROMPTS, 4, PUBLISHED_BATCH),
            "A share is 25 prompts.",
            "One of 16 and one of 9: the fifth GPU only makes the second batch emptier. n GPUs run "
            "ceil(ceil(100 / n) / 16).",
        ),
        Exercise(
            "speed-up-of-two",
            Exact("times"),
            lambda: 2,
            "Count batches: how many does one rank run, and how many does each of two?",
            "One after the other on one rank, and at the same time on two. What it is where a batch of 10 takes less "
            "time than one of 16, the next cells measure.",
        ),
        Exercise(
            "gather-percent",
            Measured("% of the wall time", ROUGHLY),
            _gather_of_lost_time,
            "The figure above has its seconds; divide by the wall time.",
            "The communication that was blamed.",
        ),
        Exercise(
            "fewest-gpus",
            Exact("GPUs"),
            _fewest_gpus,
            "As fast as it can get is one batch for each GPU: how many prompts has each at most?",
            "15 prompts at most for each, and one GPU fewer would have 17. One more brings nothing at batch size 16; "
            "more prompts would have more batches to share, 625 of 10,000.",
        ),
    ),
    "05_limits": (
        Exercise(
            "intensity-at-1",
            Exact("operations/byte"),
            lambda: 2 / 4,
            "Count the operations for one weight, and its bytes.",
            "Two operations for four bytes.",
        ),
        Exercise(
            "intensity-at-16",
            Exact("operations/byte"),
            lambda: 16 * 2 / 4,
            "The weights are read once for all sequences of the batch.",
            "16 times the operations for the same bytes.",
        ),
        Exercise(
            "tokens-limit",
            Measured("tokens/s"),
            _tokens_limit,
            "How many bytes does one token need, and how many come a second?",
            "Bytes a second, over bytes a token. The roofline below has it at batch size 1, a little lower: it "
            "counts the KV cache, too.",
        ),
        Exercise(
            "percent-of-limit",
            Measured("%"),
            _percent_of_limit,
            "First the tokens per second that are possible, as in the exercise before.",
            "936 / 13.5 is 69 tokens/s: not bad for a loop in Python. In batches of 16 the limit is about 15 times "
            "as high, and the article's 520 tokens/s are about half of it.",
        ),
        Exercise(
            "gain-of-bfloat16",
            Measured("times", ESTIMATED),
            _gain,
            "Twice, if a token waits for the weights alone. Was the limit reached above, and is arithmetic as fast "
            "in both dtypes on this device?",
        ),
        Exercise(
            "as-large-as-the-weights",
            Measured("sequences"),
            _as_large_as_the_weights,
            "Weights in bytes, over the cache of 1,000 positions in bytes; both stand above for this model.",
            "It is the same in every dtype, as both have the same bytes a number. Llama-2-7b has 524 kB a position "
            "in bfloat16, so 26 sequences of 1,000 positions are as large as its 13.5 GB of weights. A model whose "
            "heads share keys and values (grouped-query attention) has room for more.",
        ),
    ),
    "06_faster": (
        Exercise(
            "empty-places",
            Exact("% of the places"),
            _empty_places,
            "Two batches have 32 places.",
            "12 of 32 places; a step of the second batch reads the weights for 4 sequences.",
        ),
        Exercise(
            "gain-of-large-batches",
            Measured("times", ESTIMATED),
            _gain,
            "Twice, if a step took as long for 20 sequences as for 4: then the steps of one batch are saved. No "
            "gain, if each sequence took its own time. Notebook 3 measured which is nearer here.",
        ),
        Exercise(
            "gain-of-ranks",
            Measured("times", ESTIMATED),
            _gain,
            "As many times as there are ranks, if each has a device of its own. What do they share?",
        ),
        Exercise(
            "gain-of-int8",
            Measured("times", ESTIMATED),
            _gain,
            "A quarter of the bytes. Was reading them what took the time, in a batch of this size?",
        ),
        Exercise(
            "challenge",
            AsFastAsTheSweep(),
            _itself,
            "What did each step of this notebook bring for uneven work? Name engine, batch_size, split and order.",
        ),
    ),
}
"""By the notebook's name, in the order in which the exercises come."""
