"""The shape of a model that is on this machine: read from its config and checked against its weights."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from nbkit.errors import InputError, ModelError, shorten
from nbkit.models import check_name, local_folder
from nbkit.models.model_arithmetic import ModelShape
from nbkit.models.weights_size import read_header, weight_files

TOLERANCE = 0.02
"""Biases and further norms, which the shape leaves out, are less than this share of the parameters."""


def model_shape(name: str) -> ModelShape:
    """The shape of a model; nothing is built, downloaded or loaded.

    Parameters
    ----------
    name : str
        A short name, a hub id or a folder.

    Raises
    ------
    ModelError
        There is no such model, it is not on this machine yet, or its config cannot be read.
    InputError
        It is no Llama-like decoder, or its weights are not those its config describes.
    """
    check_name(name)
    folder = local_folder(name)
    if folder is None:
        raise ModelError(f"model {shorten(name)} is not on this machine yet; generate with it once, then ask again.")
    try:
        shape = ModelShape.from_config(_read_config(folder))
        _check_parameters(shape, folder)
    except InputError as error:
        raise InputError(f"model {shorten(name)}: {error}") from None
    return shape


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no JSON: {error}.") from None
    if not isinstance(config, dict):
        raise ModelError(f"{path} is no config: it holds a {type(config).__name__}, not names and values.")
    return config


def _check_parameters(shape: ModelShape, folder: Path) -> None:
    """Refuse a config whose sizes have other meanings, as an MLP without a gate; headers alone are read."""
    try:
        headers = [read_header(path) for path in weight_files(folder)]
        stored = sum(
            math.prod(tensor["shape"])
            for header in headers
            for key, tensor in header.items()
            if key != "__metadata__"
        )
    # Whatever is wrong with the weights, the loader says more of it than this could.
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return
    # Some store a tied table twice.
    known = {shape.parameters, shape.parameters + shape.table_parameters * shape.is_tied}
    if not any(abs(stored / parameters - 1) <= TOLERANCE for parameters in known):
        raise InputError(
            f"its weights hold {stored:,} numbers, a Llama-like decoder of its config's sizes {shape.parameters:,}; "
            "so it is of another kind, or quantised, and its roofline is not known."
        )
