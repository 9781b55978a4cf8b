"""The forms of a prompt in a file: text, a list of messages, a list of turns, a batch request."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbkit.errors import InputError, shorten, shorten_all
from nbkit.records.request import Conversation

TURNS = "turns"
CHATS = ("messages", "conversations", "conversation")
REQUEST_BODIES = ("body", "params")
REQUEST_ID = "custom_id"
SYSTEM_KEYS = ("system", "system_prompt")
TEXT, MESSAGES = "text", "messages"

# In tables a cell under these names is the list or object as JSON; elsewhere text is text, whatever it looks like.
NAMES_OF_LISTS = (TURNS, *CHATS, *REQUEST_BODIES)
ROLES_OF_SHAREGPT = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "system": "system",
}
ANSWERS = "assistant"
# Without these a message asks something else; other keys (a name, a weight, a date) leave its text what it is.
BEYOND_TEXT = (
    "tool_calls",
    "tool_call_id",
    "function_call",
    "image",
    "images",
    "image_url",
    "audio",
    "audios",
    "video",
    "videos",
    "file",
    "files",
    "attachments",
    "documents",
)
TEXT_PARTS = ("text", "input_text")


@dataclass(slots=True)
class Taken:
    """What prompts were made of, and what beside them was not used: for the sentence that says so."""

    forms: Counter[str] = field(default_factory=Counter)
    later_turns: list[int] = field(default_factory=list)
    answers: int = 0
    systems: dict[str, None] = field(default_factory=dict)
    unused: dict[str, None] = field(default_factory=dict)

    def asides(self) -> list[str]:
        """What was added to the prompts and what was left out, a phrase each."""
        said = [f"begun by the text under {shorten_all(self.systems)}"] if self.systems else []
        if any(self.later_turns):
            least, most = min(self.later_turns), max(self.later_turns)
            number = f"{most:,}" if least == most else f"{least:,} to {most:,}" if least else f"up to {most:,}"
            said.append(f"{number} later {'turn is' if most == 1 else 'turns are'} not used")
        if self.answers:
            conversations = "1 conversation" if self.answers == 1 else f"{self.answers:,} conversations"
            said.append(f"the assistant's answers at the end of {conversations} are not used")
        return said


def form_of(key: str, value: object, keys: Sequence[str]) -> str | None:
    """The form of a value under ``key``, beside ``keys``; None if it is plain text or none that can be read."""
    value = _structure(key, value)
    if is_messages(value):
        return MESSAGES
    if key == TURNS and _is_turns(value):
        return TURNS
    if key in REQUEST_BODIES and REQUEST_ID in keys and isinstance(value, dict):
        return key
    return None


def is_messages(value: object) -> bool:
    """Whether a value is a list of messages, by its first: ``role`` and ``content``, or ``from`` and ``value``."""
    if not isinstance(value, list | tuple) or not value or not all(isinstance(item, dict) for item in value):
        return False
    first = value[0]
    return {"role", "content"} <= set(first) or {"from", "value"} <= set(first)


def read_value(key: str, row: Mapping[str, Any], taken: Taken) -> list[str | Conversation] | None:
    """The prompts under ``key`` of a row: none for a null or blank text; None if they have no known form.

    Raises
    ------
    InputError
        The value has a known form, and which part of it cannot be used.
    """
    value = _structure(key, row[key])
    if value is None:
        return []
    if isinstance(value, str):
        return _read_text(key, value, taken)
    if is_messages(value):
        taken.forms[MESSAGES] += 1
        return [read_messages(value, taken, row)]
    if key == TURNS and _is_turns(value):
        taken.forms[TURNS] += 1
        taken.later_turns.append(len(value) - 1)
        return [value[0]]
    if key in REQUEST_BODIES and isinstance(value, dict):
        return _read_request(key, value, taken)
    return None


def read_messages(
    messages: Sequence[Mapping[str, Any]], taken: Taken, row: Mapping[str, Any] | None = None
) -> Conversation:
    """A conversation up to its last message that is no answer, after the row's system text if there is one.

    Raises
    ------
    InputError
        Which message cannot be used.
    """
    roles = [_role(number, message) for number, message in enumerate(messages)]
    kept = len(roles)
    while kept and roles[kept - 1] == ANSWERS:
        kept -= 1
    if not kept:
        raise InputError(f"the conversation holds nothing but answers: {shorten(list(messages))}; remove it.")
    taken.answers += kept < len(roles)
    listed = [{"role": roles[number], "content": _content(number, messages[number], taken)} for number in range(kept)]
    return Conversation.of([*_system(row or {}, roles, taken), *listed])


def _structure(key: str, value: object) -> Any:
    """A value, or what its JSON holds where a cell's text is a list or an object."""
    if isinstance(value, str) and key in NAMES_OF_LISTS and _looks_like_json(value):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _looks_like_json(text: str) -> bool:
    return text.lstrip()[:1] in ("[", "{")


