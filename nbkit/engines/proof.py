"""Proof: an engine's logits for a few short prompts, held against transformers' plain forward.

The tokens are given, not chosen: so every step of the engine has a reference, from one
forward pass over the whole text without cache, padding or neighbours. A wrong mask,
position, weight or cache shows in the logits long before it shows in a text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from typing import Any

import torch

from nbkit.engines.model_state import COUNTED_WITH_PADDING, ModelState
from nbkit.engines.protocol import Engine, Streamed, UnderWay
from nbkit.engines.sampling import NextTokens, SequenceSoFar
from nbkit.models import LoadedModel
from nbkit.models.prompt_tokens import PromptTokens
from nbkit.prompts import FIRST_LINES
from nbkit.records.request import Conversation, Request
from nbkit.records.settings import Settings

MIXED = ((0, 1), (1, 5), (0, 6))
"""Of each prompt: which of two texts it is from, and its tokens. The last is the longest: the others are padded."""

ALIKE = ((0, 4), (1, 4))
"""For an engine that pads nothing."""

STEPS = 3
"""New tokens of each prompt: of the prefill, of the first decode step, and of one that reads what that step wrote."""

LIMITS = ("sliding_window", "window_size", "attention_window_size", *COUNTED_WITH_PADDING)
"""Numbers of a config beyond which a token no longer attends to all before it."""

BEYOND = 3
"""Tokens by which one more prompt exceeds such a limit."""

CHEAP_FLOP = {"cpu": 5e9, "cuda": 2e13}
"""What that prompt may cost: about 0.05 s of one core or of one GPU."""

TOKENS = 60
MODEST_FLOP_S = {"cpu": 5e10, "cuda": 1e13}
"""Tokens computed in a proof, and what one core or one GPU computes a second at least."""

ALLOWED = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 8e-2}
"""The root mean square of the differences that is rounding, as a share of the logits' own spread."""

Make = Callable[[Settings, LoadedModel, NextTokens], Engine]


@dataclass(frozen=True, slots=True)
class Difference:
    """How far an engine's logits are from the reference, and what is rounding: shares of their spread."""

    found: float
    allowed: float

    @property
    def is_rounding(self) -> bool:
        """Whether the engine computes what the model does."""
        # Not the other way round: a difference that is no number must not pass.
        return self.found <= self.allowed


def differences(
    settings: Settings, loaded: LoadedModel, make: Make, *, alike: bool = False, reference: Any = None
) -> list[float]:
    """Hold an engine against the model: how far each step's logits are away, as shares of their spread.

    Parameters
    ----------
    make : callable
        Makes the engine, from settings, a loaded model and what chooses its tokens.
    alike : bool
        Whether its prompts all have one length.
    reference : transformers.PreTrainedModel, optional
        Whose plain forward is right; as a rule the model itself.
    """
    model = reference if reference is not None else loaded.model
    shapes = ALIKE if alike else MIXED + _beyond_limits(loaded)
    texts = _texts(loaded, max(length for _, length in shapes) + STEPS)
    given = [(texts[text][: length + STEPS], length) for text, length in shapes]
    ModelState(model).begin_anew()
    expected = [_plain_logits(model, ids, loaded) for ids in texts]
    tokens = _GivenTokens([ids for ids, _ in given])
    asked = Settings.of(
        settings, max_new_tokens=STEPS, ignore_eos=True, stop=(), batch_size=len(given), token_budget=None
    )
    # The engine asks for the ids of prompts; here they are known.
    own = replace(loaded, prompt_tokens=GivenPrompts({str(i): ids[:n] for i, (ids, n) in enumerate(given)}))
    engine = make(asked, own, tokens)
    requests = [Request(index, str(index)) for index in range(len(given))]
    batches = [requests] if not asked.is_in_flight else [[request] for request in requests]
    for _ in engine.generate(batches, _Unwatched()):
        pass
    return [
        _relative(tokens.logits[index, step], expected[text][length - 1 + step])
        for index, (text, length) in enumerate(shapes)
        for step in range(STEPS)
    ]


