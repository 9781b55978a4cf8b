"""Model kind: what is no decoder-only language model is refused by its name, before its weights are read."""

from __future__ import annotations

from typing import Any

from nbkit.errors import ModelError

OTHER_TASKS = {
    "ForMaskedLM": "fills in masked words",
    "ForSequenceClassification": "classifies whole texts",
    "ForTokenClassification": "classifies tokens",
    "ForQuestionAnswering": "marks answers in a text",
    "ForMultipleChoice": "chooses among answers",
}
"""What a model class is for, by the end of its name: with other tasks' weights, a causal one would invent text."""

RUNS = "nbkit runs decoder-only (causal) language models: take one, as Llama, Qwen, Gemma or GPT-2 are"


def check_is_causal(name: str, config: Any) -> None:
    """Refuse a model that does not continue a text token by token.

    Parameters
    ----------
    name : str
        What the user calls the model.
    config : transformers.PretrainedConfig
        Of its folder.

    Raises
    ------
    ModelError
        It is an encoder-decoder, made for another task, or of a type for which transformers
        has no causal language model.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    made_for = next(iter(getattr(config, "architectures", None) or ()), "")
    what = made_for or f"a model of type {config.model_type!r}"
    if getattr(config, "is_encoder_decoder", False) and not made_for.endswith("ForCausalLM"):
        raise ModelError(
            f"model {name!r} ({what}) is an encoder-decoder: one part reads the input, the other writes the text. "
            f"{RUNS}."
        )
    for ending, task in OTHER_TASKS.items():
        if made_for.endswith(ending):
            raise ModelError(f"model {name!r} ({what}) {task} and does not continue a text. {RUNS}.")
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ModelError(f"model {name!r} ({what}) is no causal language model that transformers knows. {RUNS}.")
