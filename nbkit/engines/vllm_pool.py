"""The vLLM pool: vLLM's engine, one replica a rank, in the rank's own process.

It knows token ids only. vLLM schedules, keeps the keys and values and samples; of the
other ranks it learns nothing, though they share a process group (``no_default_group``).
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from nbkit.engines.generation_rules import library_rules
from nbkit.engines.sequence_end import FinishReason
from nbkit.engines.sequence_pool import Finished, Step
from nbkit.engines.vllm_private import end_engine, kv_shape, no_default_group, start_engine
from nbkit.engines.warm_up import Preparation
from nbkit.errors import InputError
from nbkit.files.machine import available_memory_bytes
from nbkit.models import LoadedModel
from nbkit.models.memory import kv_bytes_per_position
from nbkit.records.engine_spec import ENGINES
from nbkit.records.settings import Settings

GPU_SHARE = 0.9
"""Of a GPU's free memory, what vLLM may take: weights, activations, keys and values."""

CPU_SHARE = 0.5
"""Of a CPU rank's share of the free memory, the most that keys and values may take."""

USUAL_PROMPT_TOKENS = 256
"""Prompts of this length fit a CPU's cache all at once; with longer ones vLLM lets some sequences wait."""

LONG_SEQUENCE_TOKENS = 8192
"""A sequence of this length fits a CPU's cache whatever the batch size."""

_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process, no child
    "VLLM_NO_USAGE_STATS": "1",  # it would send its makers a description of this machine
    "VLLM_LOGGING_LEVEL": "ERROR",
}


