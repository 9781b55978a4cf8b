"""What was taken of a file of prompts, in a sentence for its reader."""

from __future__ import annotations

from nbkit.errors import shorten
from nbkit.prompts.files.choice import MOST_LISTED, Choice
from nbkit.prompts.files.forms import MESSAGES, REQUEST_BODIES, TEXT, TURNS, Taken

ROW_OF = {"column": "row", "key": "object"}


def in_words(noun: str, choice: Choice, taken: Taken) -> str:
    """What of a file's columns, or keys, the prompts are, and what of them is not used."""
    name = shorten(choice.name)
    phrases = {
        TEXT: f"the {noun} {name}",
        MESSAGES: f"the messages under {name}",
        TURNS: f"the first of each {ROW_OF[noun]}'s {name}",
    }
    found = [phrases.get(form) or _requests(form, number) for form, number in taken.forms.items()]
    return _joined(found or [phrases[TEXT]], taken, choice.left)


def in_words_without_key(taken: Taken) -> str:
    """As ``in_words``, of values that stand in the file under no key."""
    phrases = {TEXT: "each string", MESSAGES: "each list of messages"}
    return _joined([phrases[form] for form in taken.forms], taken, ())


def goes_without_saying(choice: Choice, taken: Taken) -> bool:
    """Whether nobody could have expected anything else."""
    is_partial = bool(taken.asides() or taken.unused)
    return choice.is_plain and not is_partial and not any(form.startswith(REQUEST_BODIES) for form in taken.forms)


def _requests(form: str, number: int) -> str:
    return f"{form} of {'1 batch request' if number == 1 else f'{number:,} batch requests'}"


def _joined(found: list[str], taken: Taken, left: tuple[str, ...]) -> str:
    said = [" and ".join(found), *taken.asides()]
    unused = list(dict.fromkeys(key for key in (*left, *taken.unused) if key not in taken.systems))
    if unused:
        more = len(unused) - MOST_LISTED
        listed = ", ".join(map(shorten, unused[:MOST_LISTED])) + (f" and {more:,} more" if more > 0 else "")
        said.append(f"not used: {listed}")
    return "; ".join(said)
