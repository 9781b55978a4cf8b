"""Explore: move a slider, and see at once what happens."""
