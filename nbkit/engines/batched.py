"""Batched: several prompts at a time, padded on the left, as in the article's second demo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nbkit.engines.protocol import BatchDone, Prompt, Watch
from nbkit.engines.timed_generate import TimedGenerate
from nbkit.models import LoadedModel
from nbkit.settings import Settings


class BatchedEngine:
    """One call of ``generate`` for ``batch_size`` prompts: the weights are read once for all of them."""

    def __init__(self, settings: Settings, loaded: LoadedModel) -> None:
        self._batch_size = settings.batch_size
        self._generate = TimedGenerate(settings, loaded, pad_to_multiple_of=settings.pad_to_multiple_of)

    def generate(self, prompts: Sequence[Prompt], watch: Watch) -> Iterator[BatchDone]:
        """Yield the batches in the prompts' order; the last may be smaller."""
        for start in range(0, len(prompts), self._batch_size):
            batch = self._generate(prompts[start : start + self._batch_size], watch)
            if batch is None:
                return
            yield batch
