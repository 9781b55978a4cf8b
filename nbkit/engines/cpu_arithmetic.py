"""CPU arithmetic: from how many rows on a processor multiplies numbers of 16 bits faster in float32.

Products of such numbers are exact in float32, in which they are added up in either case: only
the order of the sums is another. Some processors' own instructions for them are slower than
theirs for float32, so that these win as soon as there is enough to compute; with few rows the
time goes into reading weights, which are half as large in 16 bits. Measured once, then kept.
"""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from nbkit.errors import InputError
from nbkit.files.atomic_write import write_atomically
from nbkit.files.cache import cache_folder
from nbkit.files.machine import processor_name
from nbkit.models.torch_private import emulates, pack_weight, packed_linear

NEVER = sys.maxsize

WIDE_FROM = 32
"""Rows from which on float32 is taken where it is the faster: with half as many it was 8% slower, with as many 15%
faster, on a Xeon with AVX-512 bfloat16. Where exactly they meet changes with what else reads memory."""

MEASURED_ROWS = 64
"""Enough to compute for a difference that other work on the machine does not hide."""

OUTPUTS, INPUTS, WEIGHTS = 2048, 1024, 8
"""Of the products that are measured: weights that are read in turns, more than a core's cache holds."""

REPEATS = 5

PACKED_FOR = 64
"""Rows that the layout is chosen for; other numbers of rows are computed with it just as well."""


@functools.cache
def float32_from(dtype: torch.dtype) -> int:
    """From how many rows on float32 is the faster arithmetic for products in a dtype; ``NEVER`` if it is not.

    Measuring takes about a third of a second. It may run beside other work, and a wrong result costs speed alone.
    """
    if dtype == torch.float32:
        return NEVER
    name = str(dtype).removeprefix("torch.")
    if emulates(name):
        return 1
    key = f"{processor_name()}; {torch.get_num_threads()} threads; {name}; torch {torch.__version__}"
    kept = _kept()
    if key not in kept:
        kept[key] = _is_faster_in_float32(dtype)
        # What cannot be kept is measured again by the next process, no more.
        with contextlib.suppress(InputError, OSError):
            write_atomically(_file(), json.dumps(kept, indent=1))
    return WIDE_FROM if kept[key] else NEVER


def _file() -> Path:
    return cache_folder() / "cpu_arithmetic.json"


def _kept() -> dict[str, bool]:
    """Whether float32 was faster, by all that it depends on; none of a file that is damaged."""
    try:
        data = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    entries = data.items() if isinstance(data, dict) else ()
    return {key: is_faster for key, is_faster in entries if isinstance(is_faster, bool)}


def _is_faster_in_float32(dtype: torch.dtype) -> bool:
    with torch.inference_mode():
        weights = [torch.full((OUTPUTS, INPUTS), 1 / INPUTS) for _ in range(WEIGHTS)]
        own = [pack_weight(weight.to(dtype), PACKED_FOR) for weight in weights]
        wide = [pack_weight(weight, PACKED_FOR) for weight in weights]
        x = torch.ones(MEASURED_ROWS, INPUTS, dtype=dtype)
        own_s, wide_s = _least_seconds(
            lambda: [packed_linear(x, packed, None) for packed in own],
            lambda: [packed_linear(x.float(), packed, None).to(dtype) for packed in wide],
        )
    return wide_s < own_s


def _least_seconds(*works: Callable[[], object]) -> list[float]:
    """The least time that each took, in turns."""
    seconds = [[_seconds(work) for work in works] for _ in range(1 + REPEATS)]
    return [min(own) for own in zip(*seconds[1:], strict=True)]


def _seconds(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s
