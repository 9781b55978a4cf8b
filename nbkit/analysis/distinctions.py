"""Distinctions: what tells runs apart, in words: every setting that has an effect, and the number of prompts."""

from __future__ import annotations

from collections.abc import Sequence

from nbkit.records.engine_spec import ENGINES
from nbkit.records.run import Run
from nbkit.records.settings import FIELDS, ORDERS, SPLITS, Settings, with_batch_size

DRAWING = ("temperature", "top_p", "top_k", "seed")
TOLD_TOGETHER = ("engine", "batch_size", "dtype", "split", "order", *DRAWING)
FIRST = ("engine", "dtype", "quantization", "schedule", "token_budget", "max_new_tokens", "ignore_eos", "sampling")
"""What is told first, in this order; the other settings follow in their own."""


def settings_in_words(run: Run) -> dict[str, str]:
    """Every setting of a run in words, all but the number of ranks.

    A batch size that is found by itself differs between ranks, so it stays ``auto``.
    """
    asked = run.settings
    words = {name: info.in_words(getattr(asked, name)) for name, info in FIELDS.items() if name not in TOLD_TOGETHER}
    words |= {
        "engine": with_batch_size(run.engine, asked.batch_size, run.engine_label),
        "dtype": run.dtype,
        "schedule": asked.schedule_label,
        "sampling": _sampling(asked),
        "prompts": f"{len(run.prompts)} prompts",
    }
    return {name: words[name] for name in dict.fromkeys((*FIRST, *words))}


def distinctions(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Of each run, those of its settings in words that are not the same in all."""
    described = [settings_in_words(run) for run in runs]
    differing = [name for name in (described[0] if described else ()) if len({each[name] for each in described}) > 1]
    return [{name: each[name] for name in differing} for each in described]


def besides_batch_size(run: Run) -> tuple[str, ...]:
    """What runs have in common that differ in ranks and batch size at most."""
    return tuple((settings_in_words(run) | {"engine": run.engine_label}).values())


def place_of(run: Run) -> tuple[object, ...]:
    """Sorts runs by their settings, those first that people tell apart first."""
    asked = run.settings
    places = (list(ENGINES).index(run.engine), SPLITS.index(asked.split), ORDERS.index(asked.order))
    # None is not to be compared with numbers, and "auto" is a number by now.
    others = [(value is None, value) for name in FIELDS if name != "batch_size" for value in [getattr(asked, name)]]
    return asked.model, places[0], run.batch_size, run.dtype, *places[1:], asked.max_new_tokens, *others


def _sampling(asked: Settings) -> str:
    if not asked.temperature:
        return "greedy"  # nothing is drawn, so the rest has no effect
    return ", ".join(FIELDS[name].in_words(getattr(asked, name)) for name in DRAWING)
