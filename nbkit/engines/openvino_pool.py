"""The OpenVINO pool: OpenVINO GenAI's continuous batching on a CPU, one replica a rank.

It knows token ids only; how a model becomes OpenVINO's is ``openvino_conversion``'s.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nbkit.engines.generation_rules import library_rules
from nbkit.engines.openvino_conversion import PRECISIONS, converted_folder, plugin_options, why_unfit
from nbkit.engines.sequence_end import FinishReason, SequenceEnd
from nbkit.engines.sequence_pool import Finished, Step
from nbkit.engines.warm_up import Preparation
from nbkit.errors import InputError
from nbkit.models import LoadedModel
from nbkit.records.settings import Settings

STEP_TOKENS = 1024
"""The most tokens, of prompts and of sequences under way, in one step; the library's 256 cut prompts small."""


class OpenVinoPool:
    """Sequences in ``openvino_genai.ContinuousBatchingPipeline``; see ``SequencePool``.

    Parameters
    ----------
    settings : Settings
        Read are ``max_new_tokens``, ``ignore_eos``, ``temperature``, ``top_p``, ``top_k``,
        ``seed`` and ``stop``.
    loaded : LoadedModel
        Its folder, config, dtype and end-of-sequence tokens: OpenVINO loads the weights
        itself. The pipeline is kept in ``loaded.prepared``, for the next job.
    capacity : int
        The most sequences at once.

    Raises
    ------
    InputError
        OpenVINO GenAI is not installed, or it cannot do what is asked for.
    ModelError
        The model's conversion failed.
    """

    joins_cheaply = True  # prompts are read in the same steps in which the others get their tokens

    def __init__(self, settings: Settings, loaded: LoadedModel, capacity: int) -> None:
        _check(settings, loaded)
        self._rules = library_rules(settings, loaded)
        self.capacity = capacity
        self._pipeline = _pipeline(loaded, capacity)
        self._settings = settings
        self._eos = loaded.eos_token_ids
        self._end = SequenceEnd(settings, loaded)
        self._handles: dict[int, Any] = {}
        self._new: dict[int, list[int]] = {}

    @property
    def new_tokens(self) -> int:
        """New tokens so far of all sequences under way."""
        return sum(len(tokens) for tokens in self._new.values())

    def add(self, index: int, tokens: list[int]) -> None:
        """Have a prompt join at the next step."""
        import numpy as np
        import openvino

        ids = openvino.Tensor(np.array([tokens], dtype=np.int64))
        self._handles[index] = self._pipeline.add_request(index, ids, self._generation_config(index))
        self._new[index] = []

    def step(self) -> Step:
        """One step of OpenVINO's scheduler: prompts that joined are read, the others get a token each."""
        is_prefill = any(not tokens for tokens in self._new.values())
        self._pipeline.step()
        finished, came = [], []
        for index, handle in list(self._handles.items()):
            tokens, reason = self._new[index], None
            before = len(tokens)
            while handle.can_read():
                (output,) = handle.read().values()
                tokens.extend(output.generated_ids)
                reason = output.finish_reason.name
            came += [index] * (len(tokens) - before)
            # Not by the library's stop_strings: its converted tokenizer may decode otherwise, and miss one.
            if tokens and self._settings.stop and self._end.reason(tokens) == "stop":
                handle.cancel()
                finished.append(Finished(index, self._forget(index), "stop"))
            elif handle.get_status().name != "RUNNING":
                finished.append(self._finish(index, handle.get_status().name, reason))
        return Step(finished, came, is_prefill)

    def under_way(self, most: int) -> list[tuple[int, list[int]]]:
        """Up to ``most`` sequences with their new tokens so far, the oldest first."""
        return [(index, list(self._new[index])) for index in list(self._new)[:most]]

    @property
    def cache_positions(self) -> int:
        """0: It grows with the sequences that are there."""
        return 0

    def preparations(self, lengths: Sequence[int]) -> list[Preparation]:
        """Nothing beside its first steps: its library has warmed up when it was started."""
        return []

    def abort(self) -> None:
        """Forget all sequences; the pool can be used afterwards."""
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()
        self._new.clear()
        # Only a step lets go of what was cancelled.
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()

    def give_up_memory(self) -> None:
        """Nothing: its cache grows and shrinks with the sequences that are there."""

    def _finish(self, index: int, status: str, reason: str | None) -> Finished:
        tokens = self._forget(index)
        if status != "FINISHED":
            # IGNORED: the library drops a sequence that its cache cannot hold.
            raise MemoryError(f"OpenVINO gave prompt {index} up after {len(tokens)} new tokens: {status}")
        ended: FinishReason = "stop" if reason == "STOP" else "length"
        return Finished(index, tokens, ended)

    def _forget(self, index: int) -> list[int]:
        del self._handles[index]
        return self._new.pop(index)

    def _generation_config(self, index: int) -> Any:
        from openvino_genai import GenerationConfig

        asked = self._settings
        config = GenerationConfig()
        config.max_new_tokens = asked.max_new_tokens
        config.ignore_eos = asked.ignore_eos
        config.stop_token_ids = set() if asked.ignore_eos else set(self._eos)
        for rule, value in self._rules.items():
            setattr(config, rule, value)
        config.do_sample = asked.temperature > 0
        if config.do_sample:
            config.temperature = asked.temperature
            config.top_p = asked.top_p
            if asked.top_k:
                config.top_k = asked.top_k
            config.rng_seed = (asked.seed + index) % 2**63
        return config


