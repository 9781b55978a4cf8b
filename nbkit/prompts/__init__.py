"""Prompts: where they come from: built in, or read from files."""

from nbkit.prompts.builtin import FIRST_LINES, LENGTH_DISTRIBUTIONS, draw_lengths, first_lines, synthetic_prompts

__all__ = ["FIRST_LINES", "LENGTH_DISTRIBUTIONS", "draw_lengths", "first_lines", "synthetic_prompts"]
