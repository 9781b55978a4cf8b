"""Bulk run: what a finished bulk left in its folder, as a Run whose columns read as they are asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbkit.errors import InputError
from nbkit.files.atomic_write import path_of
from nbkit.records import BatchRecord, Fallback, OutOfMemory, RankRecord
from nbkit.records.bulk_manifest import MANIFEST, OUTPUTS, RECORDS, TIMES, Manifest
from nbkit.records.columns import LineColumn, OutputColumns, TimesColumn, line_starts, opened
from nbkit.records.run import Run
from nbkit.records.stored import Damaged, record_of


@dataclass(frozen=True)
class BulkTold:
    """What the ranks of all attempts told, put on one clock: the first line of a finished bulk's records.

    Attempts are laid end to end: what lies between them is in ``paused_s`` and on no clock. Each rank's
    record goes from the begin of the first to the end of the last. The other lines are the batches.
    ``failed_prompts`` have an error in the place of an output.
    """

    failed_prompts: int
    attempts: int
    paused_s: float
    ranks: list[RankRecord] = field(default_factory=list)
    out_of_memory: list[OutOfMemory] = field(default_factory=list)
    fallback: Fallback | None = None
    generation_rules: dict[str, Any] = field(default_factory=dict)
    unheeded_rules: dict[str, Any] = field(default_factory=dict)


def open_run(folder: str | Path) -> Run:
    """The Run of a finished bulk; see ``Run.open``."""
    folder = path_of(folder)
    manifest = Manifest.load(folder / MANIFEST)
    if not (folder / OUTPUTS).exists():
        raise InputError(
            f"the bulk in {folder} is not finished: go on with it by the call or command that began it; until then "
            "nbkit.Bulk.open(folder) reads what is done."
        )
    columns = OutputColumns(folder / OUTPUTS)
    told, batches = _told(folder / RECORDS)
    if told is None:
        told = BulkTold(columns.outputs.count(None), attempts=0, paused_s=0.0)
    return Run(
        settings=manifest.settings,
        prompts=columns.prompts,
        outputs=columns.outputs,
        prompt_tokens=columns.prompt_tokens,
        new_tokens=columns.new_tokens,
        finish_reasons=columns.finish_reasons,
        batches=batches,
        ranks=told.ranks,
        world_size=len(told.ranks),
        machine=manifest.machine,
        created=manifest.created,
        out_of_memory=told.out_of_memory,
        fallback=told.fallback,
        generation_rules=told.generation_rules,
        unheeded_rules=told.unheeded_rules,
        rank_numbers=[rank.rank for rank in told.ranks],
        times=TimesColumn(folder / TIMES, lambda: len(columns.outputs)),
        failed_prompts=told.failed_prompts,
        attempts=told.attempts,
        paused_s=told.paused_s,
    )


def _told(path: Path) -> tuple[BulkTold | None, Sequence[BatchRecord]]:
    """What the ranks told; nothing where a bulk is of an nbkit that kept none of it."""
    if not path.exists():
        return None, []
    try:
        with opened(path) as file:
            told = record_of(BulkTold, json.loads(file.readline()))
    except (Damaged, ValueError, RecursionError) as error:
        raise InputError(f"the data in {path} are damaged: {str(error).removesuffix('.')}.") from None
    starts: list[Any] = []

    def starts_of_batches() -> Any:
        if not starts:
            starts.append(line_starts(path, skip=1))
        return starts[0]

    return told, LineColumn(path, starts_of_batches, _batch)


def _batch(line: bytes, _: int) -> BatchRecord:
    return record_of(BatchRecord, json.loads(line))
