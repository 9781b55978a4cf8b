"""A Run in one line."""

from __future__ import annotations

from nbkit.records import Run


def headline(run: Run) -> str:
    """A Run in one line: what was asked and what it brought."""
    batch = "" if run.settings.engine == "simple" else f", batch size {run.settings.batch_size}"
    workers = f"{run.world_size} worker{'s' if run.world_size != 1 else ''}"
    done = f"{run.finished_prompts} prompts in {run.wall_s:.1f} s"
    if not run.is_complete:
        done = f"stopped after {run.finished_prompts} of {len(run.prompts)} prompts"
    return f"{run.settings.engine}{batch}, {workers}: {done}, {run.tokens_per_second:.0f} tokens/s"
