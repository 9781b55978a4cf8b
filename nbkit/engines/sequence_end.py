"""Where a sequence ends: at an end-of-sequence token, at a stop string, or at its longest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from nbkit.engines.generation_rules import model_stop_strings
from nbkit.models import LoadedModel
from nbkit.records.settings import Settings

FinishReason = Literal["stop", "length"]

SPARE_TOKENS = 8
"""Tokens decoded before a stop string's own: a letter may be made of several tokens."""


class SequenceEnd:
    """Tells, token by token, whether a sequence has ended, and cuts its text there.

    Stop strings are the settings' and the model's own; the text keeps the model's, as in transformers.
    """

    def __init__(self, settings: Settings, loaded: LoadedModel) -> None:
        self._eos = frozenset(() if settings.ignore_eos else loaded.eos_token_ids)
        self._cut_before = settings.stop
        # ignore_eos asks for equally long texts, so that only the user's own strings end one then.
        self._stop = settings.stop + (() if settings.ignore_eos else model_stop_strings(loaded))
        self._most = settings.max_new_tokens
        self._tokenizer: Any = loaded.tokenizer
        # A token stands for at least one byte, so a stop string cannot begin further back.
        self._tail = max((len(text.encode()) for text in self._stop), default=0) + SPARE_TOKENS

    @property
    def has_strings(self) -> bool:
        """Whether strings, too, end a sequence."""
        return bool(self._stop)

    def reason(self, tokens: Sequence[int]) -> FinishReason | None:
        """Why a sequence ends with its last token; None if it goes on."""
        if tokens[-1] in self._eos or (self._stop and self._holds_stop(tokens)):
            return "stop"
        return "length" if len(tokens) >= self._most else None

    def cut(self, tokens: Sequence[int]) -> tuple[list[int], FinishReason]:
        """The tokens up to and with the first that ends the sequence, and why it ends there.

        What follows is padding that ``generate`` adds while other sequences go on.
        """
        for count, token in enumerate(tokens, start=1):
            if token in self._eos or (self._stop and self._holds_stop(tokens[:count])):
                return list(tokens[:count]), "stop"
        return list(tokens), "length"

    def text(self, texts: Sequence[str]) -> list[str]:
        """Decoded texts, each cut before the first of the settings' stop strings."""
        return [self._before_stop(text) for text in texts]

    def _holds_stop(self, tokens: Sequence[int]) -> bool:
        tail = self._tokenizer.decode(list(tokens[-self._tail :]), skip_special_tokens=True)
        return any(text in tail for text in self._stop)

    def _before_stop(self, text: str) -> str:
        begins = [begin for stop in self._cut_before if (begin := text.find(stop)) >= 0]
        return text[: min(begins)] if begins else text
