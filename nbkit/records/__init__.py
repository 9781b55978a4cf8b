"""Records: what is asked of a generation, and what came back, as plain data."""

from nbkit.records.batch import BatchRecord, BatchTotals, OutOfMemory, StepWork
from nbkit.records.fallback import Fallback, way_in_words
from nbkit.records.latency import Latencies, OutputTimes, Percentiles
from nbkit.records.output import Output
from nbkit.records.rank import LoadSample, RankRecord
from nbkit.records.step_times import StepTimes

__all__ = [
    "BatchRecord",
    "BatchTotals",
    "Fallback",
    "Latencies",
    "LoadSample",
    "OutOfMemory",
    "Output",
    "OutputTimes",
    "Percentiles",
    "RankRecord",
    "StepTimes",
    "StepWork",
    "way_in_words",
]
