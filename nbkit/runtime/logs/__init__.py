"""Logs: what a rank and its children print, as lines for the notebook."""
