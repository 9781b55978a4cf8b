"""Compiled: the kit's own decoding loop over a static KV cache.

Every step decodes one token for each sequence under way. Prompts join by filling a free
slot of the cache; every new token, the first too, comes from a decode step. How a step is
computed, ``slot_decoder`` knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from nbkit.engines.attention_masks import check_attention
from nbkit.engines.joining import of_like_length
from nbkit.engines.memory import may_keep
from nbkit.engines.sampling import NextTokens
from nbkit.engines.sequence_end import SequenceEnd
from nbkit.engines.sequence_pool import Finished, Step
from nbkit.engines.slot_decoder import SlotDecoder, kept_decoder
from nbkit.engines.warm_up import ANY_TOKEN, Preparation
from nbkit.models import LoadedModel
from nbkit.records import StepWork
from nbkit.records.settings import Settings

MOST_PREPARED = 64
"""Shapes of a prefill, and as many of a step, that are prepared before a run: the likeliest ones."""


@dataclass(eq=False)
class _SlotSequence:
    """A sequence in a slot: ``position`` is where its last token goes in the cache."""

    index: int
    prompt: list[int]
    position: int
    last: int
    tokens: list[int] = field(default_factory=list)


class _Launched:
    """A step that has begun: of ``sequences`` (n) the tokens chosen (n,), at ``positions`` (n,); on the device.

    ``length`` positions are attended to for each.
    """

    def __init__(
        self, sequences: list[_SlotSequence], chosen: torch.Tensor, positions: torch.Tensor, length: int
    ) -> None:
        self.sequences = sequences
        self.length = length
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
        self._loaded = loaded
        self._looks_ahead = loaded.device.type == "cuda" and not chooser.looks_back
        self._chooser = chooser
        self._end = SequenceEnd(settings, loaded)
        self._joining: list[tuple[int, list[int]]] = []
        self._active: list[_SlotSequence] = []
        self._ahead: _Launched | None = None
        self._compile_s = 0.0
        self._kept: SlotDecoder | None = kept_decoder(loaded, settings.quantization, capacity)
        self.capacity = capacity

    @property
    def new_tokens(self) -> int:
        return sum(len(sequence.tokens) for sequence in self._active)

    @property
    def cache_positions(self) -> int:
        return 0 if self._kept is None else self._kept.slots * self._kept.positions

    def add(self, index: int, tokens: list[int]) -> None:
        self._joining.append((index, tokens))

    def under_way(self, most: int) -> list[tuple[int, list[int]]]:
        return [(sequence.index, sequence.tokens) for sequence in self._active[:most]]

    def abort(self) -> None:
        self._joining.clear()
        self._active.clear()
        self._ahead = None
        if self._kept is not None and not may_keep(self._kept.bytes, self._loaded):
            self._loaded.spare.pop(self._kept.name, None)

    def give_up_memory(self) -> None:
        self._kept = None

    def preparations(self, lengths: Sequence[int]) -> list[Preparation]:
        if not self._decoder.captures:
            return []
        self._decoder.make_room(max(lengths) + self._settings.max_new_tokens)
        return [*self._prefills(lengths), *self._steps(lengths)]

    def _prefills(self, lengths: Sequence[int]) -> list[Preparation]:
        """Of every width that prompts of these lengths have, in as many rows as may come."""
        longest = {self._decoder.prefill_width(length): length for length in sorted(lengths)}
        shapes = {}
        for width, length in sorted(longest.items(), reverse=True):
            most = self._decoder.prefill_count([length] * min(self.capacity, len(lengths)))
            for rows in {self._decoder.prefill_rows(count) for count in range(1, most + 1)}:
                shapes[min(rows, most), width] = length
        return [
            Preparation(
                ("prefill", self._settings.quantization, rows, width),
                self._words,
                lambda rows=rows, length=length: self._try_prefill(rows, length),  # type: ignore[misc]
            )
            for (rows, width), length in list(shapes.items())[:MOST_PREPARED]
        ]

    def _steps(self, lengths: Sequence[int]) -> list[Preparation]:
        """Of every number of sequences that there may be, at every length that they may have."""
        count = min(self.capacity, len(lengths))
        last = max(lengths) + self._settings.max_new_tokens - 1
        shapes = self._decoder.step_shapes(count, self.capacity, min(lengths), last)
        new = [shape for shape in shapes[:MOST_PREPARED] if not self._decoder.has_captured(shape)]
        return [
            Preparation(None, self._words, lambda shape=shape: self._try_step(*shape))  # type: ignore[misc]
            for shape in new
        ]

    @property
    def _words(self) -> str:
        return f"batches of up to {self.capacity}"

    @torch.inference_mode()
    def _try_prefill(self, rows: int, length: int) -> None:
        self._decoder.prefill([[ANY_TOKEN] * length] * rows, first_slot=0)

    @torch.inference_mode()
    def _try_step(self, rows: int, length: int) -> None:
        tokens = torch.full((rows,), ANY_TOKEN, device=self._device)
        logits, _ = self._decoder.step(tokens, torch.zeros_like(tokens), length, self.capacity)
        logits.max(-1).indices.cpu()

    @torch.inference_mode()
    def step(self) -> Step:
        """Fill slots with prompts that wait to join, else decode one token for each sequence."""
        if self._joining and self._ahead is None:
            return self._prefill()
        return self._decode()

    @property
    def _decoder(self) -> SlotDecoder:
        if self._kept is None:
            self._kept = kept_decoder(self._loaded, self._settings.quantization, self.capacity)
        return self._kept

    def _prefill(self) -> Step:
        """Write the prompts, but for their last tokens, into free slots; those go into the first decode step."""
        self._joining.sort(key=lambda waiting: -len(waiting[1]))
        lengths = [len(tokens) for _, tokens in self._joining]
        count = self._decoder.prefill_count(lengths[: of_like_length(lengths, self._decoder.captures)])
        joining = self._joining[:count]
        self._decoder.make_room(lengths[0] + self._settings.max_new_tokens)
        self._decoder.prefill([tokens for _, tokens in joining], first_slot=len(self._active))
        self._active += [_SlotSequence(index, tokens, len(tokens) - 1, tokens[-1]) for index, tokens in joining]
        del self._joining[: len(joining)]
        if self._device.type == "cuda":
            # The next step would wait for it as soon as it copies its tokens there, and be taken for slow.
            torch.cuda.synchronize(self._device)
        rows, width = self._decoder.prefill_rows(count), self._decoder.prefill_width(lengths[0])
        read, work = [index for index, _ in joining], StepWork.of_prefill(count, rows, width)
        return Step([], [], is_prefill=True, read=read, width=width, work=work)

    def _decode(self) -> Step:
        launched = self._ahead or self._launch_from_host()
        self._ahead = self._launch_after(launched) if self._looks_ahead else None
        chosen = launched.read()
        current = set(map(id, self._active))
        new, discarded = [], 0
        for sequence, token in zip(launched.sequences, chosen, strict=True):
            if id(sequence) not in current:  # it had ended when this step was launched
                discarded += 1
                continue
            sequence.position += 1
            sequence.last = token
            sequence.tokens.append(token)
            new.append(sequence.index)
        compile_s, self._compile_s = self._compile_s, 0.0
        work = StepWork.of_decode(len(launched.sequences), launched.length)
        return Step(self._take_out_finished(), new, compile_s=compile_s, discarded=discarded, work=work)

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
        logits, compile_s = self._decoder.step(tokens, positions, length, self.capacity)
        self._compile_s += compile_s
        return _Launched(active, self._chooser.choose(logits, active, ahead=new), positions, length)

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
                # One position more than it has: the step ahead may have written that.
                self._decoder.move(len(self._active), slot, last.position + 1)
                self._active[slot] = last
        return finished
