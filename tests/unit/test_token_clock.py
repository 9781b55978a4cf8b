"""The token clock: on a CPU by its watch, on a GPU by marks in the device's queue."""

from __future__ import annotations

import itertools
import time

import pytest
import torch

from nbkit.engines.token_clock import TokenClock


class Seconds:
    """The watch of a rank that began with it."""

    rank, device, cancelled = 0, "", False

    def __init__(self):
        self._began_s = time.perf_counter()

    @property
    def elapsed_s(self):
        return time.perf_counter() - self._began_s

    def report(self, tokens, streamed, under_way):
        """Nobody hears it."""


def test_on_a_cpu_a_step_is_there_when_it_was_asked_for():
    watch = Seconds()
    clock = TokenClock(watch, torch.device("cpu"))
    assert clock.first_s is None and clock.times_s() == []
    for _ in range(3):
        clock.tick()
    times = clock.times_s()
    assert len(times) == 3 and times == sorted(times) and clock.first_s == times[0] <= times[-1] <= watch.elapsed_s


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_steps_are_there_when_the_device_has_done_them():
    device, watch = torch.device("cuda", torch.cuda.current_device()), Seconds()
    clock = TokenClock(watch, device)
    square = torch.rand(2000, 2000, device=device)
    for _ in range(4):
        for _ in range(20):
            square = (square @ square).clamp(0, 1)
        clock.tick()
    square.cpu()
    done_s = watch.elapsed_s
    times = clock.times_s()
    assert len(times) == 4 and clock.first_s == times[0] and times[-1] <= done_s + 1e-3
    assert all(later > earlier for earlier, later in itertools.pairwise(times))
