"""Monitor: how busy GPUs and the workers' processes are, sampled by a process of its own."""

from nbkit.measure.load.monitor import Monitor

__all__ = ["Monitor"]
