"""Continuous: transformers' own continuous batching, driven step by step.

transformers schedules, keeps keys and values in pages and picks the likeliest token.
Its manager would do so in a thread; here that thread is never started, and ``step`` does
what it does in one round, so that an error or a cancel comes within a step.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
import transformers
from transformers import ContinuousBatchingConfig, GenerationConfig, LogitsProcessorList
from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available

from nbkit.engines import transformers_private
from nbkit.engines.attention_masks import check_attention
from nbkit.engines.memory import may_keep
from nbkit.engines.sampling import NextTokens
from nbkit.engines.sequence_end import SequenceEnd
from nbkit.engines.sequence_pool import Finished, Step
from nbkit.engines.shared_copy import shared_copy
from nbkit.engines.warm_up import Preparation
from nbkit.errors import InputError
from nbkit.models import LoadedModel
from nbkit.models.memory import kv_bytes_of_config
from nbkit.records.settings import Settings

PREFILL_TOKENS, FLASH_PREFILL_TOKENS = 256, 4096
"""Prompt tokens of one step. Without flash attention a step's cost grows with them times all positions read."""

PAGE_POSITIONS, FLASH_PAGE_POSITIONS = 32, 256
"""Positions of a page of the cache; flash attention's kernels take multiples of 256."""

GROWTH = 1.5
"""When a longer prompt needs a new cache, it gets this many times the positions: making one takes half a second."""

OLDEST = (5, 17)
"""The oldest transformers tried that does it right: 5.10 gets sliding windows wrong, and shows draws other logits."""

KEPT = "continuous batching"

NO_EOS = -1
"""What transformers takes for 'no end-of-sequence token'; None would mean the generation config's."""

_OPTIONS = {option.name for option in dataclasses.fields(ContinuousBatchingConfig)}
"""They differ between transformers 5.17 and 5.24."""


@dataclass
class _PagedSequence:
    """A sequence under way: ``carried`` of its new tokens came before the cache was last made anew."""

    index: int
    prompt: list[int]
    tokens: list[int] = field(default_factory=list)
    carried: list[int] = field(default_factory=list)


class ContinuousPool:
    """Sequences decoded side by side by transformers' continuous batching; see ``SequencePool``.

    Raises
    ------
    InputError
        transformers is too old, or the model's layers keep something else than keys and values of
        positions, or cap their scores.
    """

    joins_cheaply = True

    def __init__(self, settings: Settings, loaded: LoadedModel, capacity: int, chooser: NextTokens) -> None:
        _check_version(transformers.__version__)
        check_attention(loaded)
        _check_scores(loaded)
        self._settings = settings
        self._loaded = loaded
        self._model = _paged_model(loaded)
        self._chooser = chooser
        self._end = SequenceEnd(settings, loaded)
        self._sequences: dict[int, _PagedSequence] = {}
        self._joining: list[_PagedSequence] = []
        self._batching: _Batching | None = None
        self.capacity = capacity

    @property
    def new_tokens(self) -> int:
        return sum(len(sequence.tokens) for sequence in self._sequences.values())

    def add(self, index: int, tokens: list[int]) -> None:
        sequence = _PagedSequence(index, tokens)
        self._sequences[index] = sequence
        self._joining.append(sequence)

    def under_way(self, most: int) -> list[tuple[int, list[int]]]:
        return [(sequence.index, sequence.tokens) for sequence in islice(self._sequences.values(), most)]

    @property
    def cache_positions(self) -> int:
        return 0 if self._batching is None else self._batching.sequences * self._batching.positions

    def preparations(self, lengths: Sequence[int]) -> list[Preparation]:
        return []

    def abort(self) -> None:
        self._joining.clear()
        if self._batching is not None and self._sequences:
            self._batching.cancel_all(self._sequences)
        self._sequences.clear()

    def give_up_memory(self) -> None:
        self._batching = None

    @torch.inference_mode()
    def step(self) -> Step:
        """One token for each sequence; a prompt may need several steps before its first."""
        compile_s = self._let_join()
        assert self._batching is not None
        is_prefill = any(not sequence.tokens for sequence in self._sequences.values())
        finished, came = [], []
        for index, new, is_over in self._batching.step():
            sequence = self._sequences[index]
            before = len(sequence.tokens)
            sequence.tokens = sequence.carried + new
            came += [index] * (len(sequence.tokens) - before)
            reason = self._end.reason(sequence.tokens)
            if reason is None:
                continue
            if not is_over:
                self._batching.cancel(index)
            finished.append(Finished(index, sequence.tokens, reason))
            self._chooser.forget(index)
            del self._sequences[index]
        return Step(finished, came, is_prefill=is_prefill, compile_s=compile_s)

    def _let_join(self) -> float:
        """Hand on the prompts that wait; seconds that went into compiling or capturing."""
        if not self._joining:
            return 0.0
        compile_s = 0.0
        positions = max(len(sequence.prompt) for sequence in self._joining) + self._settings.max_new_tokens
        if self._batching is None:
            self._batching = self._kept_batching()
        if self._batching is None or positions > self._batching.positions:
            if self._batching is not None:
                positions = max(positions, int(GROWTH * self._batching.positions))
            # Gone before the next is made: there may not be memory for both.
            self._batching = None
            self._loaded.spare.pop(KEPT, None)
            self._batching = self._new_batching(positions)
            compile_s = self._batching.warm_up()
            self._joining = list(self._sequences.values())
        for sequence in self._joining:
            sequence.carried = sequence.tokens
            self._batching.add(sequence.index, sequence.prompt, sequence.tokens)
        self._joining = []
        return compile_s

    def _kept_batching(self) -> _Batching | None:
        """What an earlier run has left, where it is of use: draws are bound to the run that they are for."""
        kept: _Batching | None = self._loaded.spare.get(KEPT)
        if kept is None or kept.sequences != self.capacity or not self._chooser.is_plain:
            return None
        kept.ask(self._settings, self._loaded)
        return kept

    def _new_batching(self, positions: int) -> _Batching:
        draws = None if self._chooser.is_plain else _Draws(self._chooser, self._sequences)
        batching = _Batching(self._model, self._settings, self._loaded, self.capacity, positions, draws)
        if draws is None and may_keep(batching.bytes, self._loaded):
            self._loaded.spare[KEPT] = batching
        return batching


