"""Exercises: a number that a learner predicts, held against what came out."""

from __future__ import annotations

from nbkit.errors import InputError, shorten


def check(answer: object, correct: float, unit: str = "", within: float = 0.1, hint: str = "") -> None:
    """Say whether an answer is right, and if not, on which side it is wrong.

    Parameters
    ----------
    answer : number, or None or ``...``
        ``None`` and ``...`` stand for 'not answered yet' and give nothing away.
    correct : float
        What is right; often a measurement that was just made.
    unit : str
        What is counted, for the sentence.
    within : float
        How far off still is right, as a share of ``correct``: 0.1 for 10%. 0 asks for the
        exact number.
    hint : str
        Said where the answer is wrong.

    Raises
    ------
    InputError
        ``answer`` is not a number.
    """
    if answer is None or answer is ...:
        print("Not answered yet: put your number in the place of None and run the cell again.")
        return
    if not isinstance(answer, int | float) or isinstance(answer, bool):
        raise InputError(f"the answer must be a number, not {shorten(answer)}.")
    said = _in_words(answer, unit)
    if abs(answer - correct) <= within * abs(correct) + 1e-9:
        print(f"Right: {said}" + (f" (it is {_in_words(correct, unit)})." if answer != correct else "."))
    else:
        side = "low" if answer < correct else "high"
        print(f"Not yet: {said} is too {side}." + (f" {hint}" if hint else ""))


def _in_words(value: float, unit: str) -> str:
    return f"{value:.4g} {unit}".strip()
