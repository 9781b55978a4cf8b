"""Simple: one prompt at a time, as in the article's first demo."""

from __future__ import annotations

from nbkit.engines.timed_generate import TimedGenerateEngine
from nbkit.models import LoadedModel
from nbkit.settings import Settings


class SimpleEngine(TimedGenerateEngine):
    """One call of ``generate`` a prompt: no padding, and the device mostly waits for memory."""

    def __init__(self, settings: Settings, loaded: LoadedModel, batch_size: int) -> None:
        super().__init__(settings, loaded, batch_size, pad_to_multiple_of=None)
