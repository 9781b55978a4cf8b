"""Slot decoder: a model over a KV cache of slots, as fast as the device runs it.

It reads prompts into slots and gives the logits of a step; which sequence is in which slot
is its user's business. On a GPU it is kept with the model, cache and captured graphs
included, because the next run wants the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from nbkit.engines import joining
from nbkit.engines.attention_masks import AttentionMasks
from nbkit.engines.captured_step import CapturedStep, Shape
from nbkit.engines.compiled_layers import with_compiled_layers
from nbkit.engines.grouped_attention import with_grouped_attention
from nbkit.engines.packed_linear import can_pack, packed_bytes, packed_copy
from nbkit.engines.quantized_linear import quantized_copy
from nbkit.engines.rounded_rows import is_rounding, rounded
from nbkit.engines.slot_cache import SlotCache
from nbkit.engines.warm_up import shapes_cost
from nbkit.files.machine import speaks_for_all
from nbkit.models import LoadedModel
from nbkit.models.memory import free_bytes
from nbkit.models.torch_private import compiler_errors


class SlotDecoder:
    """A model with ``slots`` places for sequences, each with a position of its own.

    Parameters
    ----------
    quantization : {"none", "int8", "int4"}
    slots : int
        Sequences at once.
    captures : bool
        Whether steps are captured, so that new shapes cost: on a GPU.
    """

    def __init__(self, loaded: LoadedModel, quantization: str, slots: int, captures: bool) -> None:
        self.name = _name(quantization)
        self.slots = slots
        self.captures = captures
        self._loaded = loaded
        self._quantization = quantization
        self._device = loaded.device
        self._model = prepared_model(loaded, quantization)
        self._cache_name = _cache_argument(self._model)
        self._masks = AttentionMasks(self._model, getattr(torch, loaded.dtype), loaded.device)
        self._cache = SlotCache(loaded.config.get_text_config().num_hidden_layers, slots)
        self._decoder = self._fused() if captures else self._model
        self._captured: CapturedStep | None = None

    @property
    def positions(self) -> int:
        """Positions that a slot has room for."""
        return self._cache.positions

    @property
    def bytes(self) -> int:
        """Of the cache; 0 before it is first written."""
        return self._cache.bytes

    def make_room(self, positions: int) -> None:
        """Have room for sequences of so many positions; what is in the slots stays."""
        positions = max(positions, self.prefill_width(positions))
        if positions > self._cache.positions:
            self._captured = None  # its graphs write where the cache was
            self._cache.grow(positions)

    def prefill_count(self, lengths: Sequence[int]) -> int:
        """How many of prompts of these lengths, the longest first, are read at once: at least 1."""
        width = self.prefill_width(lengths[0])
        return joining.prefill_count(len(lengths), width, self.captures, is_rounding())

    def prefill_width(self, length: int) -> int:
        """Positions in which prompts are read of which the longest has so many tokens."""
        width = joining.prefill_width(length, self.captures)
        return rounded(width) if is_rounding() and not self.captures else width

    def prefill_rows(self, count: int) -> int:
        """Rows in which so many prompts are read."""
        return joining.prefill_rows(count, self.captures)

    def prefill(self, prompts: Sequence[Sequence[int]], first_slot: int) -> None:
        """Write prompts, the longest first, but for their last tokens into slots from ``first_slot`` on."""
        width = self.prefill_width(len(prompts[0]))
        rows = [[*tokens[:-1], *[0] * (width - len(tokens) + 1)] for tokens in prompts]
        slots = list(range(first_slot, first_slot + len(prompts)))
        # A row too many is the last one again, written over with the same.
        again = self.prefill_rows(len(prompts)) - len(prompts)
        rows, slots = rows + rows[-1:] * again, slots + slots[-1:] * again
        self._cache.prefill_into(torch.tensor(slots, device=self._device))
        # No position beyond those of the longest prompt: the model may have no more, or compute otherwise there.
        positions = torch.arange(width, device=self._device).clamp(max=max(0, len(prompts[0]) - 2))
        # What pads a row on the right is after it, so that no token of the row attends to it.
        self._model.base_model(
            input_ids=torch.tensor(rows, device=self._device),
            position_ids=positions.expand(len(rows), -1),
            attention_mask=self._masks.of_prompts(width),
            use_cache=True,
            **{self._cache_name: self._cache.for_model},
        )

    def step(
        self, tokens: torch.Tensor, positions: torch.Tensor, length: int, most: int
    ) -> tuple[torch.Tensor, float]:
        """Logits (n, vocabulary) of a step, and the seconds that went into compiling or capturing it.

        Parameters
        ----------
        tokens, positions : torch.Tensor
            One token for each of the first n slots, and where it goes in the slot; both (n,).
        length : int
            Positions that are attended to: more than the largest of ``positions``.
        most : int
            The most sequences there will be.
        """
        if not self.captures:
            return self._forward(tokens, positions, length), 0.0
        try:
            return self._capture()(tokens, positions, length, most)
        except compiler_errors() as error:
            if self._decoder is self._model:
                raise
            _say(f"torch.compile does not work here, and steps take longer: {str(error).splitlines()[0]}")
            self._decoder = self._loaded.prepared[self._fused_name] = self._model
            return self._capture()(tokens, positions, length, most)

    def step_shapes(self, count: int, most: int, first: int, last: int) -> list[Shape]:
        """See ``CapturedStep.shapes``; none where steps are not captured."""
        return self._capture().shapes(count, most, first, last) if self.captures else []

    def has_captured(self, shape: Shape) -> bool:
        """Whether steps of a shape are captured."""
        return self._captured is not None and self._captured.has(shape)

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first ``length`` positions of a slot into another."""
        self._cache.move(source, target, length)

    def _capture(self) -> CapturedStep:
        if self._captured is None:
            self._captured = CapturedStep(self._forward, self._cache.positions, self._device)
        return self._captured

    def _forward(self, tokens: torch.Tensor, positions: torch.Tensor, length: int) -> torch.Tensor:
        """Logits (n, vocabulary) after one token (n,) for each of the first n slots, at its position (n,)."""
        self._cache.decode_at(positions, length)
        output = self._decoder(
            input_ids=tokens[:, None],
            position_ids=positions[:, None],
            attention_mask=self._masks.of_step(positions, length),
            use_cache=True,
            **{self._cache_name: self._cache.for_model},
        )
        return output.logits[:, -1]  # type: ignore[no-any-return]

    def _fused(self) -> Any:
        """The model for decode steps on a GPU; made once, for its layers are compiled when they are first called."""
        if self._fused_name not in self._loaded.prepared:
            _say("compiling the layers for decode steps, once: about 10 s")
            self._loaded.prepared[self._fused_name] = with_compiled_layers(self._model, self._cache_name)
        return self._loaded.prepared[self._fused_name]

    @property
    def _fused_name(self) -> str:
        return f"fused, {self._quantization}"


