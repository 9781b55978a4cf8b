"""The most memory a device held: asked the same way of a GPU and of a CPU process."""

from __future__ import annotations

import resource
import sys

import torch


class PeakMemory:
    """Peak memory in bytes: on a GPU what torch allocated since ``reset``; on a CPU the process's peak so far."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def reset(self) -> None:
        """Begin anew; a CPU process's peak cannot be reset."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)

    def read(self) -> int:
        """The peak in bytes."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # Linux counts in kilobytes, macOS in bytes.
        return peak if sys.platform == "darwin" else peak * 1024
