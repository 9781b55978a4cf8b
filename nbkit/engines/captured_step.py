"""Captured step: a decode step recorded as a CUDA graph and replayed.

A step of a 7-billion-parameter model launches thousands of kernels; one by one, the
processor needs longer for that than the GPU for the work. A graph is one launch. It is
bound to its shapes and addresses, so there is one for each bucket of sequences and
positions, captured when first needed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from nbkit.engines.joining import row_bucket as row_bucket

RUNS_BEFORE = 2
"""Runs before the capture, in which libraries choose kernels and take workspace."""

POSITION_BUCKET = 64
"""Half of it would save 2% of a step of 100 sequences, and take twice as many graphs of 0.06 s each (an H100)."""

Forward = Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]

Shape = tuple[int, int]
"""Rows and positions of a graph."""


class CapturedStep:
    """Replays ``forward`` from graphs.

    Parameters
    ----------
    forward : callable
        From tokens (n,), positions (n,) and length to logits (n, vocabulary).
    positions : int
        The cache's, which no bucket exceeds.
    """

    def __init__(self, forward: Forward, positions: int, device: torch.device) -> None:
        self._forward = forward
        self._positions = positions
        self._device = device
        self._graphs: dict[Shape, _Graph] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def shapes(self, count: int, most: int, first: int, last: int) -> list[Shape]:
        """Of steps of 1 to ``count`` of ``most`` sequences, at ``first`` to ``last`` positions; the largest first."""
        rows = {row_bucket(n, most) for n in range(1, count + 1)}
        lengths = {position_bucket(length, self._positions) for length in range(first, last + 1)}
        return [(n, length) for n in sorted(rows, reverse=True) for length in sorted(lengths)]

    def has(self, shape: Shape) -> bool:
        """Whether steps of a shape are captured."""
        return shape in self._graphs

    def __call__(
        self, tokens: torch.Tensor, positions: torch.Tensor, length: int, most: int
    ) -> tuple[torch.Tensor, float]:
        """Logits (n, vocabulary), and the seconds that went into capturing; ``most`` sequences there are at most."""
        n = len(tokens)
        bucket = (row_bucket(n, most), position_bucket(length, self._positions))
        capture_s = 0.0
        if bucket not in self._graphs:
            torch.cuda.synchronize(self._device)
            began_s = time.perf_counter()
            graph = _Graph(bucket[0], self._device)
            graph.fill(tokens, positions)
            graph.capture(self._forward, bucket[1], self._pool)
            self._graphs[bucket] = graph
            capture_s = time.perf_counter() - began_s
        graph = self._graphs[bucket]
        graph.fill(tokens, positions)
        return graph.replay()[:n], capture_s


class _Graph:
    """A captured step for a number of rows, of which some may have no sequence."""

    def __init__(self, rows: int, device: torch.device) -> None:
        self._device = device
        self._tokens = torch.zeros(rows, dtype=torch.long, device=device)
        self._at = torch.zeros(rows, dtype=torch.long, device=device)
        self._graph = torch.cuda.CUDAGraph()
        self._logits: torch.Tensor

    def fill(self, tokens: torch.Tensor, positions: torch.Tensor) -> None:
        """Set the input. Rows without a sequence write at position 0 of a free slot: a prompt overwrites it."""
        self._tokens[: len(tokens)] = tokens
        self._at.zero_()
        self._at[: len(positions)] = positions

    def capture(self, forward: Forward, length: int, pool: Any) -> None:
        """Record ``forward`` on the input that is set: the warm-up writes into the cache what the step will."""
        side = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(side):
            for _ in range(RUNS_BEFORE):
                forward(self._tokens, self._at, length)
        torch.cuda.current_stream(self._device).wait_stream(side)
        with torch.cuda.graph(self._graph, pool=pool):
            self._logits = forward(self._tokens, self._at, length)

    def replay(self) -> torch.Tensor:
        self._graph.replay()
        return self._logits


def position_bucket(length: int, most: int) -> int:
    """The next multiple of ``POSITION_BUCKET``, or of about an eighth of a long ``length``, at most ``most``."""
    step = max(POSITION_BUCKET, (1 << length.bit_length()) >> 4)
    return min(most, -(-length // step) * step)