class VllmPool:
    """Sequences in vLLM's ``LLMEngine``; see ``SequencePool``.

    Parameters
    ----------
    settings : Settings
        Read are ``max_new_tokens``, ``ignore_eos``, ``temperature``, ``top_p``, ``top_k``,
        ``seed`` and ``stop``.
    loaded : LoadedModel
        Its folder, dtype and device: vLLM loads the weights itself. What it has started is
        kept in ``loaded.prepared``, for the next job.
    capacity : int
        The most sequences at once.
    compiled : bool, optional
        Whether vLLM compiles the model (on a GPU it also captures CUDA graphs), a minute
        at the first start. As a rule on a GPU only.

    Raises
    ------
    InputError
        vLLM is not installed or cannot be imported, is made for another kind of device,
        or several ranks share a GPU; the message says what to do.
    """

    joins_cheaply = True  # it reads prompts in the same steps in which the others get their tokens

    def __init__(self, settings: Settings, loaded: LoadedModel, capacity: int, compiled: bool | None = None) -> None:
        self.capacity = capacity
        self._rules = library_rules(settings, loaded)
        is_compiled = loaded.device.type == "cuda" if compiled is None else compiled
        replica = _replica(loaded, _Size(capacity, USUAL_PROMPT_TOKENS + settings.max_new_tokens), is_compiled)
        self._engine = replica.engine
        self._settings = settings
        self._new: dict[int, list[int]] = {}

    @property
    def new_tokens(self) -> int:
        """New tokens so far of all sequences under way."""
        return sum(len(tokens) for tokens in self._new.values())

    def add(self, index: int, tokens: list[int]) -> None:
        """Have a prompt join at the next step."""
        self._engine.add_request(str(index), {"prompt_token_ids": tokens}, self._sampling(index))
        self._new[index] = []

    def step(self) -> Step:
        """One step of vLLM's scheduler: prompts that joined are read, the others get a token each."""
        is_prefill = any(not tokens for tokens in self._new.values())
        finished, came = [], []
        for output in self._engine.step():
            index, piece = int(output.request_id), output.outputs[0]
            self._new[index].extend(piece.token_ids)
            came += [index] * len(piece.token_ids)
            if output.finished:
                reason: FinishReason = "stop" if piece.finish_reason == "stop" else "length"
                finished.append(Finished(index, self._new.pop(index), reason))
        return Step(finished, came, is_prefill)

    def under_way(self, most: int) -> list[tuple[int, list[int]]]:
        """Up to ``most`` sequences with their new tokens so far, the oldest first."""
        return [(index, list(self._new[index])) for index in list(self._new)[:most]]

    @property
    def cache_positions(self) -> int:
        """0: vLLM does not tell it here."""
        return 0

    def preparations(self, lengths: Sequence[int]) -> list[Preparation]:
        """Nothing beside its first steps: its library has warmed up when it was started."""
        return []

    def abort(self) -> None:
        """Forget all sequences; the pool can be used afterwards."""
        self._engine.abort_request([str(index) for index in self._new])
        self._new.clear()

    def give_up_memory(self) -> None:
        """Nothing: vLLM keeps what it has taken."""

    def _sampling(self, index: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        asked = self._settings
        return SamplingParams(
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=asked.top_k,
            seed=(asked.seed + index) % 2**63,
            stop=list(asked.stop),
            # vLLM looks for stop strings in the text, and needs the text for nothing else here.
            detokenize=bool(asked.stop),
            max_tokens=asked.max_new_tokens,
            ignore_eos=asked.ignore_eos,
            repetition_penalty=self._rules.get("repetition_penalty", 1.0),
            min_tokens=self._rules.get("min_new_tokens", 0),
            output_kind=RequestOutputKind.DELTA,
        )


@dataclass(frozen=True, slots=True)
class _Size:
    """What a replica has room for: ``sequences`` at once, each of ``tokens``."""

    sequences: int
    tokens: int

    def holds(self, other: _Size) -> bool:
        return self.sequences >= other.sequences and self.tokens >= other.tokens


class _Replica:
    """A running engine of vLLM. With its last reference it gives its memory back."""

    def __init__(self, loaded: LoadedModel, size: _Size, is_compiled: bool) -> None:
        self.engine: Any = None
        self.size = size
        self.is_compiled = is_compiled
        with _own_surroundings(), no_default_group():
            _check_vllm(loaded.device, loaded.sharing)
            self.engine = start_engine(_engine_config(loaded, size, is_compiled))

    def close(self) -> None:
        """End the engine; the ranks' process group stays."""
        engine, self.engine = self.engine, None
        if engine is not None:
            with _own_surroundings(), no_default_group():
                end_engine(engine)

    def __del__(self) -> None:
        # vLLM's own finalizer would destroy the ranks' process group.
        self.close()


def _replica(loaded: LoadedModel, size: _Size, is_compiled: bool) -> _Replica:
    """The replica that an earlier job has left, if it is large enough, else a new one in its place."""
    kept: _Replica | None = loaded.prepared.get("vllm")
    if kept is not None and kept.size.holds(size) and kept.is_compiled == is_compiled:
        return kept
    # vLLM has one world a process, so that two replicas cannot be there at once.
    if kept is not None:
        del loaded.prepared["vllm"]
        kept.close()
    loaded.prepared["vllm"] = replica = _Replica(loaded, size, is_compiled)
    return replica


def _check_vllm(device: torch.device, sharing: int) -> None:
    if device.type == "cuda" and sharing > 1:
        raise InputError("engine='vllm' takes one worker a GPU, and here several share one; start fewer workers.")
    spec = ENGINES["vllm"]
    install = spec.install if device.type == "cuda" else spec.install_on_cpu
    try:
        import vllm  # noqa: F401
        from vllm.platforms import current_platform
    # RuntimeError: a torchvision beside it that is made for another torch.
    except (ImportError, RuntimeError) as error:
        raise InputError(f"engine='vllm' needs vLLM, which cannot be imported here ({error}): {install}.") from error
    if current_platform.device_type != device.type:
        made_for = current_platform.device_type or "no device that is here"
        raise InputError(f"this vLLM is made for {made_for}, and the worker is on {device}: {install}.")


def _engine_config(loaded: LoadedModel, size: _Size, is_compiled: bool) -> Any:
    """vLLM's config of one replica on the device of this rank."""
    from vllm.engine.arg_utils import EngineArgs

    is_gpu = loaded.device.type == "cuda"
    config = EngineArgs(
        model=str(loaded.folder),
        dtype=loaded.dtype,
        max_num_seqs=size.sequences,
        max_model_len=-1,  # as long as the model takes and the memory allows
        gpu_memory_utilization=_gpu_share(loaded.device) if is_gpu else GPU_SHARE,
        enforce_eager=not is_compiled,
        use_tqdm_on_load=False,
        disable_log_stats=True,
    ).create_engine_config()
    if is_gpu:
        # In this process vLLM would take the first GPU, whatever the rank's is.
        config.device_config.device = loaded.device
    else:
        config.cache_config.kv_cache_memory_bytes = _cpu_cache_bytes(size, config, loaded.sharing)
    return config


def _gpu_share(device: torch.device) -> float:
    """Of the GPU's whole memory, what vLLM may take."""
    free, total = torch.cuda.mem_get_info(device)
    return GPU_SHARE * free / total


def _cpu_cache_bytes(size: _Size, config: Any, sharing: int) -> int:
    """Bytes for keys and values on a CPU: room for all sequences, within this rank's share of the free memory."""
    block = config.cache_config.block_size
    position_bytes = kv_bytes_per_position(*kv_shape(config))
    for_all = size.sequences * -(-size.tokens // block) * block
    for_one = min(config.model_config.max_model_len, LONG_SEQUENCE_TOKENS) + block
    return min(int(max(for_all, for_one) * position_bytes), int(CPU_SHARE * available_memory_bytes() / sharing))


@contextlib.contextmanager
def _own_surroundings() -> Iterator[None]:
    """Give vLLM the environment it needs, and put back what it changes for the whole process.

    On a CPU it replaces ``torch.set_num_threads``, and it sets LD_PRELOAD and
    LOCAL_WORLD_SIZE. It goes down to one thread unless OMP_NUM_THREADS is set.
    """
    before, set_num_threads = dict(os.environ), torch.set_num_threads
    os.environ.update(_ENVIRONMENT, OMP_NUM_THREADS=str(torch.get_num_threads()))
    # What it says while it is imported comes before it has read its level.
    logging.getLogger("vllm").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
        torch.set_num_threads = set_num_threads
