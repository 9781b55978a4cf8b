from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest

from nbkit.app.exercises import Challenge, Lesson
from nbkit.app.exercises.challenge import ROUNDS, SWEEP, AsFastAsTheSweep
from nbkit.errors import InputError, MissingExtra
from nbkit.records.settings import ARTICLE, Settings


class Target:
    """Stands for a machine whose speed is known: tokens per second by engine and order."""

    def __init__(self, noise=(1.0,)):
        self.asked: list[Settings] = []
        self._noise = itertools.cycle(noise)

    def generate(self, prompts, settings=None):
        if settings.engine == "vllm":
            raise MissingExtra("vllm", "vllm")
        self.asked.append(settings)
        speed = {"simple": 10, "batched": 100, "compiled": 250}[settings.engine]
        return SimpleNamespace(tokens_per_second=speed * (settings.order == "by_length" or 0.5) * next(self._noise))


def challenge_on(target):
    return Challenge(target, ["a", "b c d"], Settings(model="tiny-random", max_new_tokens=4))


def verdict(answer, target=None):
    return AsFastAsTheSweep().judge(answer, challenge_on(target or Target()))


def test_the_fastest_of_the_sweep_is_right():
    best = {"engine": "compiled", "batch_size": "auto", "split": "dynamic", "order": "by_length"}
    judged = verdict(best)
    assert judged.is_right
    assert judged.said == (
        "Right: 250 useful tokens/s, 5.00 times the article's, and 1.00 times the fastest of a sweep of 4 settings: "
        "engine compiled, batch_size auto, split dynamic, order by_length (15% slower is still right)."
    )


def test_slower_settings_are_told_by_how_much_and_give_the_fastest_not_away():
    judged = verdict({"order": "by_length"})
    assert judged.is_right is False
    assert judged.said == (
        "Not yet: 100 useful tokens/s, 2.00 times the article's, and 0.40 times the fastest of a sweep of 4 settings."
    )


def test_as_much_as_the_measurements_are_apart_is_right():
    answer = {"engine": "compiled", "order": "by_length"}
    # The answer's first run, twelve of the sweep, and then the fastest and the answer in turn.
    steady = [0.8] + [1.0] * 12 + [1.0, 0.8] * 2 + [1.0]
    noisy = [0.8] + [1.0] * 12 + [1.0, 0.6, 1.0, 1.1, 1.0]
    assert verdict(answer, Target(steady)).is_right is False
    assert verdict(answer, Target(noisy)).is_right is True


def test_what_is_not_named_stays_the_articles():
    target = Target()
    challenge_on(target).measure({"order": "by_length"})
    assert target.asked[0] == Settings(
        **ARTICLE | {"order": "by_length"},
        model="tiny-random",
        max_new_tokens=4,
    )


def test_the_sweep_begins_with_the_article_and_runs_once():
    assert SWEEP[0] == ARTICLE
    target = Target()
    challenge = challenge_on(target)
    assert target.asked == []
    challenge.measure({})
    first = len(target.asked)
    assert first == ROUNDS * (len(SWEEP) + 2)
    challenge.measure({})
    assert len(target.asked) - first == 2 * ROUNDS


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (1e9, "1000000000.0 is of type float; the answer is a dict of settings"),
        ({"max_new_tokens": 1}, "'max_new_tokens' is not free to choose here; engine, batch_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"engine": "vllm"}, "vllm"),
    ],
)
def test_what_is_no_answer_gets_a_sentence(answer, said):
    target = Target()
    judged = verdict(answer, target)
    assert judged.is_right is None
    assert said in judged.said
    assert target.asked == []


def test_settings_that_are_not_free_are_refused():
    with pytest.raises(InputError, match="'quantization' is not free to choose here"):
        challenge_on(Target()).settings({"quantization": "int4"})


def test_not_tried_measures_nothing(capsys):
    target = Target()
    Lesson("06_faster").check("challenge", ..., challenge_on(target))
    assert "Not tried yet" in capsys.readouterr().out
    assert target.asked == []
