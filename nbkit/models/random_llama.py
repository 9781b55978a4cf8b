"""A model of Llama-2-7b's shape with random weights: what speed is measured with where no hub can be reached.

Its tokenizer is that of the embedded model ``tiny-random``, which has a token for each
letter; what it generates means nothing, and takes as long as what the real model would.
"""

from __future__ import annotations

import dataclasses
import gc
from pathlib import Path
from typing import Any

from nbkit.models.folders import locate
from nbkit.models.memory import item_bytes
from nbkit.models.model_arithmetic import LLAMA_2_7B

CONTEXT_LENGTH = 4096
SHARD_SIZE = "4GB"


def weight_bytes(layers: int = LLAMA_2_7B.layers, dtype: str = "bfloat16") -> int:
    """Bytes of the model's weights, on disk and on a device."""
    return dataclasses.replace(LLAMA_2_7B, layers=layers).parameters * item_bytes(dtype)


def layers_within(room_bytes: float, dtype: str = "bfloat16") -> int:
    """The most layers, up to the shape's own, whose model fits into ``room_bytes``; 0 if not even one does."""
    fixed, one_more = weight_bytes(0, dtype), weight_bytes(1, dtype) - weight_bytes(0, dtype)
    return max(0, min(LLAMA_2_7B.layers, int((room_bytes - fixed) // one_more)))


def write(folder: Path, layers: int = LLAMA_2_7B.layers, dtype: str = "bfloat16", device: Any = None) -> Path:
    """Make the model and write it with its tokenizer: about half a minute on a GPU.

    Parameters
    ----------
    device : torch.device or str, optional
        Where the random numbers are drawn. Left out: on a GPU where there is one.

    Raises
    ------
    InputError
        There is no such dtype.
    OSError
        There is no room, or no right to write.
    """
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    shape = LLAMA_2_7B
    item_bytes(dtype)
    config = LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=shape.is_tied,
        eos_token_id=2,
    )
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    usual = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        torch.manual_seed(0)
        with device:
            LlamaForCausalLM(config).save_pretrained(folder, max_shard_size=SHARD_SIZE)
    finally:
        # A rank goes on to other work.
        torch.set_default_dtype(usual)
    if device.type == "cuda":
        # Of so large a model nothing shall wait to be collected.
        gc.collect()
        torch.cuda.empty_cache()
    AutoTokenizer.from_pretrained(locate("tiny-random", "float32")).save_pretrained(folder)
    return folder
