"""Twin: a copy of a model that shares its parameters, to be changed where the model itself must stay as it is."""

from __future__ import annotations

import copy
from typing import Any


def twin_of(model: Any) -> Any:
    """A copy whose modules are its own and whose parameters and buffers are the model's."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    return copy.deepcopy(model, shared)
