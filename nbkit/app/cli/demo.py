"""``nbkit demo``: the demos in a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nbkit.app.cli.options import SettingOptions, WorkersOption
from nbkit.app.cli.progress import say_hello, watch
from nbkit.app.cli.run_table import print_gains, print_table
from nbkit.app.cli.terminal import console, has_figures
from nbkit.files.atomic_write import check_writable
from nbkit.inference.workers import Workers
from nbkit.prompts import first_lines
from nbkit.records.run import Run
from nbkit.records.settings import ARTICLE, Settings

OPTIONS = SettingOptions(
    usual={
        "model": Settings().model,
        "batch_size": ARTICLE["batch_size"],
        "max_new_tokens": Settings().max_new_tokens,
        "dtype": Settings().dtype,
    },
    hints={"batch_size": "of the demo batched"},
)


@OPTIONS.added_to
def demo(
    workers: WorkersOption = None,
    prompts: Annotated[int, typer.Option("--prompts", help="How many: ten first lines of novels, repeated.")] = 100,
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = Path("results"),
    **asked: Any,
) -> None:
    """Run the demos: the hello-world gather, one prompt at a time, batched, and nbkit's own defaults."""
    read = OPTIONS.read(asked)
    batched = {**ARTICLE, "batch_size": read.pop("batch_size")}
    own = Settings(**read)
    article = Settings.of(own, **batched)
    demos = {"simple": Settings.of(article, engine="simple"), "batched": article, own.engine: own}
    listed = first_lines(prompts)
    files = {name: check_writable(out / f"demo-{name}.json") for name in demos}
    report = check_writable(out / "report.html")
    runs: dict[str, Run] = {}
    with Workers(workers) as live:
        say_hello(live)
        for name, settings in demos.items():
            runs[name] = watch(live.submit_generate(listed, settings), settings, len(listed))
            runs[name].save(files[name])
    print_table(runs)
    print_gains(runs)
    saved = list(files.values())
    if has_figures():
        from nbkit.figures.html.report import write_report

        saved.append(write_report(runs, report, title="nbkit demo"))
    for path in saved:
        console.print(f"saved {path}", soft_wrap=True)
