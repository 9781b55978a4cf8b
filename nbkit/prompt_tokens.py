"""The token ids of prompts: each prompt is encoded once, however often it is generated for."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

MOST_KEPT = 50_000_000
"""Token ids, of 4 bytes each: a list of prompts for a night's work, and no more memory than that."""


class PromptTokens:
    """A tokenizer that remembers: the next run with the same prompts finds them encoded."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._kept: dict[str, array[int]] = {}
        self._tokens = 0

    def of(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, special ones that the tokenizer adds included; new texts are encoded in bulk."""
        new = [text for text in dict.fromkeys(texts) if text not in self._kept]
        if new:
            self._keep(new)
        return [self._kept[text].tolist() for text in texts]

    def _keep(self, texts: list[str]) -> None:
        encoded = self._tokenizer(texts, return_attention_mask=False, return_token_type_ids=False).input_ids
        if self._tokens > MOST_KEPT:
            self._kept.clear()
            self._tokens = 0
        self._tokens += sum(map(len, encoded))
        self._kept.update((text, array("i", ids)) for text, ids in zip(texts, encoded, strict=True))
