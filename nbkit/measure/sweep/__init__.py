"""Sweep: runs over a grid of ranks, batch sizes and other settings, in one file that can be gone on with."""

from nbkit.measure.sweep.grid import Grid, Point, whole_numbers
from nbkit.measure.sweep.record import Failure, Measurement, Sweep, resume_or_begin
from nbkit.measure.sweep.runner import SweepRunner, SweepStep, remaining_s, run_sweep

__all__ = [
    "Failure",
    "Grid",
    "Measurement",
    "Point",
    "Sweep",
    "SweepRunner",
    "SweepStep",
    "remaining_s",
    "resume_or_begin",
    "run_sweep",
    "whole_numbers",
]
