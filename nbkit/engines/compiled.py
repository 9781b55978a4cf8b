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

from nbkit.engines.attention_masks import AttentionMasks, check_attention
from nbkit.engines.captured_step import CapturedStep
from nbkit.engines.compiled_layers import with_compiled_layers
from nbkit.engines.in_flight import Finished, Step
from nbkit.engines.packed_linear import PackedLinear, can_pack
from nbkit.engines.quantized_linear import quantized_copy
from nbkit.engines.sampling import NextTokens
from nbkit.engines.sequence_end import SequenceEnd
from nbkit.engines.shared_copy import with_linear_layers
from nbkit.engines.slot_cache import SlotCache
from nbkit.files.machine import speaks_for_all
from nbkit.models import LoadedModel
from nbkit.models.torch_private import compiler_errors
from nbkit.records.settings import Settings

PREFILL_POSITIONS = 4096
"""The most positions of one prefill: what it needs beside the cache stays small."""

LIKE_LENGTH = 0.75
"""Prompts join together that are at least this share of the longest one's length, so that little is padded."""


@dataclass(eq=False)
class _SlotSequence:
    """A sequence in a slot: ``position`` is where its last token goes in the cache."""

    index: int
    prompt: list[int]
    position: int
    last: int
    tokens: list[int] = field(default_factory=list)


