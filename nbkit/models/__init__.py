"""Models: a name -> a folder -> a model and tokenizer on a device; a model's shape, memory and tokens."""

from nbkit.models.folders import EMBEDDED, check_name, files_state, local_folder, locate
from nbkit.models.loaded_model import LoadedModel
from nbkit.models.loading import FROM_FOLDER, load, resolve_dtype

__all__ = [
    "EMBEDDED",
    "FROM_FOLDER",
    "LoadedModel",
    "check_name",
    "files_state",
    "load",
    "local_folder",
    "locate",
    "resolve_dtype",
]
