"""Generation rules: what a model's own ``generation_config.json`` asks of its text, the same in every engine.

A rule is one of transformers' logits processors. It is applied to one sequence at a time,
without the padding that a batch puts before it: a repetition penalty would count that too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    EncoderNoRepeatNGramLogitsProcessor,
    EncoderRepetitionPenaltyLogitsProcessor,
    ExponentialDecayLengthPenalty,
    ForcedBOSTokenLogitsProcessor,
    ForcedEOSTokenLogitsProcessor,
    InfNanRemoveLogitsProcessor,
    LogitsProcessor,
    LogitsProcessorList,
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
)

from nbkit.errors import InputError, shorten
from nbkit.models import LoadedModel
from nbkit.records.engine_spec import ENGINES
from nbkit.records.settings import Settings


@dataclass(frozen=True, slots=True)
class _RuledSequence:
    """What a rule may depend on: the prompt's ids (1, n), what ends it, and the most it may become."""

    prompt: torch.Tensor
    eos: list[int]
    max_new_tokens: int
    vocabulary: int
    forces_bos: bool

    @property
    def length(self) -> int:
        return self.prompt.shape[1]

    @property
    def device(self) -> torch.device:
        return self.prompt.device

    @property
    def begin(self) -> int:
        """Where the text begins: after a forced token, if there is one."""
        return self.length if self.length > 1 or not self.forces_bos else self.length + 1


Make = Callable[[Any, _RuledSequence], LogitsProcessor]

# In the order in which transformers' generate applies them (GenerationMixin._get_logits_processor, 5.24).
_RULES: dict[str, Make] = {
    "sequence_bias": lambda bias, _: SequenceBiasLogitsProcessor(bias),
    "encoder_repetition_penalty": lambda penalty, own: EncoderRepetitionPenaltyLogitsProcessor(penalty, own.prompt),
    "repetition_penalty": lambda penalty, _: RepetitionPenaltyLogitsProcessor(penalty),
    "no_repeat_ngram_size": lambda size, _: NoRepeatNGramLogitsProcessor(size),
    "encoder_no_repeat_ngram_size": lambda size, own: EncoderNoRepeatNGramLogitsProcessor(size, own.prompt),
    "bad_words_ids": lambda words, own: NoBadWordsLogitsProcessor(words, own.eos or None),
    "min_length": lambda length, own: MinLengthLogitsProcessor(length, own.eos, own.device),
    "min_new_tokens": lambda count, own: MinNewTokensLengthLogitsProcessor(own.length, count, own.eos, own.device),
    "forced_bos_token_id": lambda token, _: ForcedBOSTokenLogitsProcessor(token),
    "forced_eos_token_id": lambda token, own: ForcedEOSTokenLogitsProcessor(
        own.length + own.max_new_tokens, token, own.device
    ),
    "remove_invalid_values": lambda _, __: InfNanRemoveLogitsProcessor(),
    "exponential_decay_length_penalty": lambda penalty, own: ExponentialDecayLengthPenalty(
        penalty, own.eos, own.length
    ),
    "suppress_tokens": lambda tokens, own: SuppressTokensLogitsProcessor(tokens, own.device),
    "begin_suppress_tokens": lambda tokens, own: SuppressTokensAtBeginLogitsProcessor(tokens, own.begin, own.device),
    "watermarking_config": lambda marking, own: marking.construct_processor(own.vocabulary, own.device),
}
NEED_EOS = frozenset({"min_length", "min_new_tokens", "exponential_decay_length_penalty"})
"""Rules about the token that ends a text: without one they say nothing."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "encoder_repetition_penalty": (1.0,),
    "repetition_penalty": (1.0,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "remove_invalid_values": (False,),
    "guidance_scale": (1.0,),
    "num_beams": (1,),
    "num_beam_groups": (1,),
    "penalty_alpha": (0.0,),
    "num_return_sequences": (1,),
    "do_sample": (False,),
    "temperature": (1.0,),
    "top_k": (50,),
    "top_p": (1.0,),
    "typical_p": (1.0,),
    "epsilon_cutoff": (0.0,),
    "eta_cutoff": (0.0,),
    "renormalize_logits": (False,),
}
"""Values beside None that ask for nothing; of ``top_k`` the one that transformers writes into every file."""

SETTINGS_DECIDE = (
    *("do_sample", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"),
    *("renormalize_logits", "max_length", "max_time"),
)
"""How a token is drawn and how long a text becomes: the Run's settings say that, not the model."""

ONE_BEAM = ("num_beams", "num_beam_groups", "num_return_sequences", "penalty_alpha", "dola_layers")
"""Other ways of searching than token by token: nbkit has one beam and one text a prompt."""

REFUSED = ("guidance_scale", "constraints", "force_words_ids")
"""What changes the text and no engine of nbkit does."""


