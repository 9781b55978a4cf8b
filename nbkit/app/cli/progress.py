"""Progress: a generation's bar, with the lines that its ranks print above it."""

from __future__ import annotations

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from nbkit.app.cli.terminal import console
from nbkit.inference.progress import RunProgress, follow
from nbkit.inference.workers import Workers
from nbkit.records.run import Run
from nbkit.records.settings import Settings
from nbkit.runtime import Job, Log

BEAT_S = 0.2
STARTING = "starting the workers (importing torch takes a few seconds)"


def say_hello(live: Workers) -> None:
    """Wait for the workers, and show what each of them is."""
    with console.status(STARTING):
        ranks = live.wait_until_ready()
        hello = live.hello()
    devices = ", ".join(sorted({f"{info.device} ({info.device_name})" for info in ranks}))
    console.print(f"{len(ranks)} workers on {devices}")
    for greeting in hello.greetings:
        console.print(f"  {greeting.text} (process {greeting.pid} on {greeting.node}, {greeting.device})")
    console.print(f"  gathered in {1000 * max(hello.gather_s):.1f} ms\n")


def watch(job: Job, settings: Settings, prompts: int) -> Run:
    """Show a generation's progress until it ends; an interrupt cancels it and raises JobCancelled."""
    with Progress(
        TextColumn("{task.description:>8}"),
        BarColumn(),
        TextColumn("{task.fields[done]} prompts, {task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as bars:
        progress = RunProgress(settings, prompts)
        bar = bars.add_task(settings.engine, total=1.0, done=f"0 of {prompts}", rate=rate(progress))
        try:
            for told in follow(job, progress, BEAT_S):
                if isinstance(told, Log):
                    console.print(told.labelled, markup=False, soft_wrap=True)
                    continue
                done = f"{told.prompts_done} of {told.prompts}"
                bars.update(bar, completed=told.fraction_done, done=done, rate=rate(told))
        except KeyboardInterrupt:
            job.cancel()
        run: Run = job.result()
    return run


def rate(progress: RunProgress) -> str:
    """How fast a generation is, in words."""
    return f"{progress.tokens_per_second:.0f} computed tokens/s" if progress.tokens else "loading"
