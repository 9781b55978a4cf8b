"""The token ids of prompts: each prompt is encoded once, however often it is generated for."""

from __future__ import annotations

import contextlib
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

from nbkit.errors import InputError
from nbkit.records.request import Conversation

MOST_KEPT = 50_000_000
"""Token ids, of 4 bytes each: a list of prompts for a night's work, and no more memory than that."""

Key = tuple[str | Conversation, str]


class PromptTokens:
    """A tokenizer that remembers: the next run with the same prompts finds them encoded."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        # The least recently used first.
        self._kept: OrderedDict[Key, array[int]] = OrderedDict()
        self._tokens = 0
        self._most_kept = MOST_KEPT

    @contextlib.contextmanager
    def keeping(self, most: int) -> Iterator[None]:
        """Remember no more than so many ids meanwhile: of prompts that do not come again."""
        self._most_kept = most
        try:
            yield
        finally:
            self._most_kept = MOST_KEPT

    def of(self, prompts: Sequence[str | Conversation], special_tokens: str = "auto") -> list[list[int]]:
        """The ids of each prompt; new texts are encoded in bulk.

        Parameters
        ----------
        prompts : sequence of str or Conversation
            A conversation becomes what the model's chat template makes of it, whose last
            message the model answers, or goes on with if it is the assistant's.
        special_tokens : {"auto", "add", "none"}
            Of texts: see ``Settings.special_tokens``.

        Raises
        ------
        InputError
            A conversation, and the model has no chat template, or one that refuses it.
        """
        keys = [(prompt, special_tokens) for prompt in prompts]
        found = {key: self._kept[key] for key in keys if key in self._kept}
        new = [key for key in dict.fromkeys(keys) if key not in found]
        found.update(zip(new, map(_packed, self._encoded(new, special_tokens)), strict=True))
        for key in dict.fromkeys(keys):
            self._keep(key, found[key])
        return [found[key].tolist() for key in keys]

    def lengths(self, prompts: Sequence[str | Conversation], special_tokens: str = "auto") -> list[int]:
        """The number of ids of each prompt; nothing is remembered of it. Raises as ``of``."""
        return [len(ids) for ids in self._encoded([(prompt, special_tokens) for prompt in prompts], special_tokens)]

    def _encoded(self, keys: Sequence[Key], special_tokens: str) -> list[list[int]]:
        texts = [prompt for prompt, _ in keys if isinstance(prompt, str)]
        of_texts = iter(encode_texts(self._tokenizer, texts, special_tokens) if texts else [])
        return [next(of_texts) if isinstance(prompt, str) else self._templated(prompt) for prompt, _ in keys]

    def _templated(self, conversation: Conversation) -> list[int]:
        if not getattr(self._tokenizer, "chat_template", None):
            raise InputError(
                "a prompt is a conversation, and this model's tokenizer has no chat template: give its text as a "
                "string, or take a model made for conversations."
            )
        goes_on = conversation.messages[-1].role == "assistant"
        try:
            ids: list[int] = self._tokenizer.apply_chat_template(
                conversation.to_list(),
                tokenize=True,
                return_dict=False,
                add_generation_prompt=not goes_on,
                continue_final_message=goes_on,
            )
        except Exception as error:  # whatever the template raises, of roles out of turn for instance
            raise InputError(f"the model's chat template refuses a conversation: {error}.") from None
        return ids

    def _keep(self, key: Key, ids: array[int]) -> None:
        """Note that a prompt was used last; the least recently used go where there are too many."""
        if key not in self._kept:
            self._kept[key] = ids
            self._tokens += len(ids)
        self._kept.move_to_end(key)
        while self._tokens > self._most_kept and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._tokens -= len(dropped)


def encode_texts(tokenizer: Any, texts: list[str], special_tokens: str) -> list[list[int]]:
    """The ids of texts, with the special tokens that the tokenizer adds; under ``auto`` no second BOS.

    A text that a chat template has made begins with the BOS token's own name already.
    """
    encoded: list[list[int]] = _ids(tokenizer, texts, add_special_tokens=special_tokens != "none")
    if special_tokens != "auto" or not getattr(tokenizer, "bos_token", None):
        return encoded
    doubled = [index for index, text in enumerate(texts) if text.startswith(tokenizer.bos_token)]
    doubled = [index for index in doubled if encoded[index][:2] == [tokenizer.bos_token_id] * 2]
    if doubled:
        single = _ids(tokenizer, [texts[index] for index in doubled], add_special_tokens=False)
        for index, ids in zip(doubled, single, strict=True):
            encoded[index] = ids
    return encoded


def _ids(tokenizer: Any, texts: list[str], add_special_tokens: bool) -> list[list[int]]:
    encoded = tokenizer(
        texts, add_special_tokens=add_special_tokens, return_attention_mask=False, return_token_type_ids=False
    )
    return encoded.input_ids  # type: ignore[no-any-return]


def _packed(ids: list[int]) -> array[int]:
    return array("i", ids)
