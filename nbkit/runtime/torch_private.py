"""What the runtime needs of ``torch.distributed`` that has no public name: one place to mend for another torch."""

from __future__ import annotations

import contextlib
from typing import Any

from nbkit.errors import WorkersError


def check() -> None:
    """Refuse a torch that has not what this module takes from it.

    Raises
    ------
    WorkersError
        Which name is missing, and in which torch.
    """
    import torch
    import torch.distributed as dist

    for name in ("_get_default_store", "_abort_process_group"):
        if dist.is_available() and not hasattr(dist.distributed_c10d, name):
            raise WorkersError(
                f"torch {torch.__version__} has no torch.distributed.distributed_c10d.{name}, which nbkit needs: "
                "install a version that nbkit was tested with (2.10 to 2.13), or a newer nbkit."
            )


def default_store() -> Any:
    """The store that the ranks met in, None for a rank alone; it outlives the process group."""
    import torch.distributed as dist

    return dist.distributed_c10d._get_default_store() if dist.is_initialized() else None


def abort_nccl() -> None:
    """Wake the main thread out of an NCCL collective; gloo's end when a peer leaves."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized() and dist.get_backend() == "nccl":
        with contextlib.suppress(Exception):
            dist.distributed_c10d._abort_process_group()
