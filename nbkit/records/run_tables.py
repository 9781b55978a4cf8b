"""Run tables: a Run as pandas tables, and what of its figures is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nbkit.errors import InputError, shorten
from nbkit.records.output_table import output_columns

if TYPE_CHECKING:
    import pandas

    from nbkit.records.run import Run

OF_TIMES = (
    *("workers", "batch size", "computed tokens", "wall s", "warm-up s", "tokens/s"),
    *("TTFT ms", "TPOT ms", "padding %", "peak MB"),
)
"""Of a summary: what ranks and batches tell."""
UNKNOWN = "unknown"
SHOWN = {"padding %": "padding % of prompt positions"}
"""Names that say more to people than the keys that files have."""


def summary_of(run: Run) -> dict[str, Any]:
    """See ``Run.summary``."""
    latencies = run.latencies
    row = {
        "engine": run.engine_label,
        "workers": f"{run.world_size} of {run.ranks[0].world_size}" if run.idle_ranks else run.world_size,
        "batch size": run.batch_size,
        "schedule": run.settings.schedule_label,
        "dtype": run.dtype,
        "prompts": _prompts_in_words(run),
        "new tokens": run.total_new_tokens,
        "computed tokens": run.total_computed_tokens,
        "wall s": round(run.wall_s, 2),
        "warm-up s": round(run.warm_up_s, 2),
        "tokens/s": round(run.tokens_per_second, 1),
        "TTFT ms": round(1000 * run.mean_ttft_s, 1),
        **latencies.in_ms("TTFT"),
        "TPOT ms": round(1000 * run.mean_tpot_s, 1),
        **latencies.in_ms("ITL"),
        **latencies.in_ms("end-to-end"),
        "padding %": round(100 * run.padding_share, 1),
        "peak MB": round(run.peak_memory_bytes / 1e6) if run.peak_memory_bytes else None,
    }
    # Where there are neither ranks nor batches, nothing tells of it.
    return row | dict.fromkeys(OF_TIMES, UNKNOWN) if run.untimed_prompts and not run.is_timed else row


def shown_names(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a summary under the names that people are shown."""
    return {SHOWN.get(name, name): value for name, value in row.items()}


def _prompts_in_words(run: Run) -> str:
    failed = f", {run.failed_prompts} failed" if run.failed_prompts else ""
    return f"{run.finished_prompts} of {len(run.prompts)}{failed}"


def table_of(run: Run, of: str) -> pandas.DataFrame:
    """See ``Run.table``."""
    import pandas

    if of == "outputs":
        return pandas.DataFrame(output_columns(run))
    if of == "batches":
        return pandas.DataFrame([dataclasses.asdict(b) for b in run.batches])
    if of == "ranks":
        return pandas.DataFrame([dataclasses.asdict(r) | run.time_parts(r.rank) for r in run.ranks])
    if of == "load":
        return pandas.DataFrame([dataclasses.asdict(s) for s in run.load_samples])
    raise InputError(f"a Run has tables of outputs, batches, ranks and load, not of {shorten(of)}.")


def timed(run: Run) -> tuple[int, int]:
    """Prompts with an output of which a batch tells, and their new tokens."""
    told = bytearray(len(run.prompts))
    for batch in run.batches:
        for index in batch.indices:
            if index < len(told):
                told[index] = 1
    # By the reasons, not by the outputs: of a bulk these stand in a file.
    each = zip(told, run.new_tokens, run.finish_reasons, strict=True)
    own = [tokens for is_told, tokens, reason in each if is_told and reason is not None]
    return len(own), sum(own)