def _read_text(key: str, text: str, taken: Taken) -> list[str | Conversation]:
    if not text.strip():
        return []
    if key in NAMES_OF_LISTS and _looks_like_json(text):
        raise InputError(f"the text under {shorten(key)} begins like a list and is not JSON: {shorten(text)}.")
    taken.forms[TEXT] += 1
    return [text]


def _is_turns(value: object) -> bool:
    if not isinstance(value, list) or not all(isinstance(turn, str) for turn in value):
        return False
    return bool(value) and bool(value[0].strip())


def _read_request(key: str, body: Mapping[str, Any], taken: Taken) -> list[str | Conversation]:
    """The prompts of a batch request: a conversation, a text, or several texts."""
    used = MESSAGES if body.get(MESSAGES) is not None else "prompt"
    asked: Any = body.get(used)
    prompts: list[str | Conversation]
    if used == MESSAGES and is_messages(asked):
        prompts = [read_messages(asked, taken, body)]
    elif used == "prompt" and isinstance(asked, str):
        prompts = [asked]
    elif used == "prompt" and isinstance(asked, list) and asked and all(isinstance(one, str) for one in asked):
        prompts = list(asked)
    else:
        raise InputError(
            f"the request's {shorten(key)} has no list of messages under 'messages' and no text under 'prompt': "
            f"{shorten(dict(body))}."
        )
    taken.forms[f"{key}.{used}"] += 1
    left = [name for name, value in body.items() if name not in (used, *taken.systems) and value is not None]
    taken.unused.update(dict.fromkeys(left))
    return [prompt for prompt in prompts if not isinstance(prompt, str) or prompt.strip()]


def _role(number: int, message: Mapping[str, Any]) -> str:
    role = message.get("role", message.get("from"))
    if not isinstance(role, str) or not role:
        raise InputError(f"message {number} does not say whose it is by 'role' or 'from': {shorten(dict(message))}.")
    known = ROLES_OF_SHAREGPT.get(role.lower())
    if known is None and message.get("role") is None:
        raise InputError(f"message {number} is from {shorten(role)}; known are: {', '.join(ROLES_OF_SHAREGPT)}.")
    return known or role  # the chat template knows more roles, such as tool


def _content(number: int, message: Mapping[str, Any], taken: Taken) -> str:
    """A message's text. What else it holds is noted, or refused where the text would not be all that is asked."""
    key = "content" if "content" in message else "value"
    beside = [name for name, value in message.items() if name not in ("role", "from", key) and _says_something(value)]
    for name in beside:
        if name in BEYOND_TEXT:
            raise InputError(
                f"message {number} has {shorten(name)}, and nbkit gives a model text only; remove the prompt."
            )
    taken.unused.update(dict.fromkeys(beside))
    return _text(f"message {number}", key, message.get(key))


def _text(what: str, key: str, content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and content:
        return "".join(_part(what, part) for part in content)
    raise InputError(f"{what} has no text under {shorten(key)} but {shorten(content)}.")


def _part(what: str, part: object) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict):
        text, kind = part.get("text"), part.get("type", "text")
        if isinstance(text, str) and kind in TEXT_PARTS:
            return text
        if kind not in TEXT_PARTS:
            raise InputError(
                f"{what} has a part of type {shorten(kind)}, and nbkit gives a model text only; remove the prompt."
            )
    raise InputError(f"{what} has a part that holds no text: {shorten(part)}.")


def _system(row: Mapping[str, Any], roles: Sequence[str], taken: Taken) -> list[dict[str, str]]:
    """The system message that stands beside the others, under a key of its own."""
    beside = {key: row[key] for key in SYSTEM_KEYS if _says_something(row.get(key))}
    if not beside:
        return []
    if len(beside) > 1 or "system" in roles:
        raise InputError(
            f"the conversation has more than one system message, {shorten_all(beside)} beside it; keep one."
        )
    taken.systems.update(dict.fromkeys(beside))
    return [{"role": "system", "content": _text("the conversation", key, text)} for key, text in beside.items()]


def _says_something(value: object) -> bool:
    return value is not None and value not in ("", [], {})
