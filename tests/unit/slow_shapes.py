"""A device on which every new shape costs something, as a GPU is: played on a CPU."""

from __future__ import annotations

import time

import torch
from transformers.models.llama.modeling_llama import LlamaModel

from nbkit.engines import slot_decoder
from nbkit.engines.captured_step import position_bucket, row_bucket


class SlowShapes:
    """Forward passes of Llama models whose input has a new shape take ``cost_s`` seconds more; they are counted."""

    def __init__(self, monkeypatch, cost_s=0.0):
        self.new = []
        self._known = set()
        self._cost_s = cost_s
        forward = LlamaModel.forward

        def slow(model, input_ids, **inputs):
            self._meet(tuple(input_ids.shape))
            return forward(model, input_ids=input_ids, **inputs)

        monkeypatch.setattr(LlamaModel, "forward", slow)
        for module in ("warm_up", "in_flight", "timed_generate", "slot_decoder"):
            monkeypatch.setattr(f"nbkit.engines.{module}.shapes_cost", lambda device: True)
        monkeypatch.setattr(slot_decoder, "CapturedStep", self._captured_step())
        monkeypatch.setattr(slot_decoder, "with_compiled_layers", lambda model, cache_name: model)

    def _meet(self, shape):
        if shape not in self._known:
            self._known.add(shape)
            self.new.append(shape)
            time.sleep(self._cost_s)

    def _captured_step(slow):
        class Captured:
            """Computes a bucket of rows and positions, and counts each as a shape."""

            def __init__(self, forward, positions, device):
                self._forward, self._positions = forward, positions
                self._has = set()

            def shapes(self, count, most, first, last):
                rows = {row_bucket(n, most) for n in range(1, count + 1)}
                lengths = {position_bucket(length, self._positions) for length in range(first, last + 1)}
                return [(n, length) for n in sorted(rows, reverse=True) for length in sorted(lengths)]

            def has(self, shape):
                return shape in self._has

            def __call__(self, tokens, positions, length, most):
                n = len(tokens)
                shape = row_bucket(n, most), position_bucket(length, self._positions)
                self._has.add(shape)
                slow._meet(("step", *shape))
                filled = torch.zeros(2, shape[0], dtype=torch.long)
                filled[0, :n], filled[1, :n] = tokens, positions
                return self._forward(*filled, shape[1])[:n], 0.0

        return Captured
