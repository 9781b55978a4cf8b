"""Compiled: the kit's own decoding loop over a static KV cache.

Every step decodes one token for each sequence under way. Prompts join by filling a free
slot of the cache; every new token, the first too, comes from a decode step. On a GPU a
step is captured once per shape as a CUDA graph and replayed, because launching its
thousands of kernels one by one takes longer than running them. On a CPU the weights are
packed for the matrix library, because there the products are what takes long.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from nbkit.engines.attention_kinds import FULL, SLIDING, check_attention
from nbkit.engines.captured_step import CapturedStep
from nbkit.engines.in_flight import Finished, Step
from nbkit.engines.packed_linear import PackedLinear, can_pack, with_linear_layers
from nbkit.engines.quantized_linear import quantized_copy
from nbkit.engines.sampling import Sampler
from nbkit.engines.sequence_end import SequenceEnd
from nbkit.engines.slot_cache import SlotCache
from nbkit.models import LoadedModel
from nbkit.settings import Settings

PREFILL_POSITIONS = 4096
"""The most positions of one prefill: what it needs beside the cache stays small."""

LIKE_LENGTH = 0.75
"""Prompts join together that are at least this share of the longest one's length, so that little is padded."""


@dataclass
class _Sequence:
    """A sequence in a slot: ``position`` is where its last token goes in the cache."""

    index: int
    position: int
    last: int
    tokens: list[int] = field(default_factory=list)


class CompiledPool:
    """Sequences decoded side by side by the kit's own loop; see ``SequencePool``.

    Raises
    ------
    InputError
        The model's layers keep something else than keys and values of all positions.
    """

    joins_cheaply = False

    def __init__(self, settings: Settings, loaded: LoadedModel, capacity: int) -> None:
        check_attention("compiled", loaded)
        self._settings = settings
        self._device = loaded.device
        self._model = prepared_model(loaded, settings.quantization)
        self._dtype = getattr(torch, loaded.dtype)
        config = loaded.config.get_text_config()
        self._layers = config.num_hidden_layers
        self._masks = _Masks(config, self._dtype, loaded.device)
        self._cache_name = _cache_argument(self._model)
        self._sampler = Sampler(settings)
        self._end = SequenceEnd(settings, loaded)
        self._joining: list[tuple[int, list[int]]] = []
        self._active: list[_Sequence] = []
        self._cache: SlotCache | None = None
        self._captured: CapturedStep | None = None
        self.capacity = capacity

    @property
    def new_tokens(self) -> int:
        return sum(len(sequence.tokens) for sequence in self._active)

    def add(self, index: int, tokens: list[int]) -> None:
        self._joining.append((index, tokens))

    def under_way(self, most: int) -> list[tuple[int, list[int]]]:
        return [(sequence.index, sequence.tokens) for sequence in self._active[:most]]

    def abort(self) -> None:
        self._joining.clear()
        self._active.clear()
        # Its memory goes with it: the pool may be aborted because there is none left.
        self._cache = None
        self._captured = None

    @torch.inference_mode()
    def step(self) -> Step:
        """Fill slots with prompts that wait to join, else decode one token for each sequence."""
        if self._joining:
            self._prefill()
            return Step([], [], is_prefill=True)
        return self._decode()

    def _prefill(self) -> None:
        """Write the prompts, but for their last tokens, into free slots; those go into the first decode step."""
        self._joining.sort(key=lambda waiting: -len(waiting[1]))
        joining = self._joining[: _count_of_like_length([len(tokens) for _, tokens in self._joining])]
        cache = self._cache_for(len(joining[0][1]) + self._settings.max_new_tokens)
        width = len(joining[0][1]) - 1
        if width:
            rows = [tokens[:-1] + [0] * (width - len(tokens) + 1) for _, tokens in joining]
            slots = range(len(self._active), len(self._active) + len(joining))
            cache.prefill_into(torch.tensor(slots, device=self._device))
            positions = torch.arange(width, device=self._device)
            # What pads a row on the right is after it, so that no token of the row attends to it.
            self._model.base_model(
                input_ids=torch.tensor(rows, device=self._device),
                position_ids=positions.expand(len(rows), -1),
                attention_mask=self._masks.of_prompts(width),
                use_cache=True,
                **{self._cache_name: cache.for_model},
            )
        self._active += [_Sequence(index, len(tokens) - 1, tokens[-1]) for index, tokens in joining]
        del self._joining[: len(joining)]

    def _decode(self) -> Step:
        active = self._active
        tokens = torch.tensor([sequence.last for sequence in active], device=self._device)
        positions = torch.tensor([sequence.position for sequence in active], device=self._device)
        length = max(sequence.position for sequence in active) + 1
        if self._device.type == "cuda":
            logits, compile_s = self._replay(tokens, positions, length)
        else:
            logits, compile_s = self._forward(tokens, positions, length), 0.0
        chosen = self._sampler.choose(logits, [s.index for s in active], [len(s.tokens) for s in active])
        first = [sequence.index for sequence in active if not sequence.tokens]
        for sequence, token in zip(active, chosen.tolist(), strict=True):
            sequence.position += 1
            sequence.last = token
            sequence.tokens.append(token)
        return Step(self._take_out_finished(), first, compile_s=compile_s)

    def _forward(self, tokens: torch.Tensor, positions: torch.Tensor, length: int) -> torch.Tensor:
        """Logits (n, vocabulary) after one token (n,) for each of the first n slots, at its position (n,)."""
        assert self._cache is not None
        self._cache.decode_at(positions, length)
        output = self._model(
            input_ids=tokens[:, None],
            position_ids=positions[:, None],
            attention_mask=self._masks.of_step(positions, length),
            use_cache=True,
            **{self._cache_name: self._cache.for_model},
        )
        return output.logits[:, -1]  # type: ignore[no-any-return]

    def _replay(self, tokens: torch.Tensor, positions: torch.Tensor, length: int) -> tuple[torch.Tensor, float]:
        assert self._cache is not None
        if self._captured is None:
            self._captured = CapturedStep(self._forward, self._cache.slots, self._cache.positions, self._device)
        return self._captured(tokens, positions, length)

    def _take_out_finished(self) -> list[Finished]:
        """Free the slots of sequences that have ended; the last ones move into them: no step computes a gap."""
        finished = []
        for slot in reversed(range(len(self._active))):
            sequence = self._active[slot]
            reason = self._end.reason(sequence.tokens)
            if reason is None:
                continue
            finished.append(Finished(sequence.index, sequence.tokens, reason))
            self._sampler.forget(sequence.index)
            last = self._active.pop()
            if last is not sequence:
                assert self._cache is not None
                self._cache.move(len(self._active), slot, last.position)
                self._active[slot] = last
        return finished

    def _cache_for(self, positions: int) -> SlotCache:
        """The cache, with room for sequences of so many positions."""
        if self._cache is None:
            self._cache = SlotCache(self._layers, self.capacity)
        if positions > self._cache.positions:
            self._cache.grow(positions)
            self._captured = None
        return self._cache


