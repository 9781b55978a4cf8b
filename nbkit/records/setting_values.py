"""Setting values: what a field of ``Settings`` may be, read from a command line's text and checked."""

from __future__ import annotations

from dataclasses import dataclass

from nbkit.errors import InputError, is_text, shorten


@dataclass(frozen=True, slots=True)
class Name:
    """A text that is not empty; ``example`` is one to try."""

    example: str

    def checked(self, field: str, value: object) -> object:
        if not isinstance(value, str) or not value.strip():
            raise InputError(
                f"{field} must be a short name, a hub id or a folder, not {shorten(value)}; "
                f"try {field}={self.example!r}."
            )
        _check_is_text(field, value)
        return value

    def read(self, option: str, text: str) -> object:
        return text


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some names."""

    names: tuple[str, ...]

    def checked(self, field: str, value: object) -> object:
        if not isinstance(value, str) or value not in self.names:
            raise InputError(f"{field} must be one of {', '.join(self.names)}, not {shorten(value)}.")
        return value

    def read(self, option: str, text: str) -> object:
        return text


@dataclass(frozen=True, slots=True)
class Word:
    """What may stand in the place of a number, as people type it, as ``Settings`` has it, and what it means."""

    name: str
    value: str | None
    means: str


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from ``least`` to ``most``; ``slider_to`` is where a slider ends, without one it is typed.

    ``most`` is beyond all that makes sense, and keeps a slip of the finger from hours of work or all of the memory.
    """

    least: int
    most: int
    slider_to: int | None = None
    word: Word | None = None

    def checked(self, field: str, value: object) -> object:
        if self.word and value == self.word.value:
            return value
        # bool is an int in Python: batch_size=True would pass as 1.
        if not isinstance(value, int) or isinstance(value, bool):
            either = f" or {_quoted(self.word.value)}" if self.word else ""
            kind = type(value).__name__
            raise InputError(
                f"{field} must be a whole number of at least {self.least}{either}, not {shorten(value)} ({kind})."
            )
        if value < self.least:
            raise InputError(f"{field} must be at least {self.least}, not {shorten(value)}.")
        if value > self.most:
            raise InputError(f"{field} must be at most {self.most:,}, not {shorten(value)}.")
        return value

    def read(self, option: str, text: str) -> object:
        if self.word and text == self.word.name:
            return self.word.value
        try:
            return int(text)
        except ValueError:
            either = f"{self.word.name} or " if self.word else ""
            raise InputError(
                f"{option} takes {either}a whole number of at least {self.least}, not {shorten(text)}."
            ) from None


@dataclass(frozen=True, slots=True)
class Number:
    """A number from ``low`` to ``high``, without ``low`` itself if ``is_open``; ``slider`` is a slider's ends."""

    low: float
    high: float
    slider: tuple[float, float]
    is_open: bool = False

    def checked(self, field: str, value: object) -> object:
        if not (isinstance(value, int | float) and not isinstance(value, bool) and self._holds(value)):
            low, high = f"{self.low:g}", f"{self.high:g}"
            bounds = f"above {low} and at most {high}" if self.is_open else f"{low} to {high}"
            raise InputError(f"{field} must be a number, {bounds}, not {shorten(value)}.")
        return value

    def _holds(self, value: float) -> bool:
        return self.low <= value <= self.high and not (self.is_open and value == self.low)

    def read(self, option: str, text: str) -> object:
        try:
            return float(text)
        except ValueError:
            raise InputError(f"{option} takes a number, not {shorten(text)}.") from None


@dataclass(frozen=True, slots=True)
class Flag:
    """Yes or no."""

    def checked(self, field: str, value: object) -> object:
        if not isinstance(value, bool):
            raise InputError(f"{field} must be True or False, not {shorten(value)}.")
        return value

    def read(self, option: str, text: str) -> object:
        if text not in ("yes", "no"):
            raise InputError(f"{option} takes yes or no, not {shorten(text)}.")
        return text == "yes"


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts that are not empty, as many as one likes."""

    def checked(self, field: str, value: object) -> object:
        if isinstance(value, str):
            raise InputError(f"{field} must be a list of strings, not one string; write {field}=[{shorten(value)}].")
        if not isinstance(value, list | tuple) or not all(isinstance(text, str) and text for text in value):
            raise InputError(f"{field} must be a list of strings that are not empty, not {shorten(value)}.")
        for text in value:
            _check_is_text(field, text)
        return tuple(value)

    def read(self, option: str, text: str) -> object:
        return (text,)


Values = Name | Choice | Whole | Number | Flag | Texts
"""What a field may be: ``checked`` gives the value or an InputError, ``read`` what a command line's text means."""


def _check_is_text(field: str, value: str) -> None:
    if not is_text(value):
        raise InputError(f"{field} holds characters that are no text (a lone surrogate): {shorten(value)}.")


def _quoted(value: str | None) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
