"""Prompt check: what a model cannot be given is refused by its number, before any work where that is cheap."""

from __future__ import annotations

import string
from collections.abc import Sequence

from nbkit.errors import InputError, PromptError, shorten
from nbkit.models import LoadedModel
from nbkit.records.request import Conversation, Request
from nbkit.records.settings import Settings

USUAL_PADDING = Settings().pad_to_multiple_of

SPARE_TOKENS = 8
"""Special tokens that a tokenizer may add to a text."""


def encoded(requests: Sequence[Request], loaded: LoadedModel, settings: Settings) -> list[list[int]]:
    """The token ids of each prompt.

    Raises
    ------
    PromptError
        Which prompt becomes no tokens, or tokens that the model does not have.
    """
    ids = loaded.prompt_tokens.of([request.prompt for request in requests], settings.special_tokens)
    vocabulary = loaded.config.get_text_config().vocab_size
    for request, own in zip(requests, ids, strict=True):
        if not own:
            raise PromptError(
                f"prompt {request.index}, {shorten(request.prompt)}, becomes no tokens at all for this model: remove "
                "it or give it text that the model's tokenizer keeps.",
                request.index,
            )
        if max(own) >= vocabulary:
            name = loaded.tokenizer.convert_ids_to_tokens(max(own))
            raise PromptError(
                f"prompt {request.index} has the token {max(own)} ({shorten(name)}), and the model knows "
                f"{vocabulary} tokens only: its tokenizer was given more than its embedding has. "
                "Leave that token out.",
                request.index,
            )
    return ids


def check_prompts_fit(requests: Sequence[Request], loaded: LoadedModel, settings: Settings) -> None:
    """Refuse, before any work, a prompt that becomes no tokens, or lengths that the model's context does not take.

    Raises
    ------
    InputError
        The prompt's number, its tokens and the model's limit.
    """
    limit = loaded.context_length
    if limit is not None and settings.max_new_tokens >= limit:
        raise InputError(
            f"max_new_tokens={settings.max_new_tokens} leaves no room for a prompt: "
            f"the model's context is {limit} tokens, prompt and output together."
        )
    if limit is not None and settings.engine_spec.batches and settings.pad_to_multiple_of > max(limit, USUAL_PADDING):
        raise InputError(
            f"pad_to_multiple_of={settings.pad_to_multiple_of} is more than the model's context of {limit} tokens: "
            f"every prompt would be padded beyond it. {USUAL_PADDING} is usual."
        )
    for request in requests:
        if _is_surely_text(request, loaded) and _most_positions(request, settings) <= (limit or float("inf")):
            continue
        tokens = len(_encoded_alone(request, loaded, settings))
        if limit is not None and tokens + settings.max_new_tokens > limit:
            raise PromptError(
                f"prompt {request.index} has {tokens} tokens; with max_new_tokens={settings.max_new_tokens} that is "
                f"more than the model's context of {limit} tokens. Shorten the prompt or ask for fewer new tokens.",
                request.index,
            )


def exceeds(positions: int, requests: Sequence[Request], loaded: LoadedModel, settings: Settings) -> bool:
    """Whether a prompt with its new tokens may take more than so many positions."""
    return any(
        _most_positions(request, settings) > positions
        and len(_encoded_alone(request, loaded, settings)) + settings.max_new_tokens > positions
        for request in requests
    )


def _most_positions(request: Request, settings: Settings) -> float:
    """The most positions that a prompt with its new tokens can take, without counting its tokens."""
    if isinstance(request.prompt, Conversation):
        return float("inf")  # a template may add any number
    # A token stands for at least one byte, so most prompts need not be tokenised to know that they fit.
    return len(request.prompt.encode()) + SPARE_TOKENS + settings.max_new_tokens


def _encoded_alone(request: Request, loaded: LoadedModel, settings: Settings) -> list[int]:
    try:
        return encoded([request], loaded, settings)[0]
    except InputError as error:
        if isinstance(request.prompt, Conversation) and f"prompt {request.index}" not in str(error):
            raise PromptError(f"prompt {request.index}: {error}", request.index) from None
        raise


def _is_surely_text(request: Request, loaded: LoadedModel) -> bool:
    """Whether a prompt holds a letter or digit that the tokenizer is known to keep; others are tokenised to see."""
    if isinstance(request.prompt, Conversation):
        return False
    name = "characters that become tokens"
    if name not in loaded.prepared:
        characters = string.ascii_letters + string.digits
        ids = loaded.tokenizer(list(characters), add_special_tokens=False).input_ids
        knows_all = len(loaded.tokenizer) <= loaded.config.get_text_config().vocab_size
        kept = (character for character, own in zip(characters, ids, strict=True) if own)
        loaded.prepared[name] = frozenset(kept if knows_all else ())
    return not loaded.prepared[name].isdisjoint(request.prompt)
