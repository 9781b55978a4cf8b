"""Private names of other libraries: looked up before they are used, and where a version has none, said in a sentence.

A library may rename them from one version to the next. So they stand in one module a library
(``torch_private``, ``transformers_private``, ``vllm_private``), and each is asked for here.
"""

from __future__ import annotations

import pkgutil
import sys
from typing import Any

from nbkit.errors import InputError


def private_name(path: str, purpose: str, remedy: str) -> Any:
    """What a library has under a name.

    Parameters
    ----------
    path : str
        Module and name as in an entry point: ``torch:ops.mkldnn._linear_pointwise``.
    purpose, remedy : str
        What nbkit needs it for, and what to do without it, for the error's sentence.

    Raises
    ------
    InputError
        This version of the library has no such name.
    """
    try:
        return pkgutil.resolve_name(path)
    except (ImportError, AttributeError):
        raise _missing(path.replace(":", "."), purpose, remedy) from None


def check_has(owner: Any, names: tuple[str, ...], purpose: str, remedy: str) -> None:
    """Refuse an object of a library that lacks one of these attributes.

    Raises
    ------
    InputError
        Which it lacks.
    """
    for name in names:
        if not hasattr(owner, name):
            kind = owner if isinstance(owner, type) else type(owner)
            raise _missing(f"{kind.__module__}.{kind.__qualname__}.{name}", purpose, remedy)


def _missing(name: str, purpose: str, remedy: str) -> InputError:
    library = name.partition(".")[0]
    version = getattr(sys.modules.get(library), "__version__", "as it is installed")
    return InputError(f"{library} {version} has no {name}, with which nbkit {purpose}: {remedy}.")
