"""Engines: how one rank turns its prompts into text. One file an engine, one protocol."""

from __future__ import annotations

from nbkit.engines.protocol import BatchDone, Engine, Prompt, Streamed, Watch
from nbkit.models import LoadedModel
from nbkit.settings import Settings


def make_engine(settings: Settings, loaded: LoadedModel) -> Engine:
    """The engine that ``settings.engine`` names, on a loaded model."""
    from nbkit.engines.batched import BatchedEngine
    from nbkit.engines.simple import SimpleEngine

    engines: dict[str, type[SimpleEngine] | type[BatchedEngine]] = {
        "simple": SimpleEngine,
        "batched": BatchedEngine,
    }
    return engines[settings.engine](settings, loaded)


__all__ = ["BatchDone", "Engine", "Prompt", "Streamed", "Watch", "make_engine"]
