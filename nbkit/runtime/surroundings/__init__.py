"""Surroundings: the notebook's working directory, import path and modules, followed by the ranks."""