def kept_decoder(loaded: LoadedModel, quantization: str, slots: int) -> SlotDecoder:
    """The decoder that an earlier run has left, if it has as many slots; else a new one, kept where it captures."""
    name = _name(quantization)
    kept: SlotDecoder | None = loaded.spare.get(name)
    if kept is not None and kept.slots >= slots:
        return kept
    loaded.spare.pop(name, None)
    del kept  # its memory goes back before the next takes its own
    decoder = SlotDecoder(loaded, quantization, slots, captures=shapes_cost(loaded.device))
    if decoder.captures:
        loaded.spare[name] = decoder
    return decoder


def prepared_model(loaded: LoadedModel, quantization: str) -> Any:
    """The model as this engine computes with it: quantised, or packed where the processor gains by it; made once."""
    name = _prepared_name(quantization)
    if name not in loaded.prepared:
        model, dtype = with_grouped_attention(loaded.model), getattr(torch, loaded.dtype)
        if quantization != "none":
            if quantization == "int8" and loaded.device.type == "cuda":
                _say("int8 weights save memory on a GPU, not time: each is turned into the dtype for its product.")
            model = quantized_copy(model, quantization, loaded.device)
        elif can_pack(loaded.device, dtype):
            model = packed_copy(model, dtype, free_bytes(loaded.device) / loaded.sharing)
        loaded.prepared[name] = model
    return loaded.prepared[name]


def bytes_to_prepare(loaded: LoadedModel, quantization: str) -> int:
    """The most bytes that ``prepared_model`` is yet to take for weights that it packs."""
    dtype = getattr(torch, loaded.dtype)
    if quantization != "none" or _prepared_name(quantization) in loaded.prepared:
        return 0
    return packed_bytes(loaded.model, dtype) if can_pack(loaded.device, dtype) else 0


def _prepared_name(quantization: str) -> str:
    return f"compiled, {quantization}"


def _name(quantization: str) -> str:
    return f"slot decoder, {quantization}"


def _say(sentence: str) -> None:
    """Print on one of a job's ranks."""
    if speaks_for_all():
        print(sentence)


def _cache_argument(model: Any) -> str:
    """What the model's forward calls its cache: the name changed in transformers 5.20."""
    import inspect

    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