class _Batching:
    """transformers' manager with a cache for so many sequences of so many positions each."""

    def __init__(
        self,
        model: Any,
        settings: Settings,
        loaded: LoadedModel,
        sequences: int,
        positions: int,
        draws: _Draws | None,
    ) -> None:
        self.positions, self.sequences = positions, sequences
        self.bytes = sequences * positions * kv_bytes_of_config(loaded.config.get_text_config(), loaded.dtype)
        self._model = model
        self.ask(settings, loaded)
        config = _config(model, sequences, positions, is_plain=draws is None)
        on_gpu = [loaded.device] if loaded.device.type == "cuda" else []
        # It sets torch's seed for the whole process.
        with torch.random.fork_rng(on_gpu):
            self._manager = model.init_continuous_batching(
                # Its own, so that nothing in the model's changes what is generated.
                GenerationConfig(do_sample=False, eos_token_id=self._eos, max_new_tokens=self._most),
                config,
            )
            self._processor = transformers_private.batch_processor(self._manager, draws)

    def ask(self, settings: Settings, loaded: LoadedModel) -> None:
        """What sequences that join from now on are asked for."""
        self._most = settings.max_new_tokens
        self._eos = NO_EOS if settings.ignore_eos else list(loaded.eos_token_ids) or NO_EOS

    def warm_up(self) -> float:
        """Capture CUDA graphs, where there are any; the seconds it took."""
        began_s = time.perf_counter()
        self._processor.warmup(self._model)
        return time.perf_counter() - began_s

    def add(self, index: int, prompt: list[int], tokens: list[int]) -> None:
        """Let a sequence join that has these new tokens already."""
        self._manager.add_request(
            prompt + tokens,
            request_id=str(index),
            max_new_tokens=self._most - len(tokens),
            streaming=True,
            eos_token_id=self._eos,
        )

    def cancel(self, index: int) -> None:
        """Free a sequence's pages at the next step."""
        self._manager.cancel_request(str(index))

    def cancel_all(self, indices: Iterable[int]) -> None:
        """Free the pages of these sequences now."""
        for index in indices:
            self.cancel(index)
        transformers_private.step(self._processor, self._model)
        list(transformers_private.new_outputs(self._manager))

    def step(self) -> Iterator[tuple[int, list[int], bool]]:
        """One step. Of each that got a token: its index, its new tokens since it joined here, whether it is over."""
        if not transformers_private.step(self._processor, self._model):
            raise RuntimeError("transformers' continuous batching scheduled none of the sequences under way.")
        for output in transformers_private.new_outputs(self._manager):
            if output.error is not None:
                raise RuntimeError(f"transformers' continuous batching failed on a prompt: {output.error}")
            yield int(output.request_id), output.generated_tokens, output.is_finished()


