"""Before the fork: what the ranks' host imports once for all ranks, so that they share its memory."""

from __future__ import annotations

import importlib.util

ASKS_GPUS = ("torchao",)
"""Installed, it is imported with transformers' models, and asks a GPU what it can do: forked ranks could use none."""


def import_models(uses_gpus: bool) -> None:
    """Import transformers and what the kit's own jobs need; no device is touched."""
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
    from transformers.utils import logging

    import nbkit.inference.bulk.on_rank
    import nbkit.inference.generation
    import nbkit.inference.hello  # noqa: F401

    if not (uses_gpus and any(importlib.util.find_spec(name) for name in ASKS_GPUS)):
        import transformers.models.llama.modeling_llama
        import transformers.models.llama.tokenization_llama  # noqa: F401

    logging.disable_progress_bar()
    logging.set_verbosity_error()
