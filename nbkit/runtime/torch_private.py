"""What the runtime needs of ``torch.distributed`` that has no public name: one place to mend for another torch."""

from __future__ import annotations

import contextlib

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

    for name in ("_abort_process_group", "_world"):
        if dist.is_available() and not hasattr(dist.distributed_c10d, name):
            raise WorkersError(
                f"torch {torch.__version__} has no torch.distributed.distributed_c10d.{name}, which nbkit needs: "
                "install a version that nbkit was tested with (2.10 to 2.13), or a newer nbkit."
            )


def count_groups_anew() -> None:
    """Have the next group be called as a process's first one is.

    Torch numbers groups, and puts the number into the keys under which ranks find each other. It begins anew
    when a group is destroyed, but not when one could not be made, because another rank left meanwhile: that
    rank and this one would never meet again.
    """
    import torch.distributed as dist

    dist.distributed_c10d._world.group_count = 0


def abort_nccl() -> None:
    """Wake the main thread out of an NCCL collective; gloo's end when a peer leaves."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized() and dist.get_backend() == "nccl":
        with contextlib.suppress(Exception):
            dist.distributed_c10d._abort_process_group()