class _Masks:
    """What each token may attend to, as numbers that are added to the scores: 0 or minus infinity.

    A bool mask would be turned into such numbers in every layer anew.
    """

    def __init__(self, config: Any, dtype: torch.dtype, device: torch.device) -> None:
        self._window: int | None = getattr(config, "sliding_window", None)
        self._by_layer = getattr(config, "layer_types", None) is not None and SLIDING in config.layer_types
        self._dtype = dtype
        self._device = device

    def of_prompts(self, width: int) -> Any:
        """For prompts of ``width`` tokens, shape (1, 1, width, width); None where plain causal attention will do."""
        if self._window is None or width <= self._window:
            return {FULL: None, SLIDING: None} if self._by_layer else None
        return self._masks(torch.arange(width, device=self._device)[None, :, None], width)

    def of_step(self, positions: torch.Tensor, length: int) -> Any:
        """For one token of each sequence, at ``positions`` (n,), shape (n, 1, 1, length)."""
        return self._masks(positions[:, None, None], length)

    def _masks(self, queries: torch.Tensor, length: int) -> Any:
        keys = torch.arange(length, device=self._device)
        causal = keys <= queries
        if self._window is None:
            return self._added(causal)
        sliding = self._added(causal & (keys > queries - self._window))
        return {FULL: self._added(causal), SLIDING: sliding} if self._by_layer else sliding

    def _added(self, may_attend: torch.Tensor) -> torch.Tensor:
        added = torch.zeros(may_attend.shape, dtype=self._dtype, device=self._device)
        return added.masked_fill_(~may_attend, -torch.inf)[:, None]


def prepared_model(loaded: LoadedModel, quantization: str) -> Any:
    """The model as this engine computes with it: quantised, or packed where the processor gains by it; made once."""
    name = f"compiled, {quantization}"
    if name not in loaded.prepared:
        model = loaded.model
        if quantization != "none":
            model = quantized_copy(model, quantization, loaded.device)
        elif can_pack(loaded.device, getattr(torch, loaded.dtype)):
            model = with_linear_layers(model, PackedLinear)
        loaded.prepared[name] = model
    return loaded.prepared[name]


def _count_of_like_length(lengths: list[int]) -> int:
    """How many of these prompts, the longest first, go into one prefill: at least one."""
    longest = lengths[0]
    count = sum(length >= LIKE_LENGTH * longest for length in lengths)
    return max(1, min(count, PREFILL_POSITIONS // longest))


def _cache_argument(model: Any) -> str:
    """What the model's forward calls its cache: the name changed in transformers 5.20."""
    import inspect

    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
