"""JSON files: read, with errors for the person who named the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nbkit.errors import InputError, file_name, first_line
from nbkit.files.atomic_write import path_of


def read_json(path: str | Path, what: str) -> Any:
    """What a JSON file holds.

    Parameters
    ----------
    path : str or Path
        The file.
    what : str
        What it should hold, for the message: ``"saved Run"``.

    Raises
    ------
    InputError
        The file cannot be read, or holds no JSON.
    """
    path = path_of(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {file_name(path)}: {error.strerror or error}.") from None
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, a number too long, brackets too deep
        raise InputError(f"{file_name(path)} holds no {what}: {first_line(error)}.") from None
