"""The explore dashboard for a first look: it runs once by itself, and again whenever a control is moved."""

from __future__ import annotations

from typing import Any

from nbkit.app.dashboards.explore.explore import Explore
from nbkit.app.exercises.lesson import is_quick
from nbkit.inference.workers import Workers
from nbkit.models import EMBEDDED
from nbkit.records.settings import ARTICLE


class FirstMove(Explore):
    """Explore with Live on from the first, so that a moved slider is all it takes to see a new dot.

    Parameters
    ----------
    workers : Workers, optional
        As for ``Explore``.
    **settings
        As for ``Explore``; left out, the article's batched loop with few new tokens: one whose batch size matters.
        The model is the embedded one, or a tiny one where ``NBKIT_QUICK`` is set.
    """

    def __init__(self, workers: Workers | None = None, **settings: Any) -> None:
        usual = {"model": EMBEDDED[-1 if is_quick() else 0], "batch_size": 2, "max_new_tokens": 10}
        super().__init__(workers, **(ARTICLE | usual | settings))

    def _get_ready(self) -> None:
        super()._get_ready()
        self._live.value = True
