"""Memory as an engine sees it: the most that was held, and what it means when there is none left."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys
from pathlib import Path

import torch

from nbkit.files.machine import available_memory_bytes
from nbkit.models import LoadedModel

KEPT_SHARE = 0.5
"""Of a device's memory, divided among the ranks on it."""


class PeakMemory:
    """The most memory that was held since ``reset``, in bytes: on a GPU by torch, on a CPU by the process.

    On a CPU it is what the system calls the resident set, with the pages that processes share.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0

    def reset(self) -> None:
        """Begin anew."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif not _reset_process_peak():
            self._before = _process_peak_bytes()

    def read(self) -> int:
        """The peak in bytes; 0 if it is not known: the system keeps a process's peak, and it was higher before."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        peak = _process_peak_bytes()
        return peak if peak > self._before else 0


def _reset_process_peak() -> bool:
    """Let the process's peak be what it holds now; whether the system can (Linux, for one's own process)."""
    try:
        # 5: of all that this file clears, the peak of the resident set alone (proc_pid_clear_refs(5)).
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _process_peak_bytes() -> int:
    """The most the process has held, since its start or since its peak was reset."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in kilobytes, macOS in bytes.
    return peak if sys.platform == "darwin" else peak * 1024


def may_keep(needed_bytes: int, loaded: LoadedModel) -> bool:
    """Whether so much may stay there between runs: others share the device, and cannot ask for it."""
    device = loaded.device
    memory = torch.cuda.mem_get_info(device)[1] if device.type == "cuda" else available_memory_bytes()
    return needed_bytes <= KEPT_SHARE * memory / loaded.sharing


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or this process, has no memory left."""
    from accelerate.utils.memory import should_reduce_batch_size

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # oneDNN, which multiplies packed weights, has words of its own for it.
    return isinstance(error, Exception) and (should_reduce_batch_size(error) or "could not create a " in str(error))


def free_memory() -> None:
    """Give back what a failed batch held; call it outside the ``except``, whose traceback keeps tensors alive."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL(None).malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
