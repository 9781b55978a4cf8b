"""A lesson: the exercises of one notebook, what has been answered of them in this kernel, and the score."""

from __future__ import annotations

import functools
import inspect
import os

from nbkit.app.exercises.catalog import LESSONS
from nbkit.app.exercises.kinds import Exercise
from nbkit.errors import InputError, shorten

QUICK = "NBKIT_QUICK"
"""Set to 1 in the environment: notebooks take a tiny model and fewer tokens."""
QUICK_NOTE = (
    "Quick: NBKIT_QUICK is set, so this notebook takes a tiny random model and few tokens, for a shared machine. "
    "Its texts are nonsense, and its times are not those of a real model."
)


class Lesson:
    """The exercises of one notebook. Nothing is answered at first, and no cell shows an answer.

    Attributes
    ----------
    name : str
        The notebook's, such as ``"03_batches"``.
    exercises : tuple of str
        The names of its exercises.
    """

    def __init__(self, name: str) -> None:
        if name not in LESSONS:
            raise InputError(f"there is no lesson {shorten(name)}; there are {', '.join(LESSONS)}.")
        self.name = name
        self._exercises = {exercise.name: exercise for exercise in LESSONS[name]}
        self._is_right: dict[str, bool] = {}
        self._evidence: dict[str, tuple[object, ...]] = {}

    @property
    def exercises(self) -> tuple[str, ...]:
        return tuple(self._exercises)

    @property
    def quick(self) -> bool:
        """Whether ``NBKIT_QUICK`` asks for a tiny model and few tokens."""
        return is_quick()

    def check(self, name: str, answer: object, *measured: object) -> None:
        """Say whether an answer is right, and if not, how far off it is.

        Parameters
        ----------
        name : str
            The exercise.
        answer : object
            ``...`` (or ``None``) stands for 'not tried yet', and gives nothing away.
        *measured
            What the lesson measured for it, runs mostly. Left out: what was given the time before.

        Raises
        ------
        InputError
            There is no such exercise in this lesson.
        """
        exercise = self._exercise(name)
        if measured:
            self._evidence[name] = measured
        measured = self._evidence.get(name, ())
        if answer is None or answer is ...:
            print(f'Not tried yet: put your answer in the place of ... For a hint: lesson.hint("{name}")')
        elif inspect.signature(exercise.right).parameters and not measured:
            print("This exercise needs what was measured: run the cell in which it stands first.")
        else:
            self._judge(exercise, answer, measured)

    def hint(self, name: str) -> None:
        """Print a hint.

        Raises
        ------
        InputError
            There is no such exercise in this lesson.
        """
        print(self._exercise(name).hint)

    def score(self) -> None:
        """Print which exercises are right, which were tried, and which are left."""
        right = [name for name in self._exercises if self._is_right.get(name)]
        tried = [name for name in self._exercises if self._is_right.get(name) is False]
        left = [name for name in self._exercises if name not in self._is_right]
        print(f"{self.name}: {len(right)} of {len(self._exercises)} right")
        for words, names in (("right", right), ("tried, not right yet", tried), ("not tried yet", left)):
            if names:
                print(f"  {words}: {', '.join(names)}")

    def _exercise(self, name: str) -> Exercise:
        if name not in self._exercises:
            raise InputError(f"{self.name} has no exercise {shorten(name)}; it has {', '.join(self._exercises)}.")
        return self._exercises[name]

    def _judge(self, exercise: Exercise, answer: object, measured: tuple[object, ...]) -> None:
        verdict = exercise.kind.judge(answer, exercise.right(*measured))
        if verdict.is_right is not None:
            self._is_right[exercise.name] = verdict.is_right
        because = f" {exercise.because}" if verdict.is_right and exercise.because else ""
        print(verdict.said + because)


def begin(name: str) -> Lesson:
    """The lesson of a notebook, the same in a kernel however often this is called; says so where it is a quick one.

    Raises
    ------
    InputError
        There is no such lesson.
    """
    if is_quick():
        print(QUICK_NOTE)
    return _lesson(name)


def is_quick() -> bool:
    """Whether ``NBKIT_QUICK`` is set to anything but 0."""
    return os.environ.get(QUICK, "0") not in ("", "0")


@functools.cache
def _lesson(name: str) -> Lesson:
    return Lesson(name)
