"""Speed: what one rank reads and computes a second at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeviceSpeed:
    """What one rank reads (bytes/s) and computes (floating-point operations/s) at most, in a dtype.

    It holds while ``ranks`` ranks work at the same moment. ``source`` says where the numbers are from.
    """

    name: str
    dtype: str
    bytes_per_s: float
    flops_per_s: float
    source: str
    ranks: int = 1
