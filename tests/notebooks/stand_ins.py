"""Stand-ins for devices that the tests do not have: the ranks' host calls one before it forks, so that all ranks have it.

A notebook is given one by a first cell that adds it to ``nbkit.Workers.preload``; ``test_notebooks`` does.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbkit.records.settings import Settings

FIRST_CALL_S = 0.5
IN_TIMED_PART = "a first call in the timed part"
"""Printed by a rank, with the shape, where a run's time holds what only a first call costs."""


def auto_is_bfloat16(uses_gpus: bool) -> None:
    """As on a GPU: what ``dtype="auto"`` becomes."""
    from nbkit import models

    _put_in_place_of(models.resolve_dtype, lambda dtype, device: "bfloat16" if dtype == "auto" else dtype)


def first_calls_are_slow(uses_gpus: bool) -> None:
    """As on a GPU, where libraries load and choose kernels: a forward at a shape that is new takes ``FIRST_CALL_S`` more.

    A rank remembers, of each kind of weights, how many rows of how many positions it has computed. Sizes are told
    apart by powers of two, as libraries have kernels for ranges of sizes. Runs of engines in flight are left out: what
    they prepare are captured steps, which are on GPUs alone.
    """
    from transformers.models.llama.modeling_llama import LlamaModel

    from nbkit.engines import slot_decoder, warm_up
    from nbkit.inference import generation

    under_way: list[Settings] = []
    seen: set[tuple[object, ...]] = set()

    def timed(run: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(run)
        def noted(work: Any, *args: Any) -> Any:
            under_way.append(work._settings)
            try:
                return run(work, *args)
            finally:
                under_way.clear()

        return noted

    def slow_at_first(forward: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(forward)
        def noted(model: Any, input_ids: Any = None, **kwargs: Any) -> Any:
            shape = tuple(input_ids.shape)
            layer = model.layers[0].self_attn.q_proj
            call = (type(layer).__name__, layer.weight.dtype, *map(_size_class, shape))
            if call not in seen and not any(settings.is_in_flight for settings in under_way):
                seen.add(call)
                if under_way:
                    print(f"{IN_TIMED_PART}: {shape} of {call[0]}, {call[1]}")
                time.sleep(FIRST_CALL_S)
            return forward(model, input_ids, **kwargs)

        return noted

    _put_in_place_of(warm_up.shapes_cost, lambda device: True)
    slot_decoder.shapes_cost = lambda device: False  # a CPU captures nothing
    generation._Work.run = timed(generation._Work.run)  # type: ignore[method-assign]
    LlamaModel.forward = slow_at_first(LlamaModel.forward)


def _put_in_place_of(function: Callable[..., Any], other: Callable[..., Any]) -> None:
    """Put another function wherever a module of the kit has this one; modules imported later find it there."""
    for module in [module for name, module in sys.modules.items() if name.startswith("nbkit.")]:
        if getattr(module, function.__name__, None) is function:
            setattr(module, function.__name__, other)


def _size_class(size: int) -> int:
    """The power of two that is at least ``size``."""
    return 1 << (size - 1).bit_length()
