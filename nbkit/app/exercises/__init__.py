"""Exercises: what the notebooks ask of a learner, held against what was measured there."""

from nbkit.app.exercises.challenge import Challenge
from nbkit.app.exercises.lesson import Lesson, begin

__all__ = ["Challenge", "Lesson", "begin"]
