"""Simple: one prompt at a time, as in the article's first demo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nbkit.engines.protocol import BatchDone, Prompt, Watch
from nbkit.engines.timed_generate import TimedGenerate
from nbkit.models import LoadedModel
from nbkit.settings import Settings


class SimpleEngine:
    """One call of ``generate`` a prompt: no padding, and the device mostly waits for memory."""

    def __init__(self, settings: Settings, loaded: LoadedModel) -> None:
        self._generate = TimedGenerate(settings, loaded, pad_to_multiple_of=None)

    def generate(self, prompts: Sequence[Prompt], watch: Watch) -> Iterator[BatchDone]:
        """Yield a batch of one for each prompt."""
        for prompt in prompts:
            batch = self._generate([prompt], watch)
            if batch is None:
                return
            yield batch
