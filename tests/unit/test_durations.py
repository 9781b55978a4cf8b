from __future__ import annotations

import pytest

from nbkit.app.durations import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0.0 ms"),
        (0.0025, "2.5 ms"),
        (12.34, "12.3 s"),
        (119.9, "119.9 s"),
        (320, "5 min 20 s"),
        (7199, "119 min 59 s"),
        (7500, "2 h 05 min"),
        (36_000_000, "10,000 h 00 min"),
    ],
)
def test_seconds_are_told_in_the_unit_that_suits_them(seconds, words):
    assert duration(seconds) == words
