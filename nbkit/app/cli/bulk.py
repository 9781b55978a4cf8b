"""A bulk from the command line: a file of prompts in, a folder out, gone on with by the same command."""

from __future__ import annotations

from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from nbkit.app.cli.terminal import console
from nbkit.app.durations import duration
from nbkit.errors import InputError, shorten
from nbkit.inference.bulk import Bulk, BulkStatus
from nbkit.inference.bulk.driver import run_bulk
from nbkit.inference.workers import Workers
from nbkit.prompts.files import PROMPT_ENDINGS
from nbkit.records.settings import Settings

FILE_ENDINGS = (*PROMPT_ENDINGS, ".gz", ".html", ".xlsx")
"""Of files that are no results of a generation: nobody means a folder by such a name."""


def check_folder(out: Path, endings: tuple[str, ...]) -> None:
    """Refuse a folder that is named like a file; ``endings`` are those of files that can be written."""
    if out.suffix.lower() in FILE_ENDINGS and not out.is_dir():
        raise InputError(
            f"--out must end in {' or '.join(endings)}, or name a folder for a bulk, not "
            f"{shorten(str(out))}: a finished bulk is exported by nbkit.Bulk.open(folder).export(file)."
        )


def generate_into(
    folder: Path, prompts: Path, column: str | None, settings: Settings, workers: int | None, on_error: str
) -> None:
    """Run a bulk, or go on with it, and show how far it is."""
    with (
        Workers(workers) as live,
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            console=console,
        ) as bars,
    ):
        bar = bars.add_task(settings.engine, total=None, told="starting")

        def tell(status: BulkStatus) -> None:
            bars.update(bar, completed=status.done, total=status.expected, told=in_words(status))

        def say(line: str) -> None:
            console.print(line, markup=False, soft_wrap=True)

        try:
            bulk = run_bulk(live, prompts, folder, settings, column=column, on_error=on_error, tell=tell, say=say)
        except KeyboardInterrupt:
            say(f"{Bulk.open(folder).status().done:,} prompts are done; the same command goes on.")
            raise
    _say_end(bulk)


def in_words(status: BulkStatus) -> str:
    """How far a bulk is: ``1,024 of about 2,000 prompts, 3 failed, 310 tokens/s, 2 min 05 s left``."""
    of = f" of {status.total:,}" if status.total is not None else ""
    if status.total is None and status.expected:
        of = f" of about {status.expected:,}"
    said = [f"{status.done:,}{of} prompts", f"{status.failed:,} failed"]
    if status.tokens_per_second:
        said.append(f"{status.tokens_per_second:,.0f} tokens/s")
    if status.seconds_left is not None and status.is_running:
        said.append(f"{duration(status.seconds_left)} left")
    return ", ".join(said)


def _say_end(bulk: Bulk) -> None:
    status = bulk.status()
    failed = f", and why {status.failed:,} of them failed" if status.failed else ""
    console.print(f"saved {status.done:,} outputs in {bulk.folder / 'outputs.jsonl'}{failed}", soft_wrap=True)
