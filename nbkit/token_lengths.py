"""How many tokens prompts have, before any worker runs: in this process, without torch or transformers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from nbkit.errors import ModelError
from nbkit.models import local_folder
from nbkit.prompts import check_prompts


def token_lengths(model: str, prompts: Sequence[str]) -> list[int] | None:
    """How many tokens each prompt has for a model, the special ones that its tokenizer adds included.

    Parameters
    ----------
    model : str
        A short name, a hub id or a folder.
    prompts : sequence of str
        The prompts; none is cut, however long it is.

    Returns
    -------
    list of int or None
        Tokens a prompt, in order. None if the model is not on this machine yet, or has no
        ``tokenizer.json``: nothing is built or downloaded for a count.

    Raises
    ------
    InputError
        The prompts are not a list of strings with text; see ``check_prompts``.
    ModelError
        The model's ``tokenizer.json`` cannot be read.
    """
    listed = check_prompts(prompts)
    folder = local_folder(model)
    if folder is None or not (folder / "tokenizer.json").is_file():
        return None
    file = folder / "tokenizer.json"
    tokenizer = _read_tokenizer(file, file.stat().st_mtime_ns)
    return [len(encoding.ids) for encoding in tokenizer.encode_batch(listed)]


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
