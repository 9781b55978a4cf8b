"""Perplexity: what lower precision costs in quality, on a fixed text."""

from __future__ import annotations

import math

import torch

from nbkit.engines.slot_decoder import prepared_model
from nbkit.models import LoadedModel
from nbkit.prompts import FIRST_LINES

TEXT = " ".join(FIRST_LINES)


def perplexity(loaded: LoadedModel, quantization: str = "none", text: str = TEXT) -> float:
    """The perplexity of a text for a model as the engine ``compiled`` computes with it; lower is better.

    It is exp of the mean of -log p(token | all tokens before), over all tokens but the first
    (Jurafsky and Martin, Speech and Language Processing, 3rd edition, section 3.3). A text
    longer than the model's context is cut there.

    Parameters
    ----------
    quantization : {"none", "int8", "int4"}
        As in ``Settings``.

    Raises
    ------
    InputError
        The model cannot be quantised so.
    """
    ids = loaded.tokenizer(text, return_tensors="pt").input_ids[:, : loaded.context_length].to(loaded.device)
    with torch.inference_mode():
        logits = prepared_model(loaded, quantization)(input_ids=ids).logits[0, :-1].float()
    log_p = logits.log_softmax(-1).gather(-1, ids[0, 1:, None])
    return math.exp(-float(log_p.mean()))
