"""Engines: how one rank turns its prompts into text. One protocol for all.

``simple`` and ``batched`` call transformers' ``generate`` batch by batch; in the others a
sequence joins whenever another has ended, and each is a sequence pool (``in_flight``).
"""

from nbkit.engines.batch_size import sequences_that_fit
from nbkit.engines.catalog import make_engine
from nbkit.engines.protocol import BatchDone, Engine, Streamed, UnderWay, Watch
from nbkit.records.request import Request

__all__ = [
    "BatchDone",
    "Engine",
    "Request",
    "Streamed",
    "UnderWay",
    "Watch",
    "make_engine",
    "sequences_that_fit",
]
