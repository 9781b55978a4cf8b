"""Request: a prompt, or a conversation, as users give it, and what it must be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nbkit.errors import InputError, is_text, shorten, shorten_all


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation: who says it (``system``, ``user``, ``assistant``, ...) and what."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A prompt that is a list of messages: the model's chat template makes token ids of it.

    ``text in conversation`` tells whether a message holds ``text``; ``str(conversation)`` is it
    as a person reads it, a line a message, which no model is given.
    """

    messages: tuple[Message, ...]

    @classmethod
    def of(cls, messages: Iterable[Mapping[str, Any]]) -> Conversation:
        """From dicts with the keys ``role`` and ``content``, both text, as chat interfaces take them.

        Raises
        ------
        InputError
            There is no message, or which one is not such a dict, or holds more than text.
        """
        listed = list(messages)
        if not listed:
            raise InputError("a conversation needs at least one message.")
        return cls(tuple(_message(index, message) for index, message in enumerate(listed)))

    def to_list(self) -> list[dict[str, str]]:
        """As ``of`` takes it."""
        return [{"role": message.role, "content": message.content} for message in self.messages]

    def __contains__(self, text: str) -> bool:
        return any(text in message.content for message in self.messages)

    def __str__(self) -> str:
        return "\n".join(f"{message.role}: {message.content}" for message in self.messages)


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt and its index in the user's list."""

    index: int
    prompt: str | Conversation


PromptLike = str | Conversation | Sequence[Mapping[str, Any]]
"""What a user may give as a prompt: a text, or messages as ``Conversation.of`` takes them."""


def _message(index: int, message: object) -> Message:
    wanted = 'write {"role": "user", "content": "..."}'
    if not isinstance(message, Mapping):
        raise InputError(f"message {index} is not a dict but {type(message).__name__}: {shorten(message)}; {wanted}.")
    for key in ("role", "content"):
        if not isinstance(message.get(key), str):
            raise InputError(f"message {index} has no text under {shorten(key)}: {shorten(dict(message))}; {wanted}.")
    if others := set(message) - {"role", "content"}:
        raise InputError(
            f"message {index} has {shorten_all(sorted(map(str, others)))} beside 'role' and 'content'; "
            "nbkit gives a model messages of text only."
        )
    return Message(message["role"], message["content"])


def check_prompts(prompts: Sequence[PromptLike]) -> list[str | Conversation]:
    """The prompts as a list, if there is at least one and each is a non-empty string or a list of messages.

    Raises
    ------
    InputError
        Which prompt is wrong, with its value and the remedy.
    """
    if isinstance(prompts, str | Conversation):
        raise InputError(f"prompts must be a list of strings, not one string; write [{shorten(prompts)}].")
    try:
        listed = list(prompts)
    except TypeError:
        raise InputError(f"prompts must be a list of strings, not {type(prompts).__name__}.") from None
    if not listed:
        raise InputError("there are no prompts; give at least one, for example nbkit.first_lines(10).")
    if isinstance(listed[0], Mapping):
        raise InputError(
            "prompts must be a list of strings or of conversations, and this is a list of messages; "
            f"write [{shorten(listed)}]."
        )
    return [check_prompt(index, prompt) for index, prompt in enumerate(listed)]


def check_prompt(index: int, prompt: object) -> str | Conversation:
    """One prompt, a list of messages made a ``Conversation``; raises as ``check_prompts``."""
    if isinstance(prompt, list | tuple):
        try:
            prompt = Conversation.of(prompt)
        except InputError as error:
            raise InputError(f"prompt {index}: {error}") from None
    if not isinstance(prompt, str | Conversation):
        raise InputError(f"prompt {index} is not a string but {type(prompt).__name__}: {shorten(prompt)}.")
    if not prompt:
        raise InputError(f"prompt {index} is an empty string; remove it or give it text.")
    if not is_text(str(prompt)):
        raise InputError(
            f"prompt {index} holds characters that are no text (a lone surrogate): {shorten(prompt)}; "
            "read its file as UTF-8."
        )
    return prompt
