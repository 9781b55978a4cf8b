"""Batched: several prompts at a time, padded on the left, as in the article's second demo."""

from __future__ import annotations

from nbkit.engines.timed_generate import TimedGenerateEngine
from nbkit.models import LoadedModel
from nbkit.settings import Settings


class BatchedEngine(TimedGenerateEngine):
    """One call of ``generate`` for a whole batch: the weights are read once for all of its prompts."""

    def __init__(self, settings: Settings, loaded: LoadedModel, batch_size: int) -> None:
        super().__init__(settings, loaded, batch_size, pad_to_multiple_of=settings.pad_to_multiple_of)
