"""Folders: a short name, a hub id or a folder -> a local folder with a model, built or downloaded if need be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from nbkit.errors import ModelError, first_line, is_text, shorten
from nbkit.files.cache import build_once, cache_folder
from nbkit.models.embedded import BUILD_BYTES, BUILDERS, BUILT_DTYPES
from nbkit.models.whole_folder import why_not_whole

EMBEDDED = tuple(BUILDERS)
"""Short names of the models that need no hub."""

LONGEST_HUB_ID = 200
HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")


def check_name(name: str) -> None:
    """Refuse, without loading anything, a name that cannot be a model.

    Raises
    ------
    ModelError
        The name is neither a short name, nor a hub id, nor a folder with a model.
    """
    if not is_text(name):
        raise ModelError(f"unknown model {shorten(name)}: it holds characters that are no text (a lone surrogate).")
    if name in EMBEDDED:
        return
    if (folder := _folder_of(name)) is not None:
        _check_folder(folder)
    elif not _looks_like_hub_id(name):
        raise ModelError(
            f"unknown model {shorten(name)}: not a folder here, not a hub id (owner/name), "
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
        return _in_dtype(built, "float32") if built.is_dir() and _why_not_whole(built) is None else None
    return _folder_of(name) or _in_hub_cache(name)


def files_state(folder: Path) -> list[tuple[str, int, int]]:
    """What tells one state of a model's folder from another: names, sizes and times of change, in nanoseconds."""
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.json")])
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _shelf() -> Path:
    return cache_folder() / "models"


def _in_dtype(built: Path, dtype: str) -> Path:
    return built / (dtype if dtype in BUILT_DTYPES else "float32")


def _build_once(name: str, on_wait: Callable[[str], None]) -> Path:
    """Build an embedded model's folder unless it is there, whole."""
    shelf = _shelf()
    megabytes = BUILD_BYTES[name] / 1e6
    needed = f"{megabytes / 1000:g} GB" if megabytes >= 1000 else f"{megabytes:g} MB"

    def build(folder: Path) -> None:
        on_wait(f"preparing the embedded model {name} (once, about 20 s, into {shelf})")
        if shutil.disk_usage(shelf).free < BUILD_BYTES[name]:
            raise OSError(f"less than {needed} free")
        BUILDERS[name](folder)

    try:
        return build_once(shelf / name, build, _why_not_whole)
    except OSError as error:
        raise ModelError(
            f"cannot prepare model {name!r} in {shelf}: {error.strerror or error}. "
            f"It needs about {needed}; make room or set NBKIT_CACHE to another folder."
        ) from error


def _why_not_whole(built: Path) -> str | None:
    """What an embedded model's folder lacks."""
    folders = [built / dtype for dtype in BUILT_DTYPES]
    if lacking := next(filter(None, map(why_not_whole, folders)), None):
        return lacking
    first, second = ({file.name for file in folder.iterdir()} for folder in folders)
    differing = first ^ second
    return f"{min(differing)} is not there in each dtype" if differing else None


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
    if len(name) > LONGEST_HUB_ID:
        return False
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
            f"cannot get model {shorten(name)} from the model hub ({type(error).__name__}: {first_line(error)}). "
            f"If this machine has no way to the hub, use a folder or one of: {', '.join(EMBEDDED)}."
        ) from error
