"""The catalog: how each engine of ``nbkit.records.engine_spec`` is made, on a model that is loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from nbkit.engines.protocol import Engine
from nbkit.models import LoadedModel
from nbkit.records.settings import Settings

if TYPE_CHECKING:
    from nbkit.engines.sampling import NextTokens
    from nbkit.engines.sequence_pool import SequencePool

# Everything below is imported where it is made: the notebook, too, imports this package, to read what engines
# send, and torch it can do without; some of the libraries not everybody has.


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
        Whether an engine that pads does so, or has prompts of each length in batches of their own.
    chooser : NextTokens, optional
        Chooses the next tokens in the engines that have logits; as a rule a ``Sampler``.

    Raises
    ------
    InputError
        The engine's package is not installed, or the engine cannot run this model.
    """
    spec = settings.engine_spec
    if spec.in_flight:
        from nbkit.engines.in_flight import InFlightEngine

        return InFlightEngine(settings, loaded, _POOLS[spec.name](settings, loaded, batch_size, chooser))
    from nbkit.engines.timed_generate import TimedGenerateEngine

    multiple = settings.pad_to_multiple_of if spec.pads and pads else None
    size = batch_size if spec.batches else 1
    return TimedGenerateEngine(settings, loaded, size, chooser or _sampler(settings, loaded), multiple)


def _compiled(settings: Settings, loaded: LoadedModel, capacity: int, chooser: NextTokens | None) -> SequencePool:
    from nbkit.engines.compiled import CompiledPool

    return CompiledPool(settings, loaded, capacity, chooser or _sampler(settings, loaded))


def _continuous(settings: Settings, loaded: LoadedModel, capacity: int, chooser: NextTokens | None) -> SequencePool:
    from nbkit.engines.continuous import ContinuousPool

    return ContinuousPool(settings, loaded, capacity, chooser or _sampler(settings, loaded))


def _vllm(settings: Settings, loaded: LoadedModel, capacity: int, _: NextTokens | None) -> SequencePool:
    from nbkit.engines.vllm_pool import VllmPool

    return VllmPool(settings, loaded, capacity)


def _openvino(settings: Settings, loaded: LoadedModel, capacity: int, _: NextTokens | None) -> SequencePool:
    from nbkit.engines.openvino_pool import OpenVinoPool

    return OpenVinoPool(settings, loaded, capacity)


def _sampler(settings: Settings, loaded: LoadedModel) -> NextTokens:
    from nbkit.engines.sampling import Sampler

    return Sampler(settings, loaded)


_POOLS: dict[str, Callable[[Settings, LoadedModel, int, NextTokens | None], SequencePool]] = {
    "compiled": _compiled,
    "continuous": _continuous,
    "vllm": _vllm,
    "openvino": _openvino,
}
"""Of each engine that is in flight, how its sequence pool is made."""
