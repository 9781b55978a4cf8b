"""The tiny random model, loaded once, and a scheduler to play with."""

from __future__ import annotations

import pytest
import torch
from scheduler_play import Play

from nbkit import models

# Two threads on a matrix of this size wait for each other more than they compute.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny() -> models.LoadedModel:
    return models.load("tiny-random", "float32")


@pytest.fixture
def play() -> Play:
    """A scheduler whose four ranks are up."""
    return Play().come_up()
