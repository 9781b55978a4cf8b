"""Loading: a model's folder -> model and tokenizer on a device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbkit.errors import ModelError, first_line
from nbkit.models.folders import locate
from nbkit.models.loaded_model import LoadedModel
from nbkit.models.model_kind import check_is_causal
from nbkit.models.prompt_tokens import PromptTokens
from nbkit.models.weights_size import check_fits
from nbkit.records.settings import FIELDS

if TYPE_CHECKING:
    import torch

FROM_FOLDER: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}


def load(
    name: str,
    dtype: str = "auto",
    device: Any = "cpu",
    on_wait: Callable[[str], None] = lambda text: None,
    with_weights: bool = True,
    sharing: int = 1,
) -> LoadedModel:
    """Load model and tokenizer onto a device, in evaluation mode.

    Only safetensors are read and no code that comes with a model is run.

    Parameters
    ----------
    name, dtype, on_wait
        As for ``locate``.
    device : torch.device or str
        Where the weights go.
    with_weights : bool
        False for an engine that reads the folder itself: ``model`` is then None.
    sharing : int
        Ranks that share the device's memory, this one included.

    Raises
    ------
    ModelError
        The model cannot be found, its files cannot be loaded, or its weights do not fit the device.
    """
    import torch
    from transformers import AutoConfig, AutoTokenizer

    device = torch.device(device)
    dtype = resolve_dtype(dtype, device)
    folder = locate(name, dtype, on_wait)
    try:
        config = AutoConfig.from_pretrained(folder, **FROM_FOLDER)
        check_is_causal(name, config)
        tokenizer = AutoTokenizer.from_pretrained(folder, **FROM_FOLDER)
        generation_config = _generation_config(folder, config)
        model = _load_weights(name, folder, dtype, device) if with_weights else None
    except ModelError:
        raise
    # Any error: damaged files surface as whatever the parser at hand raises.
    except Exception as error:
        raise ModelError(
            f"cannot load model {name!r} from {folder}: {type(error).__name__}: {first_line(error)}. "
            "If its files are damaged, delete that folder and get them anew."
        ) from error
    return LoadedModel(
        model=model,
        tokenizer=tokenizer,
        device=device,
        dtype=dtype,
        folder=folder,
        config=config,
        generation_config=generation_config,
        eos_token_ids=_eos_token_ids(generation_config, config, tokenizer),
        prompt_tokens=PromptTokens(tokenizer),
        sharing=sharing,
    )


def _load_weights(name: str, folder: Path, dtype: str, device: torch.device) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    check_fits(name, folder, device, dtype)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            output_loading_info=True,
            device_map=None if device.type == "cpu" else {"": device},
            **FROM_FOLDER,
        )
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"model {name!r} does not fit on {device} in {dtype}; take a smaller model or a smaller dtype. ({error})"
        ) from None
    if report["missing_keys"]:
        # transformers would fill them with random numbers.
        missing = ", ".join(sorted(report["missing_keys"])[:3])
        raise ModelError(f"the weights of model {name!r} in {folder} are not complete: {missing} ... are missing.")
    model.generation_config = GenerationConfig()
    return model.eval()


def _generation_config(folder: Path, config: Any) -> Any:
    """The model's own, as transformers would give it to the model: its file's, else made of its config."""
    from transformers import GenerationConfig

    if (folder / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    return GenerationConfig.from_model_config(config)


def _eos_token_ids(generation_config: Any, config: Any, tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end a sequence: the model's own word, else its tokenizer's."""
    own = generation_config.eos_token_id
    for found in (own, getattr(config.get_text_config(), "eos_token_id", None), tokenizer.eos_token_id):
        if found is not None:
            return (found,) if isinstance(found, int) else tuple(found)
    return ()


def resolve_dtype(dtype: str, device: Any) -> str:
    """What ``auto`` means on a device: bfloat16 (else float16) on a GPU, float32 on a CPU.

    Raises
    ------
    InputError
        There is no such dtype.
    """
    import torch

    FIELDS["dtype"].values.checked("dtype", dtype)

    if dtype != "auto":
        return dtype
    if torch.device(device).type != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
