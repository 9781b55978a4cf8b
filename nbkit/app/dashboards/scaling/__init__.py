"""Scaling: how more ranks and larger batches change a run."""
