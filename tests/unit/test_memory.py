from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator

import torch

from nbkit.engines import memory
from nbkit.engines.memory import PeakMemory

MB = 1_000_000
CPU = torch.device("cpu")


@contextlib.contextmanager
def held(size: int) -> Iterator[None]:
    """Memory of the system's own, written to: what the C library gives may have been resident, and may stay so."""
    with mmap.mmap(-1, size) as pages:
        for offset in range(0, size, mmap.PAGESIZE):
            pages[offset] = 1
        yield


def test_the_peak_is_that_since_the_reset_and_not_the_process_s():
    peak = PeakMemory(CPU)
    peak.reset()
    with held(150 * MB):
        first = peak.read()
    peak.reset()
    with held(10 * MB):
        assert first > 150 * MB
        assert peak.read() < first - 100 * MB


def test_where_the_system_keeps_the_process_s_peak_it_is_told_only_if_it_rose(monkeypatch):
    """As on systems other than Linux."""
    before = PeakMemory(CPU)
    before.reset()
    monkeypatch.setattr(memory, "_reset_process_peak", lambda: False)
    with held(150 * MB):
        pass
    peak = PeakMemory(CPU)
    peak.reset()
    assert peak.read() == 0
    with held(300 * MB):
        assert peak.read() > 300 * MB
