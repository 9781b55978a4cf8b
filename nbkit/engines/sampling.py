"""Sampling: which token comes next, by the model's rules, drawn so that a prompt's text depends on its seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers import LogitsProcessor

from nbkit.engines.generation_rules import GenerationRules
from nbkit.models import LoadedModel
from nbkit.records.settings import Settings

LEAST_TEMPERATURE = 1e-6
"""Below it the likeliest token is drawn in any case, and logits would grow beyond what float32 holds."""

NUCLEUS = 1024
"""So many likeliest tokens nearly always hold top_p; finding them is many times faster than sorting a vocabulary."""


class SequenceSoFar(Protocol):
    """A sequence that waits for its next token: its prompt's index and ids, and the new tokens so far."""

    @property
    def index(self) -> int: ...

    @property
    def prompt(self) -> Sequence[int]: ...

    @property
    def tokens(self) -> Sequence[int]: ...


class NextTokens(Protocol):
    """Chooses the next token of each sequence. Every engine with logits of its own asks one of these."""

    @property
    def is_plain(self) -> bool:
        """Whether it always takes the likeliest token, whatever came before."""
        ...

    @property
    def looks_back(self) -> bool:
        """Whether the choice depends on the tokens before, so that these must have been read."""
        ...

    def choose(self, logits: torch.Tensor, sequences: Sequence[SequenceSoFar], ahead: int = 0) -> torch.Tensor:
        """The next tokens, shape (n,).

        Parameters
        ----------
        logits : torch.Tensor
            Shape (n, vocabulary).
        sequences : sequence of SequenceSoFar
            Of the n rows.
        ahead : int
            Tokens that each sequence has beyond those that were read.
        """
        ...

    def forget(self, index: int) -> None:
        """Drop what is kept for a prompt that is done."""
        ...


class Sampler:
    """The next token of each sequence: the likeliest, or one drawn by temperature, top-k and top-p.

    The model's own rules of generation come first. A token is drawn by the inverse of the
    distribution function, from a uniform number that depends on the settings' seed, the
    prompt's index and the token's position. So neither the batch nor the rank nor the
    engine changes what is drawn, as far as their logits agree.
    """

    def __init__(self, settings: Settings, loaded: LoadedModel) -> None:
        self._settings = settings
        self._rules = GenerationRules(settings, loaded)
        self._uniform: dict[int, list[float]] = {}

    @property
    def is_plain(self) -> bool:
        return self._is_greedy and not self._rules

    @property
    def looks_back(self) -> bool:
        return bool(self._rules)

    @property
    def _is_greedy(self) -> bool:
        return self._settings.temperature == 0

    def choose(self, logits: torch.Tensor, sequences: Sequence[SequenceSoFar], ahead: int = 0) -> torch.Tensor:
        """The next tokens, shape (n,); see ``NextTokens``."""
        if self._rules:
            rows = zip(logits.float()[:, None], sequences, strict=True)
            logits = torch.cat([self._rules.apply(row, own.index, own.prompt, own.tokens) for row, own in rows])
        if self._is_greedy:
            # On a CPU several times faster than argmax, which has no vectorised kernel for bfloat16.
            return logits.max(-1).indices
        uniform = torch.tensor(
            [self._draws(own.index)[len(own.tokens) + ahead] for own in sequences], device=logits.device
        )
        scaled = logits.float() / max(self._settings.temperature, LEAST_TEMPERATURE)
        if self._settings.top_k == 0 and self._settings.top_p == 1:
            return _inverse(scaled.softmax(-1), uniform)
        values, tokens = self._likeliest(scaled)
        probabilities = torch.exp(values - scaled.logsumexp(-1, keepdim=True))
        if self._settings.top_k:
            probabilities = probabilities / probabilities.sum(-1, keepdim=True)
        before = probabilities.cumsum(-1) - probabilities
        # The likeliest token itself always stays, whatever the rounding.
        kept = probabilities * ((before < self._settings.top_p) | (before == 0))
        return tokens.gather(-1, _inverse(kept, uniform)[:, None])[:, 0]

    def forget(self, index: int) -> None:
        """Drop the draws and the rules of a prompt that is done."""
        self._uniform.pop(index, None)
        self._rules.forget(index)

    def _draws(self, index: int) -> list[float]:
        """Uniform numbers for a prompt's tokens, made once."""
        if index not in self._uniform:
            # The multiplier, a large prime, keeps seed and index from standing for one another.
            generator = torch.Generator().manual_seed((self._settings.seed * 1_000_003 + index) % 2**63)
            count = self._settings.max_new_tokens
            self._uniform[index] = torch.rand(count, generator=generator, dtype=torch.float64).tolist()
        return self._uniform[index]

    def _likeliest(self, scaled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits and tokens from the likeliest down: as many as top-k or top-p may take."""
        vocabulary = scaled.shape[-1]
        if self._settings.top_k:
            found = scaled.topk(min(self._settings.top_k, vocabulary))
            return found.values, found.indices
        found = scaled.topk(min(NUCLEUS, vocabulary))
        held = torch.exp(found.values - scaled.logsumexp(-1, keepdim=True)).sum(-1)
        if bool((held < self._settings.top_p).any()):
            return scaled.sort(-1, descending=True)
        return found.values, found.indices


@dataclass(frozen=True, slots=True)
class _Row:
    index: int
    prompt: list[int]
    tokens: list[int]


class ChosenTokens(LogitsProcessor):  # type: ignore[misc]
    """Gives ``generate`` the choice of a ``NextTokens``: every other token's logit is minus infinity.

    Parameters
    ----------
    indices, prompts
        Indices and token ids of the batch's prompts.
    width : int
        Columns of the batch before the first new token, padding included.
    """

    def __init__(self, chooser: NextTokens, indices: Sequence[int], prompts: Sequence[list[int]], width: int) -> None:
        self._chooser = chooser
        self._prompts = list(zip(indices, prompts, strict=True))
        self._width = width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        new = input_ids[:, self._width :].tolist()
        rows = [_Row(index, prompt, own) for (index, prompt), own in zip(self._prompts, new, strict=True)]
        chosen = self._chooser.choose(scores, rows)
        return torch.full_like(scores, -torch.inf).scatter(-1, chosen[:, None], 0.0)


def _inverse(weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """For each row of weights (n, m), the first column where their sum exceeds its share of the total; shape (n,)."""
    sums = weights.double().cumsum(-1)
    columns = torch.searchsorted(sums, (uniform.double() * sums[:, -1])[:, None], right=True)[:, 0]
    return columns.clamp(max=weights.shape[-1] - 1)
