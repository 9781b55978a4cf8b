"""Hardware: what a simulated run cannot exceed, whatever a fit says: a rank's memory, its bandwidth, its arithmetic.

A step takes no less than its roofline (``nbkit.analysis.roofline``): the weights and the keys
and values of all its sequences are read, and its matrix products are made. What is decoded side by side
has to fit into memory: the weights, and the KV cache of every sequence up to its end.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from nbkit.analysis.batch_shapes import BatchShapes, Floats
from nbkit.measure.device_speed.speed import DeviceSpeed
from nbkit.models.memory import item_bytes
from nbkit.models.model_arithmetic import ModelShape


@dataclass(frozen=True, slots=True)
class Lines:
    """Seconds of decode steps that grow evenly: step j = 1, 2, ... takes ``at_0 + slope * j``; shape (batches,)."""

    at_0: Floats
    slope: Floats


@dataclass(frozen=True, slots=True)
class Hardware:
    """What bounds one rank.

    ``speeds`` are those known, each for as many ranks at once as it says; ``memory_bytes`` is what the ranks of a
    machine share, ``ranks_a_machine`` at most: those beyond are on further machines like it. None,
    or no speed, where it is not known.
    """

    name: str
    shape: ModelShape
    dtype: str
    speeds: tuple[DeviceSpeed, ...]
    memory_bytes: int | None
    ranks_a_machine: int = 1

    def speed(self, ranks: int) -> DeviceSpeed | None:
        """Of one rank where so many work: that of the most ranks at once, no more than a machine has; None: unknown.

        A rank is no faster beside others than with fewer, so that it is a limit for more ranks, too.
        """
        at_once = min(ranks, self.ranks_a_machine)
        known = [speed for speed in self.speeds if speed.ranks <= at_once]
        return max(known, key=lambda speed: speed.ranks, default=None)

    @property
    def weight_bytes(self) -> int:
        """Memory of the weights, the input embedding included; ranks of one machine may share them."""
        return self.shape.parameters * item_bytes(self.dtype)

    def memory_of(self, shapes: BatchShapes) -> Floats:
        """Bytes that weights and KV cache take at the end of each batch; shape (batches,)."""
        return self.weight_bytes + shapes.sequences * self._sequence_bytes(shapes)

    def most_sequences(self, shapes: BatchShapes, ranks: int) -> Floats:
        """How many sequences as long as those of each batch fit side by side; (batches,), infinite if not known."""
        if self.memory_bytes is None:
            return np.full_like(shapes.sequences, np.inf)
        room = max(0, self.memory_bytes - self.weight_bytes) / min(ranks, self.ranks_a_machine)
        return np.floor(room / self._sequence_bytes(shapes))

    def prefill_s(self, shapes: BatchShapes, ranks: int, with_head: bool = True) -> Floats:
        """Seconds at least of each batch's prefill; shape (batches,), 0 where the speed is not known.

        The formula is that of ``nbkit.analysis.roofline.prefill_limit``; without the output head where the
        first token comes from a decode step.
        """
        speed = self.speed(ranks)
        if speed is None:
            return np.zeros_like(shapes.sequences)
        tokens, per_token = shapes.positions, self.shape.flops_per_token(0)
        for_context = self.shape.flops_per_token(1) - per_token
        heads = shapes.sequences if with_head else 0.0
        not_needed = 2 * (tokens - heads) * self.shape.table_parameters
        flops = tokens * (per_token + for_context * (shapes.length + 1) / 2) - not_needed
        head_bytes = 0 if with_head else self.shape.table_parameters * item_bytes(self.dtype)
        moved = self.shape.weight_bytes(self.dtype) - head_bytes + tokens * self._position_bytes
        return np.maximum(moved / speed.bytes_per_s, flops / speed.flops_per_s)

    def step_lines(self, shapes: BatchShapes, ranks: int) -> list[Lines]:
        """Seconds at least of each decode step, by memory and by arithmetic; no line where the speed is not known.

        The formula is that of ``nbkit.analysis.roofline.decode_limit``, the context of step j being ``length + j``.
        """
        speed = self.speed(ranks)
        if speed is None:
            return []
        weights_s = self.shape.weight_bytes(self.dtype) / speed.bytes_per_s
        read_s = shapes.sequences * self._position_bytes / speed.bytes_per_s
        for_token = self.shape.flops_per_token(0)
        context_s = shapes.sequences * (self.shape.flops_per_token(1) - for_token) / speed.flops_per_s
        return [
            Lines(weights_s + read_s * shapes.length, read_s),
            Lines(shapes.sequences * for_token / speed.flops_per_s + context_s * shapes.length, context_s),
        ]

    @property
    def _position_bytes(self) -> int:
        return self.shape.kv_bytes_per_position(self.dtype)

    def _sequence_bytes(self, shapes: BatchShapes) -> Floats:
        """Of the cache at a sequence's end; what its last token would add is not kept."""
        return np.maximum(1.0, shapes.length + shapes.decode_steps) * self._position_bytes


def longest_of(lines: list[Lines], steps: Floats) -> Floats:
    """Seconds of all decode steps of each batch, of which each takes as long as the longest of these lines.

    Between the steps at which two lines cross one of them is the longest throughout, so
    that the longest of the sums over these steps is the sum of the longest.

    Parameters
    ----------
    lines : list of Lines
        At least one.
    steps : array, shape (batches,)
        Decode steps of each batch, 0 or more.
    """
    edges = [np.zeros_like(steps), steps]
    for one, other in itertools.combinations(lines, 2):
        slopes = other.slope - one.slope
        # Parallel lines never cross: any step will do for an edge. Nearly parallel ones cross beyond all numbers.
        with np.errstate(over="ignore"):
            crossing = np.divide(one.at_0 - other.at_0, slopes, out=np.zeros_like(steps), where=slopes != 0)
        edges.append(np.clip(np.floor(crossing), 0.0, steps))
    total = np.zeros_like(steps)
    for begin, end in itertools.pairwise(np.sort(np.stack(edges), axis=0)):
        count, sum_of_steps = end - begin, (end * (end + 1) - begin * (begin + 1)) / 2
        total += np.max([line.at_0 * count + line.slope * sum_of_steps for line in lines], axis=0)
    return total
