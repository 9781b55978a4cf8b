"""Out of memory: telling such an error from others, and what it means for a batch."""

from __future__ import annotations

import contextlib
import ctypes
import gc

import torch


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