class _Launched:
    """A step that has begun: of ``sequences`` (n) the tokens chosen (n,), at ``positions`` (n,); on the device."""

    def __init__(self, sequences: list[_SlotSequence], chosen: torch.Tensor, positions: torch.Tensor) -> None:
        self.sequences = sequences
        self.chosen = chosen
        self.positions = positions
        self._on_host = chosen.to("cpu", non_blocking=True)
        self._copied = torch.cuda.Event() if chosen.is_cuda else None  # type: ignore[no-untyped-call]
        if self._copied is not None:
            self._copied.record()

    def read(self) -> list[int]:
        """The tokens, as soon as they are there: a step launched since is not waited for."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._on_host.tolist()


class CompiledPool:
    """Sequences decoded side by side by the kit's own loop; see ``SequencePool``.

    Raises
    ------
    InputError
        The model's layers keep something else than keys and values of all positions.
    """

    joins_cheaply = False

    def __init__(self, settings: Settings, loaded: LoadedModel, capacity: int, chooser: NextTokens) -> None:
        check_attention(loaded)
        self._settings = settings
        self._device = loaded.device
        self._model = prepared_model(loaded, settings.quantization)
        self._loaded = loaded
        self._dtype = getattr(torch, loaded.dtype)
        config = loaded.config.get_text_config()
        self._layers = config.num_hidden_layers
        self._masks = AttentionMasks(self._model, self._dtype, loaded.device)
        self._cache_name = _cache_argument(self._model)
        self._is_on_gpu = loaded.device.type == "cuda"
        self._looks_ahead = self._is_on_gpu and not chooser.looks_back
        self._decoder = self._fused() if self._is_on_gpu else self._model
        self._chooser = chooser
        self._end = SequenceEnd(settings, loaded)
        self._joining: list[tuple[int, list[int]]] = []
        self._active: list[_SlotSequence] = []
        self._cache: SlotCache | None = None
        self._captured: CapturedStep | None = None
        self._ahead: _Launched | None = None
        self._compile_s = 0.0
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
        self._ahead = None
        # Its memory goes with it: the pool may be aborted because there is none left.
        self._cache = None
        self._captured = None

    @torch.inference_mode()
    def step(self) -> Step:
        """Fill slots with prompts that wait to join, else decode one token for each sequence."""
        if self._joining and self._ahead is None:
            self._prefill()
            return Step([], [], is_prefill=True)
        return self._decode()

    def _prefill(self) -> None:
        """Write the prompts, but for their last tokens, into free slots; those go into the first decode step."""
        self._joining.sort(key=lambda waiting: -len(waiting[1]))
        joining = self._joining[: _count_of_like_length([len(tokens) for _, tokens in self._joining])]
        cache = self._cache_for(len(joining[0][1]) + self._settings.max_new_tokens)
        # A prompt of one token, too, has a position written, over which that token goes: the cache is there then.
        width = max(1, len(joining[0][1]) - 1)
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
        self._active += [_SlotSequence(index, tokens, len(tokens) - 1, tokens[-1]) for index, tokens in joining]
        del self._joining[: len(joining)]

    def _decode(self) -> Step:
        launched = self._ahead or self._launch_from_host()
        self._ahead = self._launch_after(launched) if self._looks_ahead else None
        chosen = launched.read()
        current = set(map(id, self._active))
        first, discarded = [], 0
        for sequence, token in zip(launched.sequences, chosen, strict=True):
            if id(sequence) not in current:  # it had ended when this step was launched
                discarded += 1
                continue
            if not sequence.tokens:
                first.append(sequence.index)
            sequence.position += 1
            sequence.last = token
            sequence.tokens.append(token)
        compile_s, self._compile_s = self._compile_s, 0.0
        return Step(self._take_out_finished(), first, compile_s=compile_s, discarded=discarded)

    def _launch_from_host(self) -> _Launched:
        """Begin a step for the sequences under way."""
        active = self._active
        tokens = torch.tensor([sequence.last for sequence in active], device=self._device)
        positions = torch.tensor([sequence.position for sequence in active], device=self._device)
        return self._launch(tokens, positions, new=0)

    def _launch_after(self, launched: _Launched) -> _Launched | None:
        """Begin the step after one whose tokens are not read yet: the GPU goes on while the host looks at them.

        None where that is not of use: others are under way by now, or one ends with the token to be read.
        """
        active, most = self._active, self._settings.max_new_tokens
        if self._joining or active != launched.sequences or any(len(s.tokens) + 1 >= most for s in active):
            return None
        return self._launch(launched.chosen, launched.positions + 1, new=1)

    def _launch(self, tokens: torch.Tensor, positions: torch.Tensor, new: int) -> _Launched:
        """A step for tokens (n,) at positions (n,) of the cache; each sequence has ``new`` tokens not read yet."""
        active = list(self._active)
        length = max(sequence.position for sequence in active) + 1 + new
        if self._is_on_gpu:
            logits = self._replay(tokens, positions, length)
        else:
            logits = self._forward(tokens, positions, length)
        return _Launched(active, self._chooser.choose(logits, active, ahead=new), positions)

    def _forward(self, tokens: torch.Tensor, positions: torch.Tensor, length: int) -> torch.Tensor:
        """Logits (n, vocabulary) after one token (n,) for each of the first n slots, at its position (n,)."""
        assert self._cache is not None
        self._cache.decode_at(positions, length)
        output = self._decoder(
            input_ids=tokens[:, None],
            position_ids=positions[:, None],
            attention_mask=self._masks.of_step(positions, length),
            use_cache=True,
            **{self._cache_name: self._cache.for_model},
        )
        return output.logits[:, -1]  # type: ignore[no-any-return]

    def _replay(self, tokens: torch.Tensor, positions: torch.Tensor, length: int) -> torch.Tensor:
        assert self._cache is not None
        if self._captured is None:
            self._captured = CapturedStep(self._forward, self._cache.slots, self._cache.positions, self._device)
        try:
            logits, compile_s = self._captured(tokens, positions, length)
        except compiler_errors() as error:
            if self._decoder is self._model:
                raise
            _say(f"torch.compile does not work here, and steps take longer: {str(error).splitlines()[0]}")
            self._decoder = self._loaded.prepared[self._fused_name] = self._model
            logits, compile_s = self._captured(tokens, positions, length)
        self._compile_s += compile_s
        return logits

    def _fused(self) -> Any:
        """The model for decode steps on a GPU; made once, for its layers are compiled when they are first called."""
        if self._fused_name not in self._loaded.prepared:
            _say("compiling the layers for decode steps, once: about 10 s")
            self._loaded.prepared[self._fused_name] = with_compiled_layers(self._model, self._cache_name)
        return self._loaded.prepared[self._fused_name]

    @property
    def _fused_name(self) -> str:
        return f"fused, {self._settings.quantization}"

    def _take_out_finished(self) -> list[Finished]:
        """Free the slots of sequences that have ended; the last ones move into them: no step computes a gap."""
        finished = []
        for slot in reversed(range(len(self._active))):
            sequence = self._active[slot]
            reason = self._end.reason(sequence.tokens)
            if reason is None:
                continue
            finished.append(Finished(sequence.index, sequence.tokens, reason))
            self._chooser.forget(sequence.index)
            last = self._active.pop()
            if last is not sequence:
                assert self._cache is not None
                # One position more than it has: the step ahead may have written that.
                self._cache.move(len(self._active), slot, last.position + 1)
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


def _say(sentence: str) -> None:
    """Print on one of a job's ranks."""
    if speaks_for_all():
        print(sentence)


def _count_of_like_length(lengths: list[int]) -> int:
    """How many of these prompts, the longest first, go into one prefill: at least one."""
    longest = lengths[0]
    count = sum(length >= LIKE_LENGTH * longest for length in lengths)
    return max(1, min(count, PREFILL_POSITIONS // longest))


def _cache_argument(model: Any) -> str:
    """What the model's forward calls its cache: the name changed in transformers 5.20."""
    import inspect

    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
