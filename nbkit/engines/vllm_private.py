"""vLLM's private names: how an engine is started and ended beside the process group that the ranks have.

Tried with vLLM 0.32, of its version for CPUs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch.distributed as dist

from nbkit.models.private_names import check_has, private_name

ITS_ENGINE = "starts and ends its engine in a rank's own process"
ANOTHER = "install vLLM 0.32, or take engine='compiled'"


def start_engine(config: Any) -> Any:
    """vLLM's engine, in this process.

    Raises
    ------
    InputError
        This vLLM has not the names that starting and ending it needs.
    """
    start = private_name("vllm.v1.engine.llm_engine:LLMEngine.from_vllm_config", ITS_ENGINE, ANOTHER)
    _groups()
    try:
        engine = start(config, disable_log_stats=True)
        check_has(engine, ("engine_core",), ITS_ENGINE, ANOTHER)
        return engine
    except BaseException:
        # What it had begun would be in the way of the next try.
        destroy_groups()
        raise


def end_engine(engine: Any) -> None:
    """End an engine and give its memory back."""
    destroy_groups()
    engine.engine_core.shutdown()


def kv_shape(config: Any) -> tuple[int, int, str]:
    """Layers, numbers of a key in one layer, and dtype of what vLLM keeps in the KV cache.

    Raises
    ------
    InputError
        This vLLM's config does not tell.
    """
    model, parallel = config.model_config, config.parallel_config
    names = ("get_num_layers", "get_num_kv_heads", "get_head_size", "dtype", "max_model_len")
    check_has(model, names, "finds the size of its KV cache", ANOTHER)
    kv_width = model.get_num_kv_heads(parallel) * model.get_head_size()
    return model.get_num_layers(parallel), kv_width, str(model.dtype).removeprefix("torch.")


@contextlib.contextmanager
def no_default_group() -> Iterator[None]:
    """Hide the ranks' process group from vLLM while it starts and ends, so that it makes one of its own.

    Where it finds a default group it takes that group's size for its own, all ranks would
    have to make its groups together, and at its end it would destroy the group. A
    replica of one process communicates with nobody in between.
    """
    check_has(dist.GroupMember, ("WORLD",), "keeps the ranks' process group from vLLM", ANOTHER)
    ranks_group = dist.GroupMember.WORLD
    dist.GroupMember.WORLD = None
    try:
        yield
    finally:
        dist.GroupMember.WORLD = ranks_group


def destroy_groups() -> None:
    """Destroy the process groups that vLLM made, but for those that went with the ranks' group.

    vLLM's own way stops at the first that is gone already: after an aborted job all are.
    """
    for reference in list(_groups().values()):
        coordinator = reference()
        for name in ("device_group", "cpu_group"):
            group = vars(coordinator).pop(name, None) if coordinator is not None else None
            if group is not None:
                with contextlib.suppress(ValueError):
                    dist.destroy_process_group(group)


def _groups() -> dict[str, Any]:
    return private_name("vllm.distributed.parallel_state:_groups", ITS_ENGINE, ANOTHER)  # type: ignore[no-any-return]
