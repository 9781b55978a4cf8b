"""Prompts: the article's ten first lines, and files of prompts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from nbkit.errors import InputError

FIRST_LINES = (
    "The King is dead. Long live the Queen.",
    "Once there were four children whose names were Peter, Susan, Edmund, and Lucy.",
    "The story so far: in the beginning, the universe was created.",
    "It was a bright cold day in April, and the clocks were striking thirteen.",
    "It is a truth universally acknowledged, that a single man in possession of a good fortune, "
    "must be in want of a wife.",
    "The sweat wis lashing oafay Sick Boy; he wis trembling.",
    "124 was spiteful. Full of Baby's venom.",
    "As Gregor Samsa awoke one morning from uneasy dreams he found himself transformed in his bed "
    "into a gigantic insect.",
    "I write this sitting in the kitchen sink.",
    "We were somewhere around Barstow on the edge of the desert when the drugs began to take hold.",
)
"""First lines of ten novels: the prompts of the article that the demos follow."""


def first_lines(n: int = 100) -> list[str]:
    """``n`` prompts: the ten first lines, repeated in order.

    Raises
    ------
    InputError
        ``n`` is not a whole number of at least 1.
    """
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise InputError(f"the number of prompts must be a whole number of at least 1, not {n!r}.")
    return [FIRST_LINES[i % len(FIRST_LINES)] for i in range(n)]


def check_prompts(prompts: Sequence[str]) -> list[str]:
    """The prompts as a list, if there is at least one and each is a non-empty string.

    Raises
    ------
    InputError
        Which prompt is wrong, with its value and the remedy.
    """
    if isinstance(prompts, str):
        raise InputError(f"prompts must be a list of strings, not one string; write [{_shorten(prompts)}].")
    try:
        listed = list(prompts)
    except TypeError:
        raise InputError(f"prompts must be a list of strings, not {type(prompts).__name__}.") from None
    if not listed:
        raise InputError("there are no prompts; give at least one, for example nbkit.first_lines(10).")
    for index, prompt in enumerate(listed):
        if not isinstance(prompt, str):
            raise InputError(f"prompt {index} is not a string but {type(prompt).__name__}: {_shorten(prompt)}.")
        if not prompt:
            raise InputError(f"prompt {index} is an empty string; remove it or give it text.")
        try:
            prompt.encode()
        except UnicodeEncodeError:
            raise InputError(
                f"prompt {index} holds characters that are no text (a lone surrogate): {_shorten(prompt)}; "
                "read its file as UTF-8."
            ) from None
    return listed


def read_prompts(path: str | Path) -> list[str]:
    """Read prompts from a file: ``.txt``, one a line; ``.jsonl``, one a line.

    A line of a ``.jsonl`` file is a JSON string, or an object with the key
    ``prompt``. Blank lines are skipped.

    Raises
    ------
    InputError
        The file cannot be read, has another ending, or a line is not a prompt.
    """
    path = Path(path)
    if path.suffix not in (".txt", ".jsonl"):
        raise InputError(f"{path}: a file of prompts ends in .txt or .jsonl, not {path.suffix or 'nothing'!r}.")
    try:
        # Not splitlines(): it also breaks at characters such as U+2028, which may
        # stand inside a JSON string.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from None
    except OSError as error:
        raise InputError(f"cannot read the prompts in {path}: {error.strerror or error}.") from None
    numbered = [(number, line.rstrip("\r")) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise InputError(f"{path} has no prompts; write one a line.")
    if path.suffix == ".txt":
        return [line for _, line in numbered]
    return [_prompt_in_json(path, number, line) for number, line in numbered]


def _prompt_in_json(path: Path, number: int, line: str) -> str:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:  # not JSON, a number too long, brackets too deep
        raise InputError(f"{path}, line {number}: not JSON ({error}): {_shorten(line)}.") from None
    prompt = value.get("prompt") if isinstance(value, dict) else value
    if not isinstance(prompt, str) or not prompt:
        raise InputError(
            f"{path}, line {number}: expected a string or an object with the key 'prompt', got {_shorten(line)}."
        )
    return prompt


def _shorten(value: object, length: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= length else text[: length - 3] + "..."
