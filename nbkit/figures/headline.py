"""A Run in one line, and what was not as it should be."""

from __future__ import annotations

from nbkit.run import Run


def headline(run: Run) -> str:
    """A Run in one line: what was asked and what it brought."""
    batch = "" if run.settings.engine == "simple" else f", batch size {run.batch_size}"
    workers = f"{run.world_size} worker{'s' if run.world_size != 1 else ''}"
    done = f"{run.finished_prompts} prompts in {run.wall_s:.1f} s"
    if not run.is_complete:
        done = f"stopped after {run.finished_prompts} of {len(run.prompts)} prompts"
    return f"{run.settings.engine}{batch}, {workers}: {done}, {run.tokens_per_second:.0f} tokens/s"


def memory_note(run: Run) -> str:
    """What did not fit into memory and was begun anew, in a sentence without its stop; empty if all fitted."""
    count = len(run.out_of_memory)
    if not count:
        return ""
    least = min(each.then for each in run.out_of_memory)
    if count == 1:
        return f"1 batch did not fit into memory: begun anew {least} at a time"
    return f"{count} batches did not fit into memory: begun anew, down to {least} at a time"


def headline_with_note(run: Run) -> str:
    """The headline, and what did not fit into memory."""
    note = memory_note(run)
    return f"{headline(run)}; {note}" if note else headline(run)
