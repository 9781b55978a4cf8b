"""Models: a short name, a hub id or a folder -> a local folder -> model and tokenizer on a device."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbkit.embedded_models import BUILDERS
from nbkit.errors import ModelError
from nbkit.machine import emulates
from nbkit.model_kind import check_is_causal
from nbkit.prompt_tokens import PromptTokens
from nbkit.weights_size import check_fits

if TYPE_CHECKING:
    import torch

EMBEDDED = tuple(BUILDERS)
"""Short names of the models that need no hub."""

BUILD_BYTES = 1_000_000_000
FROM_FOLDER: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
LONGEST_REASON = 300
"""Characters of another library's message that are quoted."""

HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in evaluation mode and its tokenizer, on one device.

    ``model`` is None where only the tokenizer and the configuration were asked for.
    ``generation_config`` is the model's own, its rules of generation among others; the one
    that ``model`` has asks for nothing, so that transformers' ``generate`` does just what an
    engine asks. ``eos_token_ids`` end a sequence. ``prepared`` keeps, by name, what an engine
    has made of the model and wants to find again at the next job.
    """

    model: Any
    tokenizer: Any
    device: torch.device
    dtype: str
    folder: Path
    config: Any
    generation_config: Any
    eos_token_ids: tuple[int, ...]
    prompt_tokens: PromptTokens
    prepared: dict[str, Any] = field(default_factory=dict)

    @property
    def context_length(self) -> int | None:
        """The most tokens, prompt and output together, that the model takes; None if it does not say."""
        config = self.config.get_text_config()
        limit: int | None = getattr(config, "max_position_embeddings", None)
        rope = getattr(config, "rope_parameters", None) or {}
        # Dynamic NTK is there to go beyond it.
        return int(limit * rope["factor"]) if limit and rope.get("rope_type") == "dynamic" else limit

    @property
    def pad_token_id(self) -> int:
        """A token that a batch can be padded with: any that the model has, for it is masked."""
        own = self.tokenizer.pad_token_id
        candidates = [*([] if own is None else [own]), *self.eos_token_ids]
        vocabulary = self.config.get_text_config().vocab_size
        return next((token for token in candidates if 0 <= token < vocabulary), 0)

    @property
    def is_emulated(self) -> bool:
        """Whether the device has no arithmetic of its own for the dtype and is slow in it."""
        return self.device.type == "cpu" and emulates(self.dtype)


def cache_folder() -> Path:
    """Where built models live: ``$NBKIT_CACHE``, else ``nbkit`` in the user's cache."""
    if chosen := os.environ.get("NBKIT_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "nbkit"


def check_name(name: str) -> None:
    """Refuse, without loading anything, a name that cannot be a model.

    Raises
    ------
    ModelError
        The name is neither a short name, nor a hub id, nor a folder with a model.
    """
    if name in EMBEDDED:
        return
    if (folder := _folder_of(name)) is not None:
        _check_folder(folder)
    elif not _looks_like_hub_id(name):
        raise ModelError(
            f"unknown model {name!r}: not a folder here, not a hub id (owner/name), "
            f"and not one of the models that need no hub: {', '.join(EMBEDDED)}."
        )


def locate(name: str, dtype: str, on_wait: Callable[[str], None] = lambda text: None) -> Path:
    """The local folder of a model, built or downloaded if need be.

    Parameters
    ----------
    name : str
        A short name, a hub id or a folder.
    dtype : str
        The dtype it will be loaded in; embedded models have a folder for each.
    on_wait : callable
        Told, in a sentence, before something that takes long.

    Raises
    ------
    ModelError
        There is no such model here and none can be had; the message says why and
        names the models that need no hub.
    """
    check_name(name)
    if name in EMBEDDED:
        return _in_dtype(_build_once(name, on_wait), dtype)
    return _folder_of(name) or _in_hub_cache(name) or _download(name, on_wait)


def local_folder(name: str) -> Path | None:
    """The folder of a model that is on this machine already, else None; nothing is built or downloaded.

    Of an embedded model it is the folder for float32; the tokenizer is the same in each.
    """
    if name in EMBEDDED:
        built = _shelf() / name
        return _in_dtype(built, "float32") if built.is_dir() else None
    return _folder_of(name) or _in_hub_cache(name)


def load(
    name: str,
    dtype: str = "auto",
    device: Any = "cpu",
    on_wait: Callable[[str], None] = lambda text: None,
    with_weights: bool = True,
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
            f"cannot load model {name!r} from {folder}: {type(error).__name__}: {_first_line(error)}. "
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
    )


def files_state(folder: Path) -> list[tuple[str, int, int]]:
    """What tells one state of a model's folder from another: names, sizes and times of change, in nanoseconds."""
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.json")])
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]


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
    """What ``auto`` means on a device: bfloat16 (else float16) on a GPU, float32 on a CPU."""
    import torch

    if dtype != "auto":
        return dtype
    if torch.device(device).type != "cuda":
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"