def expected_s(loaded: LoadedModel) -> float:
    """About how many seconds a proof takes: its tokens' products at a modest speed of the device."""
    parameters: int = sum(parameter.numel() for parameter in loaded.model.parameters())
    return 2 * parameters * TOKENS / MODEST_FLOP_S.get(loaded.device.type, MODEST_FLOP_S["cpu"])


def _relative(logits: torch.Tensor, expected: torch.Tensor) -> float:
    """The root mean square of differences of logits (vocabulary,), in standard deviations of the expected ones.

    Infinite where one has a number and the other none.
    """
    is_number = expected.isfinite()
    if not (is_number.any() and torch.equal(is_number, logits.isfinite())):
        return float("inf")
    spread = expected[is_number].std().clamp(min=torch.finfo(torch.float32).tiny)
    return float((logits - expected)[is_number].square().mean().sqrt() / spread)


def _plain_logits(model: Any, ids: list[int], loaded: LoadedModel) -> torch.Tensor:
    """Logits (tokens, vocabulary) of a text, by transformers' forward alone."""
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids], device=loaded.device)).logits[0].float().cpu()  # type: ignore[no-any-return]


def _texts(loaded: LoadedModel, length: int) -> list[list[int]]:
    """Ids of two texts of so many tokens each."""
    vocabulary = loaded.config.get_text_config().vocab_size
    encoded = PromptTokens(loaded.tokenizer).of([FIRST_LINES[3], FIRST_LINES[7]])
    known = [[token for token in ids if token < vocabulary] or [0] for ids in encoded]
    return [list(islice(cycle(ids), length)) for ids in known]


def _beyond_limits(loaded: LoadedModel) -> tuple[tuple[int, int], ...]:
    """A prompt longer than each window of the model, where it has any and that is cheap."""
    config = loaded.config.get_text_config()
    numbers = [getattr(config, name, None) for name in LIMITS]
    lengths = [number + BEYOND for number in numbers if isinstance(number, int) and number > 0]
    flop_a_token = 2 * sum(parameter.numel() for parameter in loaded.model.parameters())
    most = int(CHEAP_FLOP.get(loaded.device.type, 0) / flop_a_token)
    most = min(most, (loaded.context_length or most) - STEPS)
    return tuple((0, length) for length in lengths if length <= most)


class _GivenTokens:
    """Chooses tokens that are known beforehand, and keeps the logits: by prompt and step, (vocabulary,)."""

    is_plain = False
    looks_back = False

    def __init__(self, texts: Sequence[list[int]]) -> None:
        self._texts = texts
        self.logits: dict[tuple[int, int], torch.Tensor] = {}

    def choose(self, logits: torch.Tensor, sequences: Sequence[SequenceSoFar], ahead: int = 0) -> torch.Tensor:
        for row, sequence in zip(logits.detach().float().clone().cpu(), sequences, strict=True):
            self.logits[sequence.index, len(sequence.tokens) + ahead] = row
        known = [self._texts[s.index][len(s.prompt) + len(s.tokens) + ahead] for s in sequences]
        return torch.tensor(known, device=logits.device)

    def forget(self, index: int) -> None:
        """Nothing is kept that grows."""


class GivenPrompts(PromptTokens):
    """Takes the place of ``PromptTokens``: names of prompts to their ids."""

    def __init__(self, ids: dict[str, list[int]]) -> None:
        self._ids = ids

    def of(self, prompts: Sequence[str | Conversation], special_tokens: str = "auto") -> list[list[int]]:
        return [self._ids[str(prompt)] for prompt in prompts]


class _Unwatched:
    """What an engine sees of its surroundings while nobody watches."""

    rank = 0
    device = "the device"
    cancelled = False
    elapsed_s = 0.0

    def report(
        self,
        tokens: int,
        streamed: Callable[[], Sequence[Streamed]],
        under_way: Callable[[], Sequence[UnderWay]],
    ) -> None:
        """Nobody is told."""
