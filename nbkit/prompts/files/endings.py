"""What a file of prompts is by its ending, and its bytes unpacked and decoded."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

from nbkit.errors import InputError, shorten

PROMPT_ENDINGS = (".txt", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
"""The files that can be read; in a name the letters may be capitals, and ``.gz`` may follow."""

GZ = ".gz"
MOST_UNPACKED_BYTES = 10**9
CHUNK_BYTES = 2**20


def prompt_ending(name: str) -> str:
    """Which of ``PROMPT_ENDINGS`` a file's name has, before a ``.gz``.

    Raises
    ------
    InputError
        It has none of them.
    """
    packed = _is_packed(name)
    ending = Path(Path(name).stem if packed else name).suffix
    if ending.lower() not in PROMPT_ENDINGS:
        choices = f"{', '.join(PROMPT_ENDINGS[:-1])} or {PROMPT_ENDINGS[-1]}, with or without {GZ}"
        found = ending + (GZ if packed else "")
        raise InputError(f"{name}: a file of prompts ends in {choices}, not {shorten(found or 'nothing')}.")
    return ending.lower()


def unpack(name: str, data: bytes) -> bytes:
    """The bytes of a ``.gz`` file unpacked; those of another file as they are.

    Raises
    ------
    InputError
        They are no whole gzip file, or more than ``MOST_UNPACKED_BYTES`` unpacked.
    """
    if not _is_packed(name):
        return data
    unpacked = io.BytesIO()
    try:
        with gzip.open(io.BytesIO(data)) as file:
            # In pieces: a small file can unpack to more than the memory holds.
            while piece := file.read(CHUNK_BYTES):
                unpacked.write(piece)
                if unpacked.tell() > MOST_UNPACKED_BYTES:
                    most = f"{MOST_UNPACKED_BYTES / 10**9:g} GB"
                    raise InputError(f"{name} unpacks to more than {most}; split it into smaller files.")
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{name} cannot be unpacked by gzip: {str(error).rstrip('.')}; pack it again.") from None
    return unpacked.getvalue()


def decode(name: str, data: bytes) -> str:
    """Bytes as text, without a byte order mark.

    Raises
    ------
    InputError
        They are not UTF-8; it says from which byte on.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from None


def numbered_lines(name: str, data: bytes) -> list[tuple[int, str]]:
    """The lines that are not blank, each with its number from 1.

    Raises
    ------
    InputError
        The bytes are not UTF-8.
    """
    # Not splitlines(): it also breaks at characters such as U+2028, which may
    # stand inside a JSON string.
    lines = decode(name, data).split("\n")
    return [(number, line.rstrip("\r")) for number, line in enumerate(lines, 1) if line.strip()]


def _is_packed(name: str) -> bool:
    return Path(name).suffix.lower() == GZ
