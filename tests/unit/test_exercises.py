from __future__ import annotations

import math

import numpy
import pytest

from nbkit.app.exercises import Lesson, begin
from nbkit.app.exercises.catalog import LESSONS
from nbkit.app.exercises.kinds import EachRank, Exact, Measured
from nbkit.errors import InputError


@pytest.fixture
def lesson():
    return Lesson("04_scaling")


def said_of(kind, answer, right):
    return kind.judge(answer, right).said


def test_what_is_not_tried_gives_nothing_away_and_says_how_to_get_a_hint(capsys, lesson):
    lesson.check("batches-on-five", ...)
    lesson.check("batches-on-five", None)
    line = 'Not tried yet: put your answer in the place of ... For a hint: lesson.hint("batches-on-five")\n'
    assert capsys.readouterr().out == 2 * line

    lesson.hint("batches-on-five")
    assert capsys.readouterr().out == "A share is 20 prompts: 16 and ...?\n"


def test_a_number_to_be_counted_is_right_exactly_or_off_by_so_much():
    assert said_of(Exact("batches"), 2, 2) == "Right: 2 batches."
    assert said_of(Exact("batches"), 5, 2) == "Not yet: 5 batches is 3 too high."
    assert said_of(Exact("operations/byte"), 0.25, 0.5) == "Not yet: 0.25 operations/byte is 0.25 too low."
    assert not Exact("batches").judge(2.01, 2).is_right


def test_a_measured_number_tells_the_factor_and_the_side():
    kind = Measured("times")
    assert said_of(kind, 16, 10.0) == "Not yet: 16 times is off by a factor of 1.6, too high."
    assert said_of(kind, 8, [9.9, 10.0, 10.1]) == "Not yet: 8 times is off by a factor of 1.25, too low."
    assert said_of(kind, 1000, 10.0) == "Not yet: 1000 times is off by a factor of 100, too high."
    assert said_of(kind, 0, 10.0) == "Not yet: 0 times is 10 too low."
    assert said_of(kind, -3, 10.0) == "Not yet: -3 times is 13 too low."


def test_as_much_as_the_measurements_are_apart_is_right():
    noisy = [8.0, 10.0, 13.0]
    assert Measured("times").judge(14.9, noisy).is_right
    assert not Measured("times").judge(15.1, noisy).is_right
    steady = [9.9, 10.0, 10.1]
    assert Measured("times").judge(10.9, steady).is_right
    assert not Measured("times").judge(11.1, steady).is_right
    assert Measured("times", least=1.0).judge(19, steady).is_right
    said = said_of(Measured("times"), 9, noisy)
    assert said == "Right: 9 times (measured 10 times, 8 to 13 in 3 samples; up to 50% off is right)."


def test_nothing_measured_asks_for_nothing():
    assert Measured("%").judge(0, [0.0, 0.0, 0.0]).is_right
    assert not Measured("%").judge(5, [0.0, 0.0, 0.0]).is_right


def test_numpys_numbers_are_numbers():
    assert Exact("batches").judge(numpy.int64(2), 2).is_right
    assert Measured("times").judge(numpy.float32(10), 10.0).is_right


@pytest.mark.parametrize("kind", [Exact("batches"), Measured("batches")])
@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ("2", "'2' is text"),
        (True, "True is of type bool"),
        ([2], "[2] is of type list"),
        (math.nan, "nan is no finite number"),
        (10**400, "is no finite number"),
        (1j, "1j is of type complex"),
    ],
)
def test_what_is_no_number_gets_a_sentence(kind, answer, what):
    verdict = kind.judge(answer, 2)
    assert verdict.is_right is None
    assert what in verdict.said
    assert verdict.said.endswith("; the answer is a number (batches), such as 12 or 0.5.")


def test_a_value_of_each_rank():
    kind = EachRank()
    assert said_of(kind, [0, 10], [0, 10]) == "Right: [0, 10]."
    assert said_of(kind, [0], [0, 10]) == "Not yet: a list of 1, for 2 ranks."
    assert said_of(kind, [0, 1], [0, 10]) == "Not yet: 1 of 2 values are not right; rank 1 returned 1."
    assert said_of(kind, [None, numpy.zeros(2)], [0, 10]).startswith("Not yet: 2 of 2 values")
    for answer in (10, "0, 10"):
        assert kind.judge(answer, [0, 10]).is_right is None


def test_the_score_has_three_states_and_what_is_no_answer_is_in_none(capsys, lesson):
    lesson.check("batches-on-five", 2)
    lesson.check("batches-on-four", 3)
    lesson.check("fewest-gpus", "seven")
    capsys.readouterr()

    lesson.score()

    assert capsys.readouterr().out.splitlines() == [
        "04_scaling: 1 of 5 right",
        "  right: batches-on-five",
        "  tried, not right yet: batches-on-four",
        "  not tried yet: speed-up-of-two, gather-percent, fewest-gpus",
    ]


def test_what_was_measured_is_kept_for_the_next_answer(capsys):
    lesson = Lesson("01_hello_gather")
    lesson.check("gather-ms", 4)
    assert "run the cell in which it stands first" in capsys.readouterr().out
    lesson.check("gather-ms", ..., [1.0, 1.1, 1.2])
    lesson.check("gather-ms", 4)
    assert "Not yet: 4 ms is off by a factor of 3.6, too high." in capsys.readouterr().out


def test_a_lesson_keeps_its_score_when_its_first_cell_is_run_again(capsys):
    begin("04_scaling").check("fewest-gpus", 7)
    begin("04_scaling").score()
    assert "right: fewest-gpus" in capsys.readouterr().out


def test_names_that_are_not_there_are_told_with_those_that_are(lesson):
    with pytest.raises(InputError, match="there is no lesson '07'; there are 00_start_here, "):
        begin("07")
    for ask in (lesson.hint, lambda name: lesson.check(name, 1)):
        with pytest.raises(InputError, match="has no exercise 'gathers'; it has batches-on-five, "):
            ask("gathers")


def test_quick_is_said(capsys, monkeypatch):
    monkeypatch.delenv("NBKIT_QUICK", raising=False)
    assert not begin("04_scaling").quick
    monkeypatch.setenv("NBKIT_QUICK", "0")
    assert not begin("04_scaling").quick
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("NBKIT_QUICK", "1")
    assert begin("04_scaling").quick
    assert capsys.readouterr().out.startswith("Quick: NBKIT_QUICK is set")


@pytest.mark.parametrize("name", LESSONS)
def test_every_exercise_has_a_name_of_its_own_and_a_hint(name):
    names = [exercise.name for exercise in LESSONS[name]]
    assert len(set(names)) == len(names)
    assert all(exercise.hint for exercise in LESSONS[name])


def test_what_was_measured_itself_is_right_however_far_the_samples_are_apart():
    samples = [0.2, 1.0, 1.0]
    assert all(Measured("ms").judge(sample, samples).is_right for sample in samples)
    assert not Measured("ms").judge(0.19, samples).is_right
