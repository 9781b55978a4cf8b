"""Process group: the ranks that meet for a job, as torch and accelerate know them.

A rank keeps its group while jobs come for the same ranks, and joins another when one
comes for others, or when the last was left in the middle of a job.

They find each other by a file in the workers' folder, which only their user can enter: torch's own
store listens, on every interface, and lets everybody read and write. Between the ranks gloo and NCCL go
through the loopback interface, where other users of the machine can knock, too. What holds:

- Nobody else reads or changes what the ranks agree on, nor is taken for a rank by a group that stands.
- While a group forms, for some milliseconds, gloo tells those who connect apart by small numbers only: another
  user of the machine who hits the moment could be taken for a rank. What gloo and NCCL send is not encrypted, but
  reading what passes through loopback takes root.
- The account's own user, and root, are not kept out of anything.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from nbkit.runtime import torch_private, wire

KEPT_FILES = 100
"""Of groups that were left, the latest."""


class ProcessGroup:
    """One rank's membership; accelerate's state follows it."""

    def __init__(self, placement: wire.Placement, folder: Path) -> None:
        self._placement = placement
        self._folder = folder
        self._number: int | None = None
        self._backend: str | None = None

    def join_first(self) -> Any:
        """Meet all other ranks, as they were launched; accelerate's state."""
        from accelerate import PartialState

        meeting: dict[str, Any] = {"backend": "gloo"} if self._placement.needs_gloo else {}
        if self._has_peers:
            meeting |= {
                "store": self._store_of(wire.FIRST_GROUP),
                "rank": self._placement.rank,
                "world_size": self._placement.world_size,
            }
        state = PartialState(cpu=self._placement.gpu is None, **meeting)
        self._number, self._backend = wire.FIRST_GROUP, state.backend
        return state

    def join(self, group: wire.Group) -> bool:
        """Meet the ranks of this group, unless this rank is in it; whether they had to."""
        if group.number == self._number:
            return False
        self.leave()
        _reset_accelerator()
        if self._has_peers:
            self._meet(group)
        from accelerate import PartialState

        PartialState(cpu=self._placement.gpu is None, **({"backend": self._backend} if self._has_peers else {}))
        self._number = group.number
        return True

    def _meet(self, group: wire.Group) -> None:
        import torch.distributed as dist

        rank = group.ranks.index(self._placement.rank)
        # accelerate, and whoever else is written for torchrun, reads these.
        os.environ |= {
            "RANK": str(rank),
            "WORLD_SIZE": str(len(group.ranks)),
            "LOCAL_WORLD_SIZE": str(len(group.ranks)),
        }
        os.environ["LOCAL_RANK"] = str(rank if self._placement.gpu is None else self._placement.gpu)
        torch_private.count_groups_anew()
        dist.init_process_group(
            self._backend, store=self._store_of(group.number), rank=rank, world_size=len(group.ranks)
        )

    def _store_of(self, number: int) -> Any:
        """Where the ranks of a group find each other: a file of its own, for there the addresses of another stay."""
        from torch.distributed import FileStore  # type: ignore[attr-defined]

        # Not that of the group just left: a rank may still look into it.
        self._file_of(number - KEPT_FILES).unlink(missing_ok=True)
        return FileStore(str(self._file_of(number)))

    def _file_of(self, number: int) -> Path:
        return self._folder / f"group-{number}"

    @property
    def _has_peers(self) -> bool:
        return self._placement.world_size > 1

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