class _Draws(transformers_private.continuous_logits_processors()):  # type: ignore[misc]
    """Gives continuous batching the choice of a ``NextTokens``: every other token's logit is minus infinity."""

    def __init__(self, chooser: NextTokens, sequences: Mapping[int, _PagedSequence]) -> None:
        super().__init__(LogitsProcessorList())
        self.do_processing = True
        self._chooser = chooser
        self._sequences = sequences
        self._rows: list[int] = []

    def prepare_tensor_args(self, requests_in_batch: list[Any], arg_storage: torch.Tensor) -> torch.Tensor:
        """Called before each step: remember whose logits will be in which row."""
        self._rows = [int(request.state.request_id) for request in requests_in_batch if request.has_new_token]
        return arg_storage

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, *_: Any) -> torch.Tensor:
        # Rows after these belong to prompts that are not through yet; what they yield is not read.
        rows = len(self._rows)
        if rows == 0:
            return scores
        chosen = self._chooser.choose(scores[:rows], [self._sequences[index] for index in self._rows])
        scores[:rows] = -torch.inf
        scores[:rows].scatter_(-1, chosen[:, None], 0.0)
        return scores


def _config(model: Any, sequences: int, positions: int, is_plain: bool) -> ContinuousBatchingConfig:
    """What transformers' manager is told: memory for these sequences, instead of all that is free."""
    is_flash = "flash" in model.config._attn_implementation
    page = FLASH_PAGE_POSITIONS if is_flash else PAGE_POSITIONS
    # One more than a sequence fills: layers with a sliding window take pages in other numbers.
    pages = -(-positions // page) + 1
    options = {
        "page_size" if "page_size" in _OPTIONS else "block_size": page,
        "num_blocks": sequences * pages,
        "max_batch_tokens": sequences + (FLASH_PREFILL_TOKENS if is_flash else PREFILL_TOKENS),
        "max_requests_per_batch": sequences,
        "max_blocks_per_request": pages if is_flash else 0,
        "safety_margin": 0.0,  # there is room for all
        "allow_block_sharing": False,
        # It would hand out a step's tokens after the next has begun.
        "use_async_batching": False,
        # What is not plain is decided on the host, which a graph cannot hold. Without one a step takes 70 ms
        # on an H100 whatever the batch; transformers by itself captures none without flash attention.
        "use_cuda_graph": is_plain and model.device.type == "cuda",
        # Of use with tensor parallelism only, and it sets an environment variable.
        "disable_nccl_graph_mixing": False,
        "auto_switch_to_flash": False,
    }
    return ContinuousBatchingConfig(**{name: value for name, value in options.items() if name in _OPTIONS})


def _paged_model(loaded: LoadedModel) -> Any:
    """A shared copy of the model, with the attention that continuous batching needs; made once."""
    if "continuous" not in loaded.prepared:
        paged = shared_copy(loaded.model)
        usual = transformers_private.attention_of(paged)
        attention = _flash_attention(loaded) or usual
        # Where there is no such option, transformers would look for flash attention on the hub, but for this name.
        if attention == "eager" or "auto_switch_to_flash" not in _OPTIONS:
            attention = f"paged|{attention}"
        if attention != usual:
            paged.set_attn_implementation(attention)
        loaded.prepared["continuous"] = paged
    return loaded.prepared["continuous"]


def _flash_attention(loaded: LoadedModel) -> str | None:
    """The flash attention that is installed and can be used."""
    is_for_it = loaded.device.type == "cuda" and loaded.dtype != "float32"
    if not (is_for_it and transformers_private.takes_flash_attention(loaded.model)):
        return None
    if is_flash_attn_3_available():
        return "flash_attention_3"
    return "flash_attention_2" if is_flash_attn_2_available() else None


def _check_scores(loaded: LoadedModel) -> None:
    # In bfloat16 a proof may take for rounding what this changes.
    if getattr(loaded.config.get_text_config(), "attn_logit_softcapping", None) is not None:
        raise InputError("transformers' paged attention does not cap scores, as attn_logit_softcapping asks.")


def _check_version(version: str) -> None:
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        raise InputError(
            f"engine 'continuous' needs transformers {'.'.join(map(str, OLDEST))} or newer, and this is {version}; "
            "take engine='compiled' or engine='batched'."
        )
