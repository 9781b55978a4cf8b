"""Loaded model: a model and its tokenizer on a device, and what follows from both."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbkit.models.prompt_tokens import PromptTokens

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in evaluation mode and its tokenizer, on one device.

    ``model`` is None where only the tokenizer and the configuration were asked for.
    ``generation_config`` is the model's own, its rules of generation among others; the one
    that ``model`` has asks for nothing, so that transformers' ``generate`` does just what an
    engine asks. ``eos_token_ids`` end a sequence. ``sharing`` counts the ranks that share the
    device's memory, this one included. ``prepared`` keeps, by name, what an engine
    has made of the model and wants to find again at the next job.
    """

    model: Any
    tokenizer: Any
    device: torch.device
    dtype: str
    folder: Path
    config: Any
    generation_config: Any
    eos_token_ids: tuple[int, ...]
    prompt_tokens: PromptTokens
    sharing: int = 1
    prepared: dict[str, Any] = field(default_factory=dict)

    @property
    def context_length(self) -> int | None:
        """The most tokens, prompt and output together, that the model takes; None if it does not say."""
        config = self.config.get_text_config()
        limit: int | None = getattr(config, "max_position_embeddings", None)
        rope = getattr(config, "rope_parameters", None) or {}
        # Dynamic NTK is there to go beyond it.
        return int(limit * rope["factor"]) if limit and rope.get("rope_type") == "dynamic" else limit

    @property
    def spare(self) -> dict[str, Any]:
        """What only saves time, by name, each with its ``bytes``: it is given up first when memory is short."""
        kept: dict[str, Any] = self.prepared.setdefault("spare", {})
        return kept

    @property
    def spare_bytes(self) -> int:
        """Memory that is there for a run that needs it."""
        return sum(each.bytes for each in self.spare.values())

    def give_up_spare(self) -> bool:
        """Let go of what only saves time; whether there was any."""
        had_any = self.spare_bytes > 0
        self.spare.clear()
        return had_any

    @property
    def pad_token_id(self) -> int:
        """A token that a batch can be padded with: any that the model has, for it is masked."""
        own = self.tokenizer.pad_token_id
        candidates = [*([] if own is None else [own]), *self.eos_token_ids]
        vocabulary = self.config.get_text_config().vocab_size
        return next((token for token in candidates if 0 <= token < vocabulary), 0)

    @property
    def is_emulated(self) -> bool:
        """Whether the device has no arithmetic of its own for the dtype and is slow in it."""
        from nbkit.models.torch_private import emulates

        return self.device.type == "cpu" and emulates(self.dtype)
