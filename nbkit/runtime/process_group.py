"""Process group: the ranks that meet for a job, as torch and accelerate know them.

A rank keeps its group while jobs come for the same ranks, and joins another when one
comes for others, or when the last was left in the middle of a job.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from nbkit.runtime import torch_private, wire


class ProcessGroup:
    """One rank's membership; accelerate's state follows it."""

    def __init__(self, placement: wire.Placement) -> None:
        self._placement = placement
        self._number: int | None = None
        self._backend: str | None = None
        self.store: Any = None

    def join_first(self) -> Any:
        """Meet all other ranks, as they were launched; accelerate's state."""
        from accelerate import PartialState

        state = PartialState(
            cpu=self._placement.gpu is None, **({"backend": "gloo"} if self._placement.needs_gloo else {})
        )
        self._number, self._backend = wire.FIRST_GROUP, state.backend
        # Kept, not connected to again: of torch's TCPStore connections that ranks make at the same
        # moment about one in twelve takes 5 s (torch 2.13).
        self.store = torch_private.default_store()
        return state

    def join(self, group: wire.Group) -> bool:
        """Meet the ranks of this group, unless this rank is in it; whether they had to."""
        if group.number == self._number:
            return False
        self.leave()
        _reset_accelerator()
        if self.store is not None:
            self._meet(group)
        from accelerate import PartialState

        PartialState(
            cpu=self._placement.gpu is None, **({"backend": self._backend} if self.store is not None else {})
        )
        self._number = group.number
        return True

    def _meet(self, group: wire.Group) -> None:
        import torch.distributed as dist
        from torch.distributed import PrefixStore  # type: ignore[attr-defined]

        rank = group.ranks.index(self._placement.rank)
        # Under the keys of another group the store still has the addresses of its ranks.
        own_keys = PrefixStore(f"nbkit-group-{group.number}", self.store)
        # accelerate, and whoever else is written for torchrun, reads these.
        os.environ |= {
            "RANK": str(rank),
            "WORLD_SIZE": str(len(group.ranks)),
            "LOCAL_WORLD_SIZE": str(len(group.ranks)),
        }
        os.environ["LOCAL_RANK"] = str(rank if self._placement.gpu is None else self._placement.gpu)
        dist.init_process_group(self._backend, store=own_keys, rank=rank, world_size=len(group.ranks))

    def leave(self) -> None:
        """Leave the group: whoever waits in a gloo collective for this rank is freed."""
        import torch.distributed as dist

        self._number = None
        if dist.is_available() and dist.is_initialized():
            with contextlib.suppress(Exception):
                dist.destroy_process_group()


def forget_accelerator() -> None:
    """Let a job choose its own Accelerator options; the process group underneath stays."""
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=False)
    GradientState._reset_state()


def _reset_accelerator() -> None:
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
