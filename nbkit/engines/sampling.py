"""Sampling: which token comes next, drawn so that a prompt's text depends on its seed alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor

from nbkit.settings import Settings

NUCLEUS = 1024
"""So many likeliest tokens nearly always hold top_p; finding them is many times faster than sorting a vocabulary."""


class Sampler:
    """The next token of each sequence: the likeliest, or one drawn by temperature, top-k and top-p.

    A token is drawn by the inverse of the distribution function, from a uniform number
    that depends on the settings' seed, the prompt's place and the token's position. So
    neither the batch nor the rank nor the engine changes what is drawn, as far as their
    logits agree.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._uniform: dict[int, list[float]] = {}

    @property
    def is_greedy(self) -> bool:
        """Whether no token is drawn."""
        return self._settings.temperature == 0

    def choose(self, logits: torch.Tensor, indices: Sequence[int], positions: Sequence[int]) -> torch.Tensor:
        """The next tokens, shape (n,).

        Parameters
        ----------
        logits : torch.Tensor
            Shape (n, vocabulary).
        indices : sequence of int
            The prompts' places, shape (n,).
        positions : sequence of int
            New tokens that each sequence has already, shape (n,).
        """
        if self.is_greedy:
            # On a CPU several times faster than argmax, which has no vectorised kernel for bfloat16.
            return logits.max(-1).indices
        uniform = torch.tensor(
            [self._draws(index)[position] for index, position in zip(indices, positions, strict=True)],
            device=logits.device,
        )
        scaled = logits.float() / self._settings.temperature
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
        """Drop the draws of a prompt that is done."""
        self._uniform.pop(index, None)

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


class SampledTokens(LogitsProcessor):  # type: ignore[misc]
    """Gives ``generate`` the sampler's choice: every other token's logit is minus infinity."""

    def __init__(self, sampler: Sampler, indices: Sequence[int], prompt_length: int) -> None:
        self._sampler = sampler
        self._indices = indices
        self._prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        positions = [input_ids.shape[1] - self._prompt_length] * len(self._indices)
        chosen = self._sampler.choose(scores, self._indices, positions)
        return torch.full_like(scores, -torch.inf).scatter(-1, chosen[:, None], 0.0)


def _inverse(weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """For each row of weights (n, m), the first place where their sum exceeds its share of the total; shape (n,)."""
    sums = weights.double().cumsum(-1)
    places = torch.searchsorted(sums, (uniform.double() * sums[:, -1])[:, None], right=True)[:, 0]
    return places.clamp(max=weights.shape[-1] - 1)
