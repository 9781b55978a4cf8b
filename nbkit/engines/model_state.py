"""Model state: what a model keeps beside its cache, and what makes a prompt's text depend on its neighbours.

Beyond the length that a model was trained on, transformers chooses the frequencies of
some rotary embeddings (dynamic NTK, LongRoPE) for all sequences of a batch by the longest
(``dynamic_rope_update``, transformers 5.24), and dynamic NTK keeps them for the next batch.
Chunked attention counts its chunks, and indexed attention its best, padding included.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from nbkit.models import LoadedModel

DYNAMIC, LONGROPE = "dynamic", "longrope"
COUNTED_WITH_PADDING = ("attention_chunk_size", "index_topk")
"""Numbers of a config beyond which padding changes what a token attends to."""


class ModelState:
    """What one model keeps from batch to batch; looked up once, for a model has hundreds of modules."""

    def __init__(self, model: Any) -> None:
        self._config = model.config.get_text_config()
        self._rotary = list(_varying_rotary(model))
        # RecurrentGemma's layers keep their states themselves, and take a batch of the same size for the same one.
        self._recurrent = [module for module in model.modules() if hasattr(module, "conv1d_state")]

    @classmethod
    def of(cls, loaded: LoadedModel) -> ModelState:
        """Of a loaded model, kept with it."""
        if "model state" not in loaded.prepared:
            loaded.prepared["model state"] = cls(loaded.model)
        return loaded.prepared["model state"]  # type: ignore[no-any-return]

    def begin_anew(self) -> None:
        """Bring back to those of a model just loaded what an earlier batch has left."""
        for module, prefix, kind in self._rotary:
            if DYNAMIC in kind:
                original = getattr(module, f"{prefix}original_inv_freq")
                module.register_buffer(f"{prefix}inv_freq", original.clone(), persistent=False)
                # With one kind of layer the length is kept without a prefix.
                setattr(module, f"{prefix}max_seq_len_cached", module.original_max_seq_len)
        for module in self._recurrent:
            module.conv1d_state = None

    @property
    def alike_up_to(self) -> int | None:
        """Positions up to which a sequence is computed alike whatever is in its batch; None if that never changes."""
        lengths = [_original_length(module, kind) for module, _, kind in self._rotary]
        lengths += [number for name in COUNTED_WITH_PADDING if (number := getattr(self._config, name, None))]
        return min(lengths, default=None)

    @property
    def asks_the_host(self) -> bool:
        """Whether frequencies are chosen on the host in the middle of a step, which no CUDA graph can hold."""
        return any(DYNAMIC in kind for _, _, kind in self._rotary)


def _varying_rotary(model: Any) -> Iterator[tuple[Any, str, str]]:
    """Rotary embeddings whose frequencies change: the prefix of their attributes, and their type."""
    for module in model.modules():
        kinds = getattr(module, "rope_type", None)
        if not isinstance(module, nn.Module) or not isinstance(kinds, str | dict):
            continue
        by_layer = {f"{layer}_": kind for layer, kind in kinds.items()} if isinstance(kinds, dict) else {"": kinds}
        for prefix, kind in by_layer.items():
            if (DYNAMIC in kind or kind == LONGROPE) and hasattr(module, f"{prefix}original_inv_freq"):
                yield module, prefix, kind


def _original_length(module: Any, kind: str) -> int:
    if DYNAMIC in kind:
        return int(module.original_max_seq_len)
    parameters = module.config.rope_parameters
    if "original_max_position_embeddings" not in parameters:  # one set a kind of layer
        parameters = next(each for each in parameters.values() if each["rope_type"] == kind)
    return int(parameters["original_max_position_embeddings"])
