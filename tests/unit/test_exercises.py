from __future__ import annotations

import pytest

from nbkit.app.exercises import check
from nbkit.errors import InputError


def test_what_is_not_answered_gives_nothing_away(capsys):
    check(None, 42.0, "s", hint="Six times seven.")
    check(..., 42.0)
    said = capsys.readouterr().out
    assert "Not answered yet" in said
    assert "42" not in said and "Six" not in said


def test_an_answer_within_the_tolerance_is_right_and_learns_the_number(capsys):
    check(40, 42.0, "batches")
    assert capsys.readouterr().out == "Right: 40 batches (it is 42 batches).\n"
    check(42, 42.0)
    assert capsys.readouterr().out == "Right: 42.\n"


@pytest.mark.parametrize(("answer", "side"), [(30, "low"), (60.5, "high")])
def test_a_wrong_answer_learns_the_side_and_the_hint(capsys, answer, side):
    check(answer, 42.0, "s", hint="Six times seven.")
    assert capsys.readouterr().out == f"Not yet: {answer} s is too {side}. Six times seven.\n"


def test_an_exact_number_is_asked_for_with_no_tolerance(capsys):
    for answer, correct in ((2, 2), (2.01, 2), (0, 0.0)):
        check(answer, correct, within=0)
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["Right", "Not yet", "Right"]


@pytest.mark.parametrize("answer", ["42", True, [42]])
def test_what_is_no_number_is_named(answer):
    with pytest.raises(InputError, match="must be a number"):
        check(answer, 42.0)
