"""transformers' private names: what nbkit asks of its models and its continuous batching beside what is documented.

Tried with transformers 5.17 and 5.24; continuous batching is not right before 5.17.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import Any

from nbkit.models.private_names import check_has, private_name

STEPS_IT = "drives its continuous batching step by step"
ANOTHER_ENGINE = "install transformers 5.17 to 5.24, or take engine='compiled'"


def attention_of(model: Any) -> str:
    """The implementation of attention that a model computes with: ``sdpa``, ``eager``, ...

    Raises
    ------
    InputError
        This transformers does not tell.
    """
    check_has(
        model.config,
        ("_attn_implementation",),
        "knows which masks a model takes",
        "install transformers 5.10 to 5.24, or take engine='batched'",
    )
    return model.config._attn_implementation  # type: ignore[no-any-return]


def has_common_attention(model: Any) -> bool:
    """Whether a model's layers call attention by transformers' common interface, with the masks they are given."""
    return bool(getattr(model, "_supports_attention_backend", False))


def register_attention(name: str, function: Callable[..., Any], like: str) -> None:
    """Have transformers' models know an implementation of attention by a name, with the masks of another one."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, AttentionMaskInterface()[like])


def takes_flash_attention(model: Any) -> bool:
    """Whether a model may be computed with flash attention."""
    return bool(getattr(model, "_supports_flash_attn", False))


def continuous_logits_processors() -> Any:
    """The class of what continuous batching lets change its logits.

    Raises
    ------
    InputError
        This transformers has no such class.
    """
    module = "transformers.generation.continuous_batching.cb_logits_processors"
    return private_name(f"{module}:ContinuousBatchingLogitsProcessorList", STEPS_IT, ANOTHER_ENGINE)


def batch_processor(manager: Any, logits_processors: Any = None) -> Any:
    """What does a manager's steps, made without the thread in which the manager would do them.

    Parameters
    ----------
    manager : transformers' ContinuousBatchingManager
    logits_processors : optional
        An instance of ``continuous_logits_processors``, instead of the manager's own.

    Raises
    ------
    InputError
        This transformers' manager or its processor has not the names that a step needs.
    """
    names = ("_create_batch_processor", "output_router", "logit_processor", "cancel_request")
    check_has(manager, names, STEPS_IT, ANOTHER_ENGINE)
    check_has(manager.output_router, ("output_queue",), STEPS_IT, ANOTHER_ENGINE)
    if logits_processors is not None:
        manager.logit_processor = logits_processors
    processor = manager._create_batch_processor()
    names = ("warmup", "prepare_next_batch", "_generation_step", "update_batch")
    check_has(processor, names, STEPS_IT, ANOTHER_ENGINE)
    return processor


def step(processor: Any, model: Any) -> bool:
    """One step of continuous batching, as the manager's thread would do it; whether any sequence was scheduled."""
    if not processor.prepare_next_batch():
        return False
    processor._generation_step(model)
    processor.update_batch()
    return True


def new_outputs(manager: Any) -> Iterator[Any]:
    """What the steps so far have brought and nobody has taken yet."""
    while True:
        try:
            yield manager.output_router.output_queue.get_nowait()
        except queue.Empty:
            return
