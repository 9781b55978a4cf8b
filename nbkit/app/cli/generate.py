"""``nbkit generate``: a file of prompts in, a file of outputs out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from nbkit.app.cli.bulk import check_folder, generate_into
from nbkit.app.cli.options import SettingOptions, WorkersOption
from nbkit.app.cli.progress import watch
from nbkit.app.cli.run_table import print_notes, print_table
from nbkit.app.cli.saved_outputs import kept_outputs, save_somewhere
from nbkit.app.cli.saved_outputs import save as save
from nbkit.app.cli.terminal import EXIT_FAILED
from nbkit.errors import InputError, JobCancelled, NbkitError, file_name
from nbkit.files.atomic_write import check_writable
from nbkit.inference.workers import Workers
from nbkit.prompts.files import read_prompts
from nbkit.records.settings import FIELDS, Settings

OUT_ENDINGS = (".json", ".jsonl")
OPTIONS = SettingOptions(usual={name: getattr(Settings(), name) for name in FIELDS})


@OPTIONS.added_to
def generate(
    prompts: Annotated[
        Path, typer.Argument(help="A .txt file (a prompt a line), .jsonl, .json, .csv, .tsv, .parquet; .gz of one.")
    ],
    out: Annotated[
        Path,
        typer.Option("--out", help=".jsonl: a line a prompt; .json: the whole Run; else a folder, to go on with."),
    ],
    column: Annotated[
        str | None,
        typer.Option("--column", help="The column, or key, with the prompts, where it is not plain."),
    ] = None,
    workers: WorkersOption = None,
    on_error: Annotated[
        str, typer.Option("--on-error", help="Of a folder: record a prompt that cannot be used, or stop.")
    ] = "record",
    force: Annotated[
        bool, typer.Option("--force", help="Replace --out even where it holds more outputs than this run, or others.")
    ] = False,
    **asked: Any,
) -> None:
    """Generate for every prompt of a file, in its order. What is finished is saved at Ctrl-C or an error, too.

    Into a folder any number of prompts go, and the same command goes on where it was stopped, by whatever.
    """
    settings = Settings(**OPTIONS.read(asked))
    if out.suffix not in OUT_ENDINGS:
        check_folder(out, OUT_ENDINGS)
        generate_into(out, prompts, column, settings, workers, on_error)
        return
    listed = read_prompts(prompts, column)
    check_writable(out)
    kept = 0 if force else kept_outputs(out)
    if kept > len(listed):
        raise InputError(
            f"{file_name(out)} holds {kept:,} outputs, and this run brings {len(listed):,} at most: name another "
            "file, or replace it by --force."
        )
    with Workers(workers) as live:
        job = live.submit_generate(listed, settings)
        try:
            run = watch(job, settings, len(listed))
        except (JobCancelled, NbkitError):
            partial = job.partial()
            if partial.finished_prompts:
                save_somewhere(partial, out, force)
            raise
    print_table({settings.engine: run})
    print_notes({settings.engine: run})
    if not save_somewhere(run, out, force):
        sys.exit(EXIT_FAILED)
