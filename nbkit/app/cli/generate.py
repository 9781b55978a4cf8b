"""``nbkit generate``: a file of prompts in, a file of outputs out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from nbkit.app.cli.options import SettingOptions, WorkersOption
from nbkit.app.cli.progress import watch
from nbkit.app.cli.run_table import print_notes, print_table
from nbkit.app.cli.terminal import console
from nbkit.errors import InputError, JobCancelled, NbkitError
from nbkit.files.atomic_write import check_writable, write_atomically
from nbkit.inference.workers import Workers
from nbkit.prompts.files import read_prompts
from nbkit.records.request import Conversation
from nbkit.records.run import Run
from nbkit.records.settings import FIELDS, Settings

OUT_ENDINGS = (".json", ".jsonl")
OPTIONS = SettingOptions(usual={name: getattr(Settings(), name) for name in FIELDS})


@OPTIONS.added_to
def generate(
    prompts: Annotated[
        Path, typer.Argument(help="A .txt file (a prompt a line), .jsonl, .json, .csv, .tsv, .parquet; .gz of one.")
    ],
    out: Annotated[Path, typer.Option("--out", help=".jsonl: a line a prompt; .json: the whole Run.")],
    column: Annotated[
        str | None,
        typer.Option("--column", help="The column, or key, with the prompts, where it is not plain."),
    ] = None,
    workers: WorkersOption = None,
    **asked: Any,
) -> None:
    """Generate for every prompt of a file, in its order. What is finished is saved at Ctrl-C or an error, too."""
    settings = Settings(**OPTIONS.read(asked))
    listed = read_prompts(prompts, column)
    if out.suffix not in OUT_ENDINGS:
        raise InputError(f"--out must end in {' or '.join(OUT_ENDINGS)}, not {str(out)!r}.")
    check_writable(out)
    with Workers(workers) as live:
        job = live.submit_generate(listed, settings)
        try:
            run = watch(job, settings, len(listed))
        except (JobCancelled, NbkitError):
            _save_finished(job.partial(), out)
            raise
    save(run, out)
    print_table({settings.engine: run})
    print_notes({settings.engine: run})
    console.print(f"saved {out}", soft_wrap=True)


def save(run: Run, out: Path) -> None:
    """Write a run's finished outputs, a line each, or the whole run, as the file's ending asks."""
    if out.suffix == ".json":
        run.save(out)
        return
    rows = run.table("outputs").to_dict("records")
    for row, prompt in zip(rows, run.prompts, strict=True):
        row["prompt"] = prompt.to_list() if isinstance(prompt, Conversation) else prompt
    finished = [{"index": i, **row} for i, row in enumerate(rows) if run.outputs[i] is not None]
    write_atomically(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in finished))


def _save_finished(partial: Run, out: Path) -> None:
    """Keep the finished outputs of a run that was stopped or has failed."""
    if partial.finished_prompts:
        save(partial, out)
        console.print(f"saved {partial.finished_prompts} of {len(partial.prompts)} outputs in {out}", soft_wrap=True)
