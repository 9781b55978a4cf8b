from __future__ import annotations

import torch

from nbkit.engines import memory
from nbkit.engines.memory import PeakMemory

MB = 1_000_000
CPU = torch.device("cpu")


def test_the_peak_is_that_since_the_reset_and_not_the_process_s():
    peak = PeakMemory(CPU)
    peak.reset()
    held = b"\1" * (150 * MB)
    first = peak.read()
    del held
    peak.reset()
    small = b"\1" * (10 * MB)
    assert first > 150 * MB
    assert peak.read() < first - 100 * MB
    assert len(small) == 10 * MB


def test_where_the_system_keeps_the_process_s_peak_it_is_told_only_if_it_rose(monkeypatch):
    """As on systems other than Linux."""
    before = PeakMemory(CPU)
    before.reset()
    monkeypatch.setattr(memory, "_reset_process_peak", lambda: False)
    held = b"\1" * (150 * MB)
    del held
    peak = PeakMemory(CPU)
    peak.reset()
    assert peak.read() == 0
    more = b"\1" * (300 * MB)
    assert peak.read() > len(more)
