"""Write a model of Llama-2-7b's shape with random weights: what speed is measured with where no hub can be reached.

Its tokenizer is that of the embedded model ``tiny-random``, which has a token for each
letter; what it generates means nothing, and takes as long as what the real model would.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nbkit.models import locate
from nbkit.models.model_arithmetic import LLAMA_2_7B


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=LLAMA_2_7B.layers, help="fewer for a quick try")
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args()
    write(options.folder, options.layers, options.dtype)
    print(f"written to {options.folder}")


def write(folder: Path, layers: int, dtype: str) -> None:
    """Make the model, on a GPU where there is one, and write it with the tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    shape = LLAMA_2_7B
    config = LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=4096,
        tie_word_embeddings=shape.is_tied,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, dtype))
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        LlamaForCausalLM(config).save_pretrained(folder, max_shard_size="4GB")
    AutoTokenizer.from_pretrained(locate("tiny-random", "float32")).save_pretrained(folder)


if __name__ == "__main__":
    main()
