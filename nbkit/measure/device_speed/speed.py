"""Speed: what one rank reads and computes a second at most: the form, and that of a known GPU."""

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


RTX_3090 = DeviceSpeed(
    name="GeForce RTX 3090",
    dtype="bfloat16",
    bytes_per_s=936e9,
    flops_per_s=71e12,
    source="NVIDIA Ampere GA102 GPU architecture whitepaper V2, Appendix A: 936 GB/s; 71 TFLOP/s, "
    "bfloat16 on tensor cores, dense, accumulated in float32",
)
