"""Roofline: how fast a model can decode at most, from its shape and what a device reads and computes a second.

A step must read the weights and the cached keys and values, and must do the matrix
products; whichever takes longer is the least time it can take. Pure: no device is asked.

Source: Williams, Waterman, Patterson, 'Roofline: an insightful visual performance model
for multicore architectures', CACM 52(4), 2009.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from nbkit.errors import InputError
from nbkit.measure.device_speed.speed import RTX_3090 as RTX_3090
from nbkit.measure.device_speed.speed import DeviceSpeed
from nbkit.models.model_arithmetic import ModelShape
from nbkit.records import BatchRecord
from nbkit.records.run import Run


@dataclass(frozen=True, slots=True)
class Limit:
    """The least time that some work can take on one rank, and what bounds it.

    ``tokens`` positions are computed with ``bytes_moved`` bytes and ``flops`` operations;
    ``memory_s`` and ``arithmetic_s`` are the seconds that each takes at least.
    """

    tokens: float
    bytes_moved: float
    flops: float
    memory_s: float
    arithmetic_s: float

    @property
    def seconds(self) -> float:
        """Seconds at least: memory and arithmetic can overlap, so the longer of the two."""
        return max(self.memory_s, self.arithmetic_s)

    @property
    def tokens_per_second(self) -> float:
        """Tokens (of a prefill: prompt positions) per second at most."""
        return self.tokens / self.seconds

    @property
    def bound(self) -> Literal["memory", "arithmetic"]:
        """What takes longer."""
        return "memory" if self.memory_s >= self.arithmetic_s else "arithmetic"

    @property
    def intensity(self) -> float:
        """Arithmetic intensity in operations per byte."""
        return self.flops / self.bytes_moved


def decode_limit(shape: ModelShape, speed: DeviceSpeed, dtype: str, batch_size: float, context: float) -> Limit:
    """The limit of one decode step: a new token for each of ``batch_size`` sequences.

    Parameters
    ----------
    dtype : str
        Of weights and cache; that of the arithmetic is the speed's.
    batch_size : float
        Sequences a step, above 0; a mean need not be whole.
    context : float
        Positions that a token attends to, a mean over sequences; padding counts, for it is read too.

    Raises
    ------
    InputError
        A value cannot be used.
    """
    _check_work(batch_size, context)
    moved = shape.weight_bytes(dtype) + batch_size * context * shape.kv_bytes_per_position(dtype)
    return _limit(speed, batch_size, moved, batch_size * shape.flops_per_token(context))


def prefill_limit(shape: ModelShape, speed: DeviceSpeed, dtype: str, batch_size: float, positions: float) -> Limit:
    """The limit of the prefill of ``batch_size`` prompts of ``positions`` tokens each, padding included.

    Weights are read and the cache is written once. Each position attends to those up to
    itself, (positions + 1) / 2 on average; the output head is needed for the last one only.

    Raises
    ------
    InputError
        A value cannot be used.
    """
    _check_work(batch_size, positions)
    tokens = batch_size * positions
    moved = shape.weight_bytes(dtype) + tokens * shape.kv_bytes_per_position(dtype)
    not_needed = 2 * (tokens - batch_size) * shape.table_parameters
    return _limit(speed, tokens, moved, tokens * shape.flops_per_token((positions + 1) / 2) - not_needed)


def ridge_batch_size(shape: ModelShape, speed: DeviceSpeed, dtype: str, context: float) -> float:
    """The batch size from which arithmetic bounds decoding; infinite where the cache keeps memory the bound.

    Where both take equally long: (weights + b context kv) / bytes_per_s = b flops / flops_per_s.
    """
    flops_s = shape.flops_per_token(context) / speed.flops_per_s
    cache_s = context * shape.kv_bytes_per_position(dtype) / speed.bytes_per_s
    return shape.weight_bytes(dtype) / speed.bytes_per_s / (flops_s - cache_s) if flops_s > cache_s else math.inf


@dataclass(frozen=True, slots=True)
class RunAgainstLimit:
    """A run's decoding beside its limit, all ranks that decoded together.

    ``tokens_per_second`` counts tokens that the devices computed, those after a
    sequence's end included, which no user gets; each sequence's first token comes from
    the prefill and is not counted. Each rank's tokens are divided by the seconds it
    decoded; the ranks' rates are added, and so are the limits of each rank's own batches
    in ``limit_tokens_per_second``. ``batch_size`` (a mean over steps) and ``context``
    (positions that a token attends to, a mean over tokens) are the whole run's, and
    ``limit`` is what they allow one rank: it tells what bounds the run.
    """

    ranks: int
    dtype: str
    batch_size: float
    context: float
    limit: Limit
    tokens_per_second: float
    limit_tokens_per_second: float

    @property
    def fraction(self) -> float:
        """Share of the limit that was reached; above 1 only if the speed given is too low.

        It is so where a model is small enough to be read from a cache instead of memory.
        """
        return self.tokens_per_second / self.limit_tokens_per_second


def of_run(run: Run, shape: ModelShape, speed: DeviceSpeed) -> RunAgainstLimit:
    """Hold a run's decoding against its limit.

    Batches of one step have no decoding and are left out, and so are ranks that have no
    other: what idle ranks lose is no matter of the device.

    Parameters
    ----------
    speed : DeviceSpeed
        Of one rank, while all the run's ranks work, in the run's dtype.

    Raises
    ------
    InputError
        No batch has a step after its first, or the speed is that of another dtype.

    Notes
    -----
    Each rank's limit is taken at the means of its batches. That is no lower than with
    each step's own: bytes and operations are linear in batch size and context, and the
    longer of two means is no longer than the mean of the longer ones.
    """
    dtype = _dtype(run, speed)
    if dtype != speed.dtype:
        raise InputError(f"the run computed in {dtype} and the speed is of {speed.dtype}: measure it in {dtype}.")
    decoded = [batch for batch in run.batches if batch.steps > 1 and batch.decode_s > 0]
    if not decoded:
        raise InputError("no batch of this run has a step after its first: there is no decoding to hold to a limit.")
    by_rank = [[b for b in decoded if b.rank == rank] for rank in sorted({b.rank for b in decoded})]
    batch_size, context = _means(decoded)
    return RunAgainstLimit(
        ranks=len(by_rank),
        dtype=dtype,
        batch_size=batch_size,
        context=context,
        limit=decode_limit(shape, speed, dtype, batch_size, context),
        tokens_per_second=sum(sum(map(_decoded_tokens, own)) / sum(b.decode_s for b in own) for own in by_rank),
        limit_tokens_per_second=sum(
            decode_limit(shape, speed, dtype, *_means(own)).tokens_per_second for own in by_rank
        ),
    )


def _means(batches: Sequence[BatchRecord]) -> tuple[float, float]:
    """Sequences a step, and positions that a token attends to."""
    tokens = sum(map(_decoded_tokens, batches))
    context = sum(_decoded_tokens(batch) * _mean_context(batch) for batch in batches) / tokens
    return tokens / sum(batch.steps - 1 for batch in batches), context


def _decoded_tokens(batch: BatchRecord) -> int:
    """Tokens computed after each sequence's first."""
    return batch.computed_tokens - len(batch.indices)


def _mean_context(batch: BatchRecord) -> float:
    """Positions that a decoded token attends to: prompt + 1 in the second step to prompt + steps - 1 in the last."""
    return (batch.prompt_tokens + batch.padding_tokens + batch.computed_tokens / 2) / len(batch.indices)


def _dtype(run: Run, speed: DeviceSpeed) -> str:
    """The run's dtype; that of the speed where a run stopped early does not tell what ``auto`` became."""
    return speed.dtype if run.dtype == "auto" else run.dtype


def _limit(speed: DeviceSpeed, tokens: float, bytes_moved: float, flops: float) -> Limit:
    return Limit(tokens, bytes_moved, flops, bytes_moved / speed.bytes_per_s, flops / speed.flops_per_s)


def _check_work(batch_size: float, positions: float) -> None:
    for what, value in (("batch_size", batch_size), ("the number of positions", positions)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{what} must be above 0, not {value}.")
