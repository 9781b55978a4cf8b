"""Joining: when prompts join the sequences under way, and which of them are read at once.

Numbers alone, without torch: the kit's own engine goes by them, and so does the what-if simulation.
"""

from __future__ import annotations

from collections.abc import Sequence

LIKE_LENGTH, LIKE_LENGTH_IN_SHAPES = 0.75, 0.5
"""Prompts join together that are at least this share of the longest one's length, so that little is padded.

The second is for where shapes cost: there a prefill more takes longer than padding."""

PREFILL_POSITIONS = 4096
"""The most positions of one prefill: what it needs beside the cache stays small."""

WIDTH_BUCKET = 16
"""Where new shapes cost, prompts are read in a multiple of so many positions."""

LEAST_ROWS = 2
"""One row is a case of its own to torch.compile, worth seconds."""

JOINING_SHARE = 8
"""Where a prefill holds up the sequences under way, prompts wait until this part of the places is free."""


def is_time_to_join(free: int, capacity: int, is_empty: bool, joins_cheaply: bool = False) -> bool:
    """Whether prompts join now, of which there is room for ``free``."""
    return free > 0 and (joins_cheaply or free * JOINING_SHARE >= capacity or is_empty)


def of_like_length(lengths: Sequence[int], captures: bool) -> int:
    """How many of prompts of these lengths, the longest first, are about as long as the first one."""
    least = (LIKE_LENGTH_IN_SHAPES if captures else LIKE_LENGTH) * lengths[0]
    return next((number for number, length in enumerate(lengths) if length < least), len(lengths))


def prefill_count(prompts: int, width: int, captures: bool, is_rounding: bool = False) -> int:
    """How many of so many prompts, in rows of ``width`` positions, are read at once: at least 1."""
    most = max(1, PREFILL_POSITIONS // width)
    if captures:
        return min(prompts, _power_of_two(most))
    # Of a round width, with which the product of both is round.
    return _power_of_two(min(prompts, most)) if is_rounding else min(prompts, most)


def prefill_width(length: int, captures: bool) -> int:
    """Positions in which prompts are read of which the longest has so many tokens: all but its last, at least 1."""
    # A prompt of one token, too, has a position written, over which that token goes: the cache is there then.
    width = max(1, length - 1)
    if not captures:
        return width
    step = max(WIDTH_BUCKET, (1 << width.bit_length()) >> 4)
    return -(-width // step) * step


def prefill_rows(count: int, captures: bool) -> int:
    """Rows in which so many prompts are read."""
    return row_bucket(count, PREFILL_POSITIONS) if captures else count


def row_bucket(rows: int, most: int) -> int:
    """2, 4, 8, then multiples of about a quarter, at most ``most``."""
    step = max(8, (1 << (rows - 1).bit_length()) >> 2)
    bucket = -(-rows // step) * step if rows > 8 else 1 << (rows - 1).bit_length()
    return min(most, max(LEAST_ROWS, bucket))


def _power_of_two(count: int) -> int:
    """The largest that is not above ``count``, which is at least 1."""
    return 1 << (count.bit_length() - 1)
