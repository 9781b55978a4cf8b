"""Plain generate: the same work by transformers' own ``generate``, as somebody without nbkit would have it fastest.

With a static cache transformers compiles a step by itself on GPUs. On CPUs the compiling would take
a minute and bring little, so there it is ``generate`` as it is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlainRun:
    """What whole runs by ``generate`` took on a rank: ``wall_s`` for ``new_tokens`` that users get.

    ``first_call_s`` (of one batch) lies before that; on a GPU it compiles. ``batch_size`` rows were in each call,
    the last one filled up with copies, for another size would be compiled anew.
    """

    cache: str
    batch_size: int
    new_tokens: int
    wall_s: float
    first_call_s: float

    @property
    def tokens_per_second(self) -> float:
        """Tokens that users get per second of the whole run."""
        return self.new_tokens / self.wall_s


def plain_generate_on_rank(
    model: str, dtype: str, prompts: Sequence[str], new_tokens: int, batch_size: int, first_tokens: int
) -> PlainRun:
    """On a rank: generate ``new_tokens`` for each prompt, greedily and past the end, batch after batch.

    A first call, of one batch and ``first_tokens``, comes before the timed ones. The model is the
    one that the rank keeps, so that no second one takes memory.

    Raises
    ------
    ModelError
        As for ``nbkit.models.load``.
    """
    import torch
    from accelerate import Accelerator

    from nbkit.inference.kept_model import load_model
    from nbkit.runtime.context import current_job

    device = Accelerator().device
    loaded, _ = load_model(current_job(), model, dtype, device)
    options = {"cache_implementation": "static"} if device.type == "cuda" else {}
    size = min(batch_size, len(prompts))
    width = max(len(ids) for ids in loaded.tokenizer(list(prompts)).input_ids)

    def generate(batch: Sequence[str], new_tokens: int) -> list[str]:
        filled = [*batch, *[batch[-1]] * (size - len(batch))]
        rows = loaded.tokenizer(filled).input_ids
        # One width for all batches, for another is compiled anew, too.
        padded = [[loaded.pad_token_id] * (width - len(row)) + row for row in rows]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
        made = loaded.model.generate(
            input_ids=torch.tensor(padded, device=device),
            attention_mask=torch.tensor(mask, device=device),
            do_sample=False,
            max_new_tokens=new_tokens,
            pad_token_id=loaded.pad_token_id,
            eos_token_id=None,
            **options,
        )
        new = made[: len(batch), width:].cpu()
        assert new.shape == (len(batch), new_tokens)
        return list(loaded.tokenizer.batch_decode(new, skip_special_tokens=True))

    began_s = time.perf_counter()
    generate(prompts[:size], first_tokens)
    first_call_s = time.perf_counter() - began_s
    began_s = time.perf_counter()
    for begin in range(0, len(prompts), size):
        generate(prompts[begin : begin + size], new_tokens)
    wall_s = time.perf_counter() - began_s
    return PlainRun("static" if options else "dynamic", size, len(prompts) * new_tokens, wall_s, first_call_s)
