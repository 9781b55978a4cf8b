"""Token clock: when each token of a batch was there, without waiting for the device at each."""

from __future__ import annotations

import torch

from nbkit.engines.protocol import Watch


class TokenClock:
    """Notes, whenever a step of a batch has been asked for, when its tokens are there.

    On a CPU they are there by then. A GPU is behind what it was asked for: each step leaves a mark in its queue, and
    the marks are read when all is done. Only the first is waited for, which ties them to the rank's clock.
    """

    def __init__(self, watch: Watch, device: torch.device) -> None:
        self._watch = watch
        self._device = device
        self._times_s: list[float] = []
        self._marks: list[torch.cuda.Event] = []
        self.first_s: float | None = None
        """When the first tokens were there; None before that."""

    def tick(self) -> None:
        """A step has been asked for."""
        if self._device.type == "cuda":
            mark = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            mark.record(torch.cuda.current_stream(self._device))
            self._marks.append(mark)
            if self.first_s is None:
                torch.cuda.synchronize(self._device)
                self.first_s = self._watch.elapsed_s
            return
        self._times_s.append(self._watch.elapsed_s)
        self.first_s = self._times_s[0]

    def times_s(self) -> list[float]:
        """When the tokens of each step were there, in seconds; to be asked when the device is done."""
        if not self._marks:
            return self._times_s
        assert self.first_s is not None
        first = self._marks[0]
        return [self.first_s + first.elapsed_time(mark) / 1000 for mark in self._marks]
