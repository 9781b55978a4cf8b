"""Measurement: have ranks measure their devices at the same moment, unless the speed is known."""

from __future__ import annotations

import contextlib
import statistics
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from nbkit.errors import InputError, shorten
from nbkit.measure.device_speed import kept
from nbkit.measure.device_speed.on_rank import Kind, RankSetup, matmul_flops, rate_on_rank, setup_on_rank
from nbkit.measure.device_speed.speed import DeviceSpeed
from nbkit.models.memory import ITEM_BYTES

if TYPE_CHECKING:
    from nbkit.inference.workers import Workers
    from nbkit.runtime.pool import Ranks

WINDOW_S = 0.5
"""How long each kind of work is repeated."""
MATMUL_SIZES = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192)}


def measure(workers: Workers, dtype: str = "auto", ranks: int | None = None, refresh: bool = False) -> DeviceSpeed:
    """The speed of one rank while ``ranks`` ranks work at the same moment, a mean over them.

    It takes some seconds and is then kept in ``nbkit.measure.device_speed.cache_file()``.

    Parameters
    ----------
    workers : Workers
        Live workers; what else the machine does at the time makes it seem slower.
    dtype : {"auto", "float32", "bfloat16", "float16"}
        Of the matrix products.
    ranks : int, optional
        The first so many of the ranks measure, the others stay idle. Left out: all.
    refresh : bool
        Measure even if the speed is known.

    Raises
    ------
    InputError
        There is no such dtype, or there are not so many ranks.
    RankError, RankDied, WorkersError
        As for ``Workers.run``.

    Notes
    -----
    Memory: the better of a sum over a buffer and the product of a matrix with a vector,
    which is what decoding one sequence mostly is. Arithmetic: the best of products of
    square matrices of several sizes; on a CPU in float32 too, in which numbers of 16 bits may be
    multiplied faster and as exactly. Each is the best of groups of repeats.
    """
    if dtype not in ("auto", *ITEM_BYTES):
        raise InputError(f"dtype must be one of auto, {', '.join(ITEM_BYTES)}, not {shorten(dtype)}.")
    count = _check_ranks(ranks, workers.world_size)
    measuring = workers.on(*range(count))
    setups = measuring.run(setup_on_rank, dtype)
    key = _key(setups)
    known = None if refresh else kept.entries().get(key)
    if known is not None:
        return known
    speed = DeviceSpeed(
        name=setups[0].device_name,
        dtype=setups[0].dtype,
        bytes_per_s=max(_rate(measuring, kind, 0, setups[0].dtype) for kind in ("sum", "matvec")),
        flops_per_s=max(_matmul_rate(measuring, setups, each) for each in _arithmetics(setups)),
        source=_source(setups),
        ranks=count,
    )
    # What cannot be kept is measured again the next time, no more.
    with contextlib.suppress(InputError):
        kept.keep(key, speed)
    return speed


def _check_ranks(ranks: int | None, world_size: int) -> int:
    if ranks is None:
        return world_size
    if not isinstance(ranks, int) or isinstance(ranks, bool) or not 1 <= ranks <= world_size:
        raise InputError(
            f"ranks must be a whole number from 1 to {world_size}, the workers there are, not {shorten(ranks)}."
        )
    return ranks


def _arithmetics(setups: list[RankSetup]) -> list[str]:
    """The dtypes in which a product of numbers of the asked one may be computed."""
    own = setups[0].dtype
    return [own] if setups[0].device_type == "cuda" or own == "float32" else [own, "float32"]


def _matmul_rate(measuring: Ranks, setups: list[RankSetup], dtype: str) -> float:
    best = 0.0
    for size in MATMUL_SIZES[setups[0].device_type]:
        # Some processors take very long in a dtype they have no instructions for.
        if best and matmul_flops(size) / best > WINDOW_S:
            break
        best = max(best, _rate(measuring, "matmul", size, dtype))
    return best


def _rate(measuring: Ranks, kind: Kind, size: int, dtype: str) -> float:
    """Bytes or operations a second of one rank, a mean over those that measure."""
    rates: list[float] = measuring.run(rate_on_rank, kind, size, dtype, WINDOW_S)
    return statistics.mean(rates)


def _key(setups: list[RankSetup]) -> str:
    """All that the speed depends on, in words."""
    first = setups[0]
    devices = len({setup.device for setup in setups})
    names = " + ".join(sorted({setup.device_name for setup in setups} | {first.processor}))
    return (
        f"{names}; {first.threads} threads; {', '.join(_arithmetics(setups))}; "
        f"{len(setups)} ranks on {devices} devices; torch {first.torch_version}"
    )


def _source(setups: list[RankSetup]) -> str:
    threads = "" if setups[0].device_type == "cuda" else f", {setups[0].threads} thread(s) each"
    today = datetime.now(UTC).date().isoformat()
    return f"measured on {len(setups)} rank(s) at once{threads}, torch {setups[0].torch_version}, {today}"
