"""Measure: what live workers and their devices do: sweeps of runs, the speed of a device, its load."""
