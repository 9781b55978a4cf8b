"""Output table: what a Run tells of each prompt, column by column, as tables and exports have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nbkit.records.latency import OutputTimes

if TYPE_CHECKING:
    from nbkit.records.run import Run


def output_columns(run: Run) -> dict[str, Sequence[Any]]:
    """A sequence for each column, in the prompts' order; None where there is no output, or its times are not known.

    ``itl_p50_s`` and ``itl_max_s`` are of an output's inter-token times, within the error of a ``TimeHistogram``;
    None of one token.
    """
    return {
        "prompt": [str(prompt) for prompt in run.prompts],
        "output": run.outputs,
        "prompt_tokens": run.prompt_tokens,
        "new_tokens": run.new_tokens,
        "finish_reason": run.finish_reasons,
        "ttft_s": [None if times is None else times.ttft_s for times in run.times],
        "end_to_end_s": [None if times is None else times.end_to_end_s for times in run.times],
        "itl_p50_s": [_inter_token_s(times, 50) for times in run.times],
        "itl_max_s": [_inter_token_s(times, 100) for times in run.times],
    }


def output_rows(run: Run) -> list[dict[str, Any]]:
    """The same, a row a prompt."""
    columns = output_columns(run)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _inter_token_s(times: OutputTimes | None, percent: float) -> float | None:
    if times is None or not times.inter_token.count:
        return None
    return float(f"{times.inter_token.percentile(percent):.4g}")
