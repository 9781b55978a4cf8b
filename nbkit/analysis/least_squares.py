"""Least squares: coefficients that are not negative, by relative errors, of medians over rows that are alike."""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from nbkit.analysis.batch_shapes import Floats


def non_negative_fit(terms: Floats, values: Floats) -> Floats:
    """Coefficients >= 0 that minimise the sum of squares of relative errors of ``terms @ coefficients``.

    Parameters
    ----------
    terms : array, shape (rows, k)
        For small k: every subset of the terms is tried, since the solution is the best
        ordinary least squares fit of some subset that has no negative coefficient
        (Lawson and Hanson, "Solving least squares problems", 1974, chapter 23).
    values : array, shape (rows,)
        Rows with a value of 0 or less count with their absolute error.

    Returns
    -------
    array, shape (k,)
    """
    weights = 1 / np.where(values > 0, values, 1.0)
    weighted, target = terms * weights[:, None], values * weights
    best, least = np.zeros(terms.shape[1]), float(target @ target)
    for size in range(1, terms.shape[1] + 1):
        for subset in map(list, itertools.combinations(range(terms.shape[1]), size)):
            found = np.linalg.lstsq(weighted[:, subset], target, rcond=None)[0]
            error = float(np.sum((weighted[:, subset] @ found - target) ** 2))
            # A subset has to do better by more than rounding: fewer terms are preferred.
            if found.min() >= 0 and error < least * (1 - 1e-9) - 1e-12:
                best, least = np.zeros(terms.shape[1]), error
                best[subset] = found
    return best


def fit_medians(terms: Floats, seconds: Iterable[float]) -> list[float]:
    """Fit to the medians over rows that are alike: one batch that something disturbed then counts little."""
    alike: dict[tuple[float, ...], list[float]] = defaultdict(list)
    for row, value in zip(terms.tolist(), seconds, strict=True):
        alike[tuple(row)].append(value)
    rows = {row: statistics.median(values) for row, values in alike.items() if any(row)}
    if not rows:
        return [0.0] * terms.shape[1]
    return [float(found) for found in non_negative_fit(np.array(list(rows)), np.array(list(rows.values())))]