def _shelf() -> Path:
    return cache_folder() / "models"


def _in_dtype(built: Path, dtype: str) -> Path:
    in_dtype = built / dtype
    return in_dtype if in_dtype.is_dir() else built / "float32"


def _build_once(name: str, on_wait: Callable[[str], None]) -> Path:
    """Build an embedded model's folder unless it is there; safe against a second process and a kill."""
    from filelock import FileLock

    shelf = _shelf()
    built = shelf / name
    if built.is_dir():
        return built
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        # The lock goes with its process, so a killed build blocks nobody.
        with FileLock(shelf / f"{name}.lock"):
            if not built.is_dir():
                on_wait(f"preparing the embedded model {name} (once, about 20 s, into {shelf})")
                _build_and_rename(name, built)
    except OSError as error:
        raise ModelError(
            f"cannot prepare model {name!r} in {shelf}: {error.strerror or error}. "
            "It needs about 1 GB; make room or set NBKIT_CACHE to another folder."
        ) from error
    return built


def _build_and_rename(name: str, built: Path) -> None:
    prefix = f".{name}-partial-"
    for left_behind in built.parent.glob(prefix + "*"):
        shutil.rmtree(left_behind)
    if name != "tiny-random" and shutil.disk_usage(built.parent).free < BUILD_BYTES:
        raise OSError(f"less than {BUILD_BYTES / 1e9:.0f} GB free")
    partial = Path(tempfile.mkdtemp(prefix=prefix, dir=built.parent))
    try:
        BUILDERS[name](partial)
        partial.chmod(0o755)
        # The folder appears under its name only when whole.
        partial.rename(built)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _folder_of(name: str) -> Path | None:
    try:
        folder = Path(name).expanduser()
        return folder if name and folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long, an unknown ~user, a null character
        return None


def _check_folder(folder: Path) -> None:
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no model: there is no config.json in it.")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{folder} holds no *.safetensors file; nbkit loads no other kind of weights.")


def _looks_like_hub_id(name: str) -> bool:
    owner, _, model = name.partition("/")
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    return bool(owner and model) and set(owner + model) <= allowed and owner[0].isalnum() and model[0].isalnum()


def _in_hub_cache(name: str) -> Path | None:
    from huggingface_hub import snapshot_download

    if not _looks_like_hub_id(name):
        return None
    try:
        return Path(snapshot_download(name, allow_patterns=list(HUB_FILES), local_files_only=True))
    except Exception:  # whatever the hub's client raises, the model is not to be had from the cache
        return None


def _download(name: str, on_wait: Callable[[str], None]) -> Path:
    from huggingface_hub import snapshot_download

    on_wait(f"downloading {name} from the model hub")
    try:
        return Path(snapshot_download(name, allow_patterns=list(HUB_FILES)))
    # Any error: the hub's client raises its own, its HTTP library's and the system's.
    except Exception as error:
        raise ModelError(
            f"cannot get model {name!r} from the model hub ({type(error).__name__}: {_first_line(error)}). "
            f"If this machine has no way to the hub, use a folder or one of: {', '.join(EMBEDDED)}."
        ) from error


def _first_line(error: Exception) -> str:
    line = (str(error).strip().splitlines() or ["no details"])[0]
    return (line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 3] + "...").removesuffix(".")
