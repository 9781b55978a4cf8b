"""Engines: how one rank turns its prompts into text. One protocol for all.

``simple`` and ``batched`` call transformers' ``generate`` batch by batch; in the others a
sequence joins whenever another has ended, and each is a sequence pool (``in_flight``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbkit.engines.batch_size import sequences_that_fit
from nbkit.engines.protocol import BatchDone, Engine, Prompt, Streamed, Watch
from nbkit.models import LoadedModel
from nbkit.settings import Settings

if TYPE_CHECKING:
    from nbkit.engines.in_flight import SequencePool

READS_FOLDER = ("vllm", "openvino")
"""Engines that load the weights themselves."""


def make_engine(settings: Settings, loaded: LoadedModel, batch_size: int) -> Engine:
    """The engine that ``settings.engine`` names, on a loaded model.

    Parameters
    ----------
    batch_size : int
        Sequences decoded side by side at most: the settings' own, or what ``auto`` became.

    Raises
    ------
    InputError
        The engine's package is not installed, or the engine cannot run this model.
    """
    # Imported here: the notebook, too, imports this package, to read what engines send; torch it can do without.
    if settings.engine == "simple":
        from nbkit.engines.simple import SimpleEngine

        return SimpleEngine(settings, loaded, batch_size=1)
    if settings.engine == "batched":
        from nbkit.engines.batched import BatchedEngine

        return BatchedEngine(settings, loaded, batch_size)
    from nbkit.engines.in_flight import InFlightEngine

    return InFlightEngine(settings, loaded, _make_pool(settings, loaded, batch_size))


def _make_pool(settings: Settings, loaded: LoadedModel, capacity: int) -> SequencePool:
    # Imported here: each of the others loads a library that not everybody has.
    if settings.engine == "compiled":
        from nbkit.engines.compiled import CompiledPool

        return CompiledPool(settings, loaded, capacity)
    if settings.engine == "continuous":
        from nbkit.engines.continuous import ContinuousPool

        return ContinuousPool(settings, loaded, capacity)
    if settings.engine == "vllm":
        from nbkit.engines.vllm_pool import VllmPool

        return VllmPool(settings, loaded, capacity)
    from nbkit.engines.openvino_pool import OpenVinoPool

    return OpenVinoPool(settings, loaded, capacity)


__all__ = [
    "READS_FOLDER",
    "BatchDone",
    "Engine",
    "Prompt",
    "Streamed",
    "Watch",
    "make_engine",
    "sequences_that_fit",
]
