"""The two loops of the article 'Multi-GPU inference with Accelerate', as functions to run on ranks.

Plain accelerate and transformers: the loops know nothing of nbkit. Only what equal work
needs differs from the article: both loops tokenise alike (the article adds special
tokens in one of them), decode without special tokens, and generate greedily to exactly
``max_new_tokens`` for every prompt.
"""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

PAD_TO_MULTIPLE_OF = 8


def simple(
    accelerator: Accelerator, model: Any, tokenizer: Any, prompts: list[str], max_new_tokens: int
) -> list[dict[str, Any]]:
    """One prompt at a time; what each rank generated, gathered on all of them."""
    from accelerate.utils import gather_object

    with accelerator.split_between_processes(prompts) as own_prompts:
        results: dict[str, Any] = {"outputs": [], "num_tokens": 0}
        for prompt in own_prompts:
            tokenized = tokenizer(prompt, return_tensors="pt").to(accelerator.device)
            generated = model.generate(**tokenized, max_new_tokens=max_new_tokens, do_sample=False)[0]
            new_tokens = generated[len(tokenized["input_ids"][0]) :]
            results["outputs"].append(tokenizer.decode(new_tokens, skip_special_tokens=True))
            results["num_tokens"] += len(new_tokens)
    gathered: list[dict[str, Any]] = gather_object([results])
    return gathered


def batched(
    accelerator: Accelerator, model: Any, tokenizer: Any, prompts: list[str], max_new_tokens: int, batch_size: int
) -> list[dict[str, Any]]:
    """``batch_size`` prompts at a time, padded on the left; gathered as in ``simple``."""
    from accelerate.utils import gather_object

    with accelerator.split_between_processes(prompts) as own_prompts:
        results: dict[str, Any] = {"outputs": [], "num_tokens": 0}
        for tokenized in _tokenized_batches(tokenizer, own_prompts, batch_size, accelerator.device):
            generated = model.generate(**tokenized, max_new_tokens=max_new_tokens, do_sample=False)
            new_tokens = [row[len(prompt) :] for prompt, row in zip(tokenized["input_ids"], generated, strict=True)]
            results["outputs"].extend(tokenizer.batch_decode(new_tokens, skip_special_tokens=True))
            results["num_tokens"] += sum(len(tokens) for tokens in new_tokens)
    gathered: list[dict[str, Any]] = gather_object([results])
    return gathered


def _tokenized_batches(tokenizer: Any, prompts: list[str], batch_size: int, device: torch.device) -> list[Any]:
    """All of a rank's batches, tokenised before the first is generated, as in the article."""
    tokenizer.padding_side = "left"
    batches = [prompts[start : start + batch_size] for start in range(0, len(prompts), batch_size)]
    return [
        tokenizer(batch, return_tensors="pt", padding="longest", pad_to_multiple_of=PAD_TO_MULTIPLE_OF).to(device)
        for batch in batches
    ]


@dataclass(frozen=True, slots=True)
class RankTiming:
    """One rank's run of a loop, from the barrier after the load to the end of the gather.

    Seconds are on the monotonic clock, which all processes of a machine share.
    """

    begin_s: float
    end_s: float
    outputs: list[str]
    num_tokens: int


def timed_on_rank(
    engine: str, model_name: str, dtype: str, prompts: list[str], max_new_tokens: int, batch_size: int
) -> RankTiming:
    """On every rank: have the model there, then run one loop and time it."""
    from accelerate import Accelerator

    accelerator = Accelerator()
    model, tokenizer = _loaded(model_name, dtype, str(accelerator.device))
    accelerator.wait_for_everyone()
    begin_s = time.monotonic()
    if engine == "simple":
        gathered = simple(accelerator, model, tokenizer, prompts, max_new_tokens)
    else:
        gathered = batched(accelerator, model, tokenizer, prompts, max_new_tokens, batch_size)
    end_s = time.monotonic()
    return RankTiming(
        begin_s=begin_s,
        end_s=end_s,
        outputs=[text for results in gathered for text in results["outputs"]],
        num_tokens=sum(results["num_tokens"] for results in gathered),
    )


# The function lives in an imported module of the rank's process, and the cache with it:
# later jobs find the model loaded, as the kit's jobs find theirs.
@functools.lru_cache(maxsize=1)
def _loaded(name: str, dtype: str, device: str) -> tuple[Any, Any]:
    """The model that the loops are given: loaded as the kit's own is, and never ending a sequence."""
    from nbkit import models

    loaded = models.load(name, dtype, device)
    loaded.model.generation_config.eos_token_id = None
    return loaded.model, loaded.tokenizer
