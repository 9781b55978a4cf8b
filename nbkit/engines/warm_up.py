"""Warm-up: what a process pays once, paid before the timed part of a run.

The first time that a process computes in some way, libraries load kernels, choose among
them, compile, capture and take memory: on a GPU seconds in all, for each shape anew. An
engine names what a run over prompts of some lengths will meet (``Preparation``), and what
this process has not met yet is done once for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from nbkit.engines.memory import free_memory, is_out_of_memory
from nbkit.models import LoadedModel
from nbkit.records.request import Conversation
from nbkit.records.settings import Settings

MOST_LENGTHS = 1000
"""Prompts whose lengths are looked at: of more, so many spread over the list, and the longest text."""

WORTH_A_WORD_S = 1.0
"""A warm-up that takes longer is announced."""

ANY_TOKEN = 1
"""Of the prompts that are computed for nothing."""

USUAL_LENGTH = 8
"""Tokens of a prompt where shapes cost nothing."""

KNOWN = "shapes this process has met"


@dataclass(frozen=True, slots=True)
class Preparation:
    """Something that is to be computed once, for nothing.

    ``key`` is the same for what need not be done twice; None: the engine knows what is done. ``words`` are as in
    ``batches of 40``.
    """

    key: Hashable | None
    words: str
    run: Callable[[], object]


def shapes_cost(device: torch.device) -> bool:
    """Whether every new shape costs something on a device; on a CPU that is a millisecond, and computing it more."""
    return device.type == "cuda"


def lengths_of_some(prompts: Sequence[str | Conversation], loaded: LoadedModel, settings: Settings) -> list[int]:
    """The tokens of each prompt, in their order; of more than ``MOST_LENGTHS`` those of so many among them.

    Nothing is kept of it: the timed part tokenises as if it had not been. Where shapes cost
    nothing, one usual length stands for all.

    Raises
    ------
    InputError
        As for ``PromptTokens.of``.
    """
    if not shapes_cost(loaded.device):
        return [USUAL_LENGTH]
    every = -(-len(prompts) // MOST_LENGTHS)
    longest = max(range(len(prompts)), key=lambda index: len(str(prompts[index])))
    some = [prompt for index, prompt in enumerate(prompts) if index % every == 0 or index == longest]
    return loaded.prompt_tokens.lengths(some, settings.special_tokens)


def warm_up(
    preparations: Iterable[Preparation], loaded: LoadedModel, is_cancelled: Callable[[], bool]
) -> Iterator[str]:
    """Do what this process has not done yet; once, when it takes long, yield a sentence about it.

    Where memory does not suffice it ends: the run itself knows what to do then.
    """
    known: set[Hashable] = loaded.prepared.setdefault(KNOWN, set())
    new = [preparation for preparation in preparations if preparation.key not in known]
    began_s = last_s = time.monotonic()
    is_said = False
    for number, preparation in enumerate(new):
        if is_cancelled():
            return
        try:
            preparation.run()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            is_short = True
        else:
            is_short = False
        if is_short:
            free_memory()
            return
        if preparation.key is not None:
            known.add(preparation.key)
        now_s = time.monotonic()
        left = len(new) - number - 1
        # The first is paid for much that the others need, too, and tells nothing of what they take.
        expected_s = now_s - began_s + (left * (now_s - last_s) if number else 0.0)
        last_s = now_s
        if not is_said and left and expected_s > WORTH_A_WORD_S:
            is_said = True
            yield f"preparing {preparation.words}: once, {'about' if number else 'more than'} {expected_s:.0f} s"
