"""How many tokens prompts have, before any worker runs: in this process, without torch or transformers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from nbkit.errors import ModelError
from nbkit.models import local_folder
from nbkit.records.request import PromptLike, check_prompts


def token_lengths(model: str, prompts: Sequence[PromptLike], special_tokens: str = "auto") -> list[int] | None:
    """How many tokens each prompt has for a model, the special ones that its tokenizer adds included.

    Parameters
    ----------
    model : str
        A short name, a hub id or a folder.
    prompts : sequence of str or of lists of messages
        The prompts; none is cut, however long it is.
    special_tokens : {"auto", "add", "none"}
        As in ``Settings``.

    Returns
    -------
    list of int or None
        Tokens a prompt, in order. None if the model is not on this machine yet or has no
        ``tokenizer.json``: nothing is built or downloaded for a count. None, too, where a
        prompt is a conversation: what a chat template adds, only transformers knows.

    Raises
    ------
    InputError
        The prompts cannot be used; see ``check_prompts``.
    ModelError
        The model's ``tokenizer.json`` cannot be read.
    """
    listed = check_prompts(prompts)
    texts = [prompt for prompt in listed if isinstance(prompt, str)]
    folder = local_folder(model)
    if len(texts) < len(listed) or folder is None or not (folder / "tokenizer.json").is_file():
        return None
    file = folder / "tokenizer.json"
    tokenizer = _read_tokenizer(file, file.stat().st_mtime_ns)
    encoded = tokenizer.encode_batch(texts, add_special_tokens=special_tokens != "none")
    # A BOS is not added to a text that begins with it; see ``prompt_tokens.encode_texts``.
    is_doubled = [special_tokens == "auto" and _begins_twice(e, text) for e, text in zip(encoded, texts, strict=True)]
    return [len(e.ids) - doubled for e, doubled in zip(encoded, is_doubled, strict=True)]


def _begins_twice(encoding: Any, text: str) -> bool:
    """Whether one token was added before a text that begins with its name."""
    first = encoding.tokens[:2]
    added: list[int] = encoding.special_tokens_mask[:2]
    return len(first) == 2 and first[0] == first[1] and added[0] == 1 and text.startswith(first[0])


# Of the last model: reading a vocabulary takes longer than counting in a few thousand prompts.
@lru_cache(maxsize=1)
def _read_tokenizer(file: Path, changed_ns: int) -> Any:
    """The tokenizer in a file; ``changed_ns`` (when the file was last written) only tells versions apart."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises no class of its own
        raise ModelError(
            f"cannot read {file}: {error}. If the model's files are damaged, delete {file.parent} and get them anew."
        ) from None
    # A tokenizer.json may say to cut or fill up what it encodes.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