class GenerationRules:
    """The rules of one model, for sequences that begin, grow and end.

    Attributes
    ----------
    heeded : dict
        Names and values of the rules that are kept, as in ``generation_config.json``.
    unheeded : dict
        What the file asks for beside them and is not done: how tokens are drawn is the
        settings', and there is one beam.

    Raises
    ------
    InputError
        The model asks for something that no engine does.
    """

    def __init__(self, settings: Settings, loaded: LoadedModel) -> None:
        asked = {name: value for name, value in vars(loaded.generation_config).items() if _asks(name, value)}
        if refused := [name for name in REFUSED if name in asked]:
            raise InputError(
                f"the model's generation_config.json asks for {_words({n: asked[n] for n in refused})}, which no "
                "engine of nbkit does; remove that from the file if you can do without."
            )
        if "min_new_tokens" in asked:
            asked.pop("min_length", None)  # transformers, too, counts from the prompt's end then
        self._eos = [] if settings.ignore_eos else list(loaded.eos_token_ids)
        self._kept = {name: asked[name] for name in _RULES if name in asked and (self._eos or name not in NEED_EOS)}
        self.heeded = {name: _plain(value) for name, value in self._kept.items()}
        self.unheeded = {name: _plain(asked[name]) for name in (*SETTINGS_DECIDE, *ONE_BEAM) if name in asked}
        self._max_new_tokens = settings.max_new_tokens
        self._vocabulary = loaded.config.get_text_config().vocab_size
        self._of_sequence: dict[int, LogitsProcessorList] = {}

    def __bool__(self) -> bool:
        return bool(self._kept)

    @property
    def words(self) -> str:
        """What the model asks for beside how tokens are drawn, in words; empty if nothing."""
        others = {name: value for name, value in self.unheeded.items() if name in ONE_BEAM}
        searches = (
            f"{_words(others)} (not kept: nbkit takes one token after the other, with one beam)" if others else ""
        )
        return "; ".join(filter(None, (_words(self.heeded), searches)))

    def apply(self, row: torch.Tensor, index: int, prompt: Sequence[int], new: Sequence[int]) -> torch.Tensor:
        """The logits (1, vocabulary) of a sequence's next token, changed as its rules ask.

        Parameters
        ----------
        row : torch.Tensor
            Shape (1, vocabulary).
        index : int
            The prompt's index: its rules are kept until ``forget``.
        prompt, new : sequence of int
            The prompt's ids and the tokens generated so far.
        """
        ids = torch.tensor([[*prompt, *new]], device=row.device)
        if index not in self._of_sequence:
            self._of_sequence[index] = self._processors(ids[:, : len(prompt)])
        return self._of_sequence[index](ids, row)  # type: ignore[no-any-return]

    def forget(self, index: int) -> None:
        """Drop the rules of a sequence that is done."""
        self._of_sequence.pop(index, None)

    def _processors(self, prompt: torch.Tensor) -> LogitsProcessorList:
        forces_bos = "forced_bos_token_id" in self._kept
        own = _RuledSequence(prompt, self._eos, self._max_new_tokens, self._vocabulary, forces_bos)
        return LogitsProcessorList(_RULES[name](value, own) for name, value in self._kept.items())


def model_stop_strings(loaded: LoadedModel) -> tuple[str, ...]:
    """The strings that end a text by the model's own word."""
    asked = getattr(loaded.generation_config, "stop_strings", None) or ()
    return (asked,) if isinstance(asked, str) else tuple(asked)


def library_rules(settings: Settings, loaded: LoadedModel) -> dict[str, Any]:
    """The model's rules, for an engine that ``loads_itself`` and so chooses the tokens: names and values.

    Raises
    ------
    InputError
        The model has a rule that the library does not keep as transformers does; which, and
        the engines that do.
    """
    spec = settings.engine_spec
    rules = GenerationRules(settings, loaded)
    heeded = rules.heeded | ({"stop_strings": stops} if (stops := model_stop_strings(loaded)) else {})
    if lost := {name: value for name, value in heeded.items() if name not in spec.library_rules}:
        heeding = [name for name, other in ENGINES.items() if not other.loads_itself]
        raise InputError(
            f"the model's generation_config.json asks for {_words(lost)}, which engine {spec.name!r} would not heed; "
            f"take one of {', '.join(heeding)}, which do."
        )
    return heeded


def _asks(name: str, value: Any) -> bool:
    return value is not None and value not in NEUTRAL.get(name, ())


def _plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    try:
        json.dumps(value)
    except TypeError:
        return str(value)
    return value


def _words(rules: dict[str, Any]) -> str:
    return ", ".join(f"{name}={shorten(value)}" for name, value in rules.items())
