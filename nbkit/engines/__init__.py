"""Engines: how one rank turns its prompts into text. One protocol for all.

``simple`` and ``batched`` call transformers' ``generate`` batch by batch; in the others a
sequence joins whenever another has ended, and each is a sequence pool (``in_flight``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nbkit.engines.batch_size import sequences_that_fit
from nbkit.engines.protocol import BatchDone, Engine, Prompt, Streamed, Watch
from nbkit.models import LoadedModel
from nbkit.records.settings import Settings

if TYPE_CHECKING:
    from nbkit.engines.in_flight import SequencePool
    from nbkit.engines.sampling import NextTokens

LIBRARIES = ("vllm", "openvino")
"""Engines of other libraries: they load the weights themselves and choose the tokens."""


def make_engine(
    settings: Settings,
    loaded: LoadedModel,
    batch_size: int,
    *,
    pads: bool = True,
    chooser: NextTokens | None = None,
) -> Engine:
    """The engine that ``settings.engine`` names, on a loaded model.

    Parameters
    ----------
    batch_size : int
        Sequences decoded side by side at most: the settings' own, or what ``auto`` became.
    pads : bool
        Whether ``batched`` pads prompts of other lengths or has each length in batches of its own.
    chooser : NextTokens, optional
        Chooses the next tokens in the engines that have logits; as a rule a ``Sampler``.

    Raises
    ------
    InputError
        The engine's package is not installed, or the engine cannot run this model.
    """
    # Imported here: the notebook, too, imports this package, to read what engines send; torch it can do without.
    if settings.engine in LIBRARIES:
        from nbkit.engines.in_flight import InFlightEngine

        return InFlightEngine(settings, loaded, _library_pool(settings, loaded, batch_size))
    from nbkit.engines.sampling import Sampler

    chooser = chooser or Sampler(settings, loaded)
    if settings.engine in ("simple", "batched"):
        from nbkit.engines.timed_generate import TimedGenerateEngine

        is_batched = settings.engine == "batched"
        multiple = settings.pad_to_multiple_of if is_batched and pads else None
        return TimedGenerateEngine(settings, loaded, batch_size if is_batched else 1, chooser, multiple)
    from nbkit.engines.in_flight import InFlightEngine

    return InFlightEngine(settings, loaded, _own_pool(settings, loaded, batch_size, chooser))


def _own_pool(settings: Settings, loaded: LoadedModel, capacity: int, chooser: NextTokens) -> SequencePool:
    if settings.engine == "compiled":
        from nbkit.engines.compiled import CompiledPool

        return CompiledPool(settings, loaded, capacity, chooser)
    from nbkit.engines.continuous import ContinuousPool

    return ContinuousPool(settings, loaded, capacity, chooser)


def _library_pool(settings: Settings, loaded: LoadedModel, capacity: int) -> SequencePool:
    # Imported here: each loads a library that not everybody has.
    if settings.engine == "vllm":
        from nbkit.engines.vllm_pool import VllmPool

        return VllmPool(settings, loaded, capacity)
    from nbkit.engines.openvino_pool import OpenVinoPool

    return OpenVinoPool(settings, loaded, capacity)


__all__ = [
    "LIBRARIES",
    "BatchDone",
    "Engine",
    "Prompt",
    "Streamed",
    "Watch",
    "make_engine",
    "sequences_that_fit",
]
