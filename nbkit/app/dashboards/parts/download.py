"""Download: a file as a link, for who sees a dashboard as a web page and has no other way to it."""

from __future__ import annotations

import base64
import html
from pathlib import Path

MOST_BYTES = 20_000_000


def download_link(path: Path) -> str:
    """A link that carries the file with it, as HTML; nothing for a file too large to."""
    if path.stat().st_size > MOST_BYTES:
        return ""
    content = base64.b64encode(path.read_bytes()).decode()
    name = html.escape(path.name, quote=True)
    return f" (<a download='{name}' href='data:application/octet-stream;base64,{content}'>download</a>)"
