"""On rank: what a rank does to measure its device. Sent to the ranks by reference; torch is imported there alone."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from nbkit.models import resolve_dtype

if TYPE_CHECKING:
    import torch

GROUPS = 5
"""Repeats are timed in about so many groups: over less time, a rank may by chance have more than its part."""
BUFFER_BYTES = {"cpu": 512 << 20, "cuda": 2 << 30}
"""Much larger than any cache."""
ROW = 4096

Kind = Literal["sum", "matvec", "matmul"]


@dataclass(frozen=True, slots=True)
class RankSetup:
    """On what a rank measures: its device and what its speed depends on."""

    device: str
    device_type: str
    device_name: str
    processor: str
    threads: int
    dtype: str
    torch_version: str


def setup_on_rank(dtype: str) -> RankSetup:
    """On every rank: its device, and what ``auto`` is on it."""
    import torch
    from accelerate import Accelerator

    from nbkit.files.machine import processor_name

    device = Accelerator().device
    return RankSetup(
        device=str(device),
        device_type=device.type,
        device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name(),
        processor=processor_name(),
        threads=torch.get_num_threads(),
        dtype=resolve_dtype(dtype, device),
        torch_version=torch.__version__,
    )


def rate_on_rank(kind: Kind, size: int, dtype: str, window_s: float) -> float:
    """On every rank that measures: bytes or operations a second over about ``window_s``."""
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator()
    with torch.inference_mode():
        work, amount = _prepare(kind, size, getattr(torch, dtype), accelerator.device, accelerator.num_processes)
        timed = _timer(work, accelerator.device)
        timed(1)  # the first call prepares what later ones use
        repeats = max(1, math.ceil(window_s / GROUPS / timed(1)))
        accelerator.wait_for_everyone()
        rate: float = amount * repeats / _least_seconds(timed, repeats, window_s)
    del work, timed
    if accelerator.device.type == "cuda":
        torch.cuda.empty_cache()
    return rate


def _prepare(
    kind: Kind, size: int, dtype: torch.dtype, device: torch.device, ranks: int
) -> tuple[Callable[[], object], int]:
    """The work to repeat, and how many bytes it reads or operations it does."""
    import torch
    from torch.nn.functional import linear

    from nbkit.models.memory import free_bytes

    # linear, as in models: on some processors a plain product is many times slower in half precision.
    if kind == "matmul":
        matrix = torch.randn(size, size, device=device, generator=torch.Generator(device)).to(dtype)
        return (lambda: linear(matrix, matrix)), matmul_flops(size)
    buffer_bytes = min(BUFFER_BYTES[device.type], free_bytes(device) // (4 * ranks))
    element = torch.float32 if kind == "sum" else dtype
    rows = torch.ones(max(1, buffer_bytes // (ROW * element.itemsize)), ROW, dtype=element, device=device)
    if kind == "sum":
        return rows.sum, rows.nbytes
    vector = torch.ones(1, ROW, dtype=element, device=device)
    return (lambda: linear(vector, rows)), rows.nbytes


def _timer(work: Callable[[], object], device: torch.device) -> Callable[[int], float]:
    """A function that repeats the work and says how many seconds that took, until the device was done."""
    import torch

    def timed(repeats: int) -> float:
        began = time.perf_counter()
        for _ in range(repeats):
            work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    return timed


def _least_seconds(timed: Callable[[int], float], repeats: int, window_s: float) -> float:
    """The least seconds of a group in the window.

    The last group goes over the window's end, when other ranks may be done already: it
    counts only if there is no other.
    """
    end = time.perf_counter() + window_s
    seconds: list[float] = []
    while time.perf_counter() < end:
        seconds.append(timed(repeats))
    return min(seconds[:-1] or seconds)


def matmul_flops(size: int) -> int:
    """Operations of the product of two square matrices: a multiplication and an addition for each term."""
    return 2 * size**3