def _check(settings: Settings, loaded: LoadedModel) -> None:
    """Refuse, with the remedy, what OpenVINO cannot do; nothing is imported or converted."""
    if importlib.util.find_spec("openvino_genai") is None:
        raise InputError(f"engine='openvino' needs OpenVINO GenAI: {settings.engine_spec.install}.")
    if loaded.device.type != "cpu":
        raise InputError(f"engine='openvino' works on a CPU here, not on {loaded.device}; take another engine.")
    if loaded.dtype not in PRECISIONS:
        raise InputError(f"engine='openvino' computes in {' or '.join(PRECISIONS)}, not in {loaded.dtype}.")
    if (unfit := why_unfit(loaded.config)) is not None:
        raise InputError(f"engine='openvino' cannot take this model: {unfit}. Take engine='compiled' or 'batched'.")


def _pipeline(loaded: LoadedModel, capacity: int) -> Any:
    """The pipeline that an earlier job has left, if it takes as many sequences, else a new one in its place."""
    kept = loaded.prepared.get("openvino")
    if kept is not None and kept[0] >= capacity:
        return kept[1]
    loaded.prepared.pop("openvino", None)
    del kept  # its memory goes back before the next takes its own
    pipeline = _start_pipeline(converted_folder(loaded), loaded.dtype, capacity)
    loaded.prepared["openvino"] = (capacity, pipeline)
    return pipeline


def _start_pipeline(folder: Path, dtype: str, capacity: int) -> Any:
    import torch

    with _no_telemetry():
        import openvino  # noqa: F401
        import openvino_genai

    scheduler = openvino_genai.SchedulerConfig()
    scheduler.max_num_seqs = capacity
    scheduler.max_num_batched_tokens = max(capacity, STEP_TOKENS)
    # With both at 0 the cache grows with the sequences that are there.
    scheduler.cache_size = scheduler.num_kv_blocks = 0
    scheduler.enable_prefix_caching = False
    return openvino_genai.ContinuousBatchingPipeline(
        str(folder),
        openvino_genai.Tokenizer(str(folder)),
        scheduler,
        "CPU",
        INFERENCE_NUM_THREADS=torch.get_num_threads(),
        # Each rank would pin its threads to the machine's first cores, and so to the same ones.
        ENABLE_CPU_PINNING=False,
        **plugin_options(dtype),
    )


@contextlib.contextmanager
def _no_telemetry() -> Iterator[None]:
    """Keep ``import openvino`` from reporting to its makers and from writing ~/intel: a CI job's does neither."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before
