"""Inference: the workers as users know them, and what their ranks do with prompts."""
