"""Launchers: how ranks come to be, and where."""
