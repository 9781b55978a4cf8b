"""The command line: ``nbkit demo``, ``generate``, ``sweep``, ``doctor``."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from nbkit.app.cli.sweep_table import print_sweep, watch_sweep
from nbkit.errors import InputError, JobCancelled, NbkitError
from nbkit.files.atomic_write import check_writable, write_atomically
from nbkit.files.machine import package_version
from nbkit.inference.progress import RunProgress
from nbkit.inference.workers import Workers
from nbkit.measure.sweep import Grid, Sweep, SweepRunner, resume_or_begin, whole_numbers
from nbkit.prompts import first_lines
from nbkit.prompts.files import read_prompts
from nbkit.records.request import Conversation
from nbkit.records.run import Run
from nbkit.records.settings import (
    ARTICLE,
    AUTO,
    DTYPES,
    ENGINES,
    ORDERS,
    QUANTIZATIONS,
    SPECIAL_TOKENS,
    SPLITS,
    Settings,
)
from nbkit.runtime import Emitted, Job, Log

app = typer.Typer(
    help="Learn, explore and run multi-GPU LLM inference.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False)

DEFAULTS = Settings()
WORD_CHOICES = ("engines", "dtypes", "splits", "orders")
OUT_ENDINGS = (".json", ".jsonl")
EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130

WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", help="How many ranks. [default: one for each GPU, or 2 CPU workers]", show_default=False
    ),
]
ModelOption = Annotated[str, typer.Option("--model", help="A short name, a hub id or a folder.")]
DtypeOption = Annotated[str, typer.Option("--dtype", help=f"One of {', '.join(DTYPES)}.")]
NewTokensOption = Annotated[int, typer.Option("--max-new-tokens", help="The most tokens generated for a prompt.")]


def main() -> None:
    """Run the command line; errors end it with a sentence and an exit code, not a traceback."""
    try:
        app()
    except InputError as error:
        _fail(error, EXIT_BAD_INPUT)
    except NbkitError as error:
        _fail(error, EXIT_FAILED)
    except (KeyboardInterrupt, JobCancelled):
        console.print("stopped.")
        sys.exit(EXIT_INTERRUPTED)


@app.command()
def demo(
    workers: WorkersOption = None,
    model: ModelOption = DEFAULTS.model,
    prompts: Annotated[int, typer.Option("--prompts", help="How many: ten first lines of novels, repeated.")] = 100,
    max_new_tokens: NewTokensOption = DEFAULTS.max_new_tokens,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Prompts a batch and rank, of batched.")] = ARTICLE[
        "batch_size"
    ],
    dtype: DtypeOption = DEFAULTS.dtype,
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = Path("results"),
) -> None:
    """Run the demos: the hello-world gather, one prompt at a time, batched, and nbkit's own defaults."""
    asked = Settings(model=model, max_new_tokens=max_new_tokens, dtype=dtype)
    article = Settings.of(asked, **{**ARTICLE, "batch_size": batch_size})
    demos = {"simple": Settings.of(article, engine="simple"), "batched": article, asked.engine: asked}
    listed = first_lines(prompts)
    files = {name: check_writable(out / f"demo-{name}.json") for name in demos}
    report = check_writable(out / "report.html")
    runs: dict[str, Run] = {}
    with Workers(workers) as live:
        _say_hello(live)
        for name, settings in demos.items():
            runs[name] = _watch(live.submit_generate(listed, settings), settings, len(listed))
            runs[name].save(files[name])
    from nbkit.figures.html.report import write_report

    write_report(runs, report, title="nbkit demo")
    _print_table(runs)
    _print_gains(runs)
    for path in (*files.values(), report):
        console.print(f"saved {path}", soft_wrap=True)


@app.command()
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
    model: ModelOption = DEFAULTS.model,
    engine: Annotated[str, typer.Option("--engine", help=f"One of {', '.join(ENGINES)}.")] = DEFAULTS.engine,
    batch_size: Annotated[
        str,
        typer.Option("--batch-size", help=f"Prompts side by side on a rank, or {AUTO}: as many as fit into memory."),
    ] = str(DEFAULTS.batch_size),
    token_budget: Annotated[
        int | None,
        typer.Option("--token-budget", help="The most tokens, prompts' and new ones, side by side on a rank."),
    ] = DEFAULTS.token_budget,
    max_new_tokens: NewTokensOption = DEFAULTS.max_new_tokens,
    dtype: DtypeOption = DEFAULTS.dtype,
    quantization: Annotated[
        str, typer.Option("--quantization", help=f"Of the weights, with compiled: {', '.join(QUANTIZATIONS)}.")
    ] = DEFAULTS.quantization,
    split: Annotated[
        str, typer.Option("--split", help=f"How prompts reach ranks: {' or '.join(SPLITS)}.")
    ] = DEFAULTS.split,
    order: Annotated[
        str, typer.Option("--order", help=f"{' or '.join(ORDERS)}: the longest first.")
    ] = DEFAULTS.order,
    temperature: Annotated[
        float, typer.Option("--temperature", help="0: the likeliest token; above: drawn at random.")
    ] = DEFAULTS.temperature,
    top_p: Annotated[
        float, typer.Option("--top-p", help="Draw from the likeliest tokens, up to this sum of probabilities.")
    ] = DEFAULTS.top_p,
    top_k: Annotated[
        int, typer.Option("--top-k", help="Draw from so many likeliest tokens; 0: from all.")
    ] = DEFAULTS.top_k,
    seed: Annotated[int, typer.Option("--seed", help="Of the draws.")] = DEFAULTS.seed,
    stop: Annotated[
        list[str] | None,
        typer.Option("--stop", help="An output ends before this string; may be given several times."),
    ] = None,
    special_tokens: Annotated[
        str,
        typer.Option(
            "--special-tokens",
            help=f"Of text prompts, the tokenizer's own, such as BOS: {', '.join(SPECIAL_TOKENS)} "
            "(auto: added, but no second BOS).",
        ),
    ] = DEFAULTS.special_tokens,
) -> None:
    """Generate for every prompt of a file, in its order. What is finished is saved at Ctrl-C or an error, too."""
    asked = Settings(
        model=model,
        engine=engine,
        batch_size=_batch_size(batch_size),
        token_budget=token_budget,
        max_new_tokens=max_new_tokens,
        dtype=dtype,
        quantization=quantization,
        split=split,
        order=order,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        seed=seed,
        stop=tuple(stop or DEFAULTS.stop),
        special_tokens=special_tokens,
    )
    listed = read_prompts(prompts, column)
    if out.suffix not in OUT_ENDINGS:
        raise InputError(f"--out must end in {' or '.join(OUT_ENDINGS)}, not {str(out)!r}.")
    check_writable(out)
    with Workers(workers) as live:
        job = live.submit_generate(listed, asked)
        try:
            run = _watch(job, asked, len(listed))
        except (JobCancelled, NbkitError):
            _save_finished(job.partial(), out)
            raise
    _save(run, out)
    _print_table({engine: run})
    _print_notes({engine: run})
    console.print(f"saved {out}", soft_wrap=True)


@app.command()
def sweep(
    ranks: Annotated[str, typer.Option("--ranks", help="Numbers of ranks, with commas.")] = "1,2",
    batch_size: Annotated[str, typer.Option("--batch-size", help="Batch sizes, with commas.")] = "1,4,16",
    engine: Annotated[str, typer.Option("--engine", help=f"With commas, of {', '.join(ENGINES)}.")] = "batched",
    dtype: Annotated[str, typer.Option("--dtype", help=f"With commas, of {', '.join(DTYPES)}.")] = "auto",
    split: Annotated[str, typer.Option("--split", help=f"With commas, of {', '.join(SPLITS)}.")] = "static",
    order: Annotated[str, typer.Option("--order", help=f"With commas, of {', '.join(ORDERS)}.")] = "as_given",
    repeats: Annotated[int, typer.Option("--repeats", help="How often each combination is measured.")] = 3,
    prompts: Annotated[
        str, typer.Option("--prompts", help="How many first lines, or a file as for generate.")
    ] = "40",
    column: Annotated[str | None, typer.Option("--column", help="The file's column with the prompts.")] = None,
    model: ModelOption = DEFAULTS.model,
    max_new_tokens: NewTokensOption = 20,
    ignore_eos: Annotated[
        bool, typer.Option(help="Go on past the end of a text: equal work for every prompt.")
    ] = True,
    seed: Annotated[int, typer.Option("--seed", help="Of the order in which combinations are measured.")] = 0,
    out: Annotated[Path, typer.Option("--out", help="One JSON file; if it is there, it is gone on with.")] = Path(
        "results/sweep.json"
    ),
) -> None:
    """Measure every combination of ranks, batch sizes and more. After Ctrl-C the same command goes on."""
    grid = Grid(
        ranks=whole_numbers(ranks, "--ranks"),
        batch_sizes=whole_numbers(batch_size, "--batch-size"),
        **{name: _words(text) for name, text in zip(WORD_CHOICES, (engine, dtype, split, order), strict=True)},
        base=Settings(model=model, max_new_tokens=max_new_tokens, ignore_eos=ignore_eos),
        repeats=repeats,
        seed=seed,
    )
    is_number = prompts.isascii() and prompts.isdigit()
    listed = first_lines(int(prompts)) if is_number else read_prompts(Path(prompts), column)
    report = check_writable(out).with_suffix(".html")
    if report == out:
        raise InputError(f"--out names the file of the measurements, not {str(out)!r}: the report goes there.")
    measured = resume_or_begin(out, grid, listed)
    if measured.measurements:
        begins = f"{out} is complete" if measured.is_complete else f"going on with {out}"
        console.print(f"{begins}: {_how_far(measured)}", soft_wrap=True)
    if not measured.is_complete:
        _measure(measured, out)
    print_sweep(measured, console)
    saved = [out]
    # The figures need plotly, which the command line does not.
    if measured.measurements and package_version("plotly"):
        from nbkit.figures.html.sweep_report import write_sweep_report

        saved.append(write_sweep_report(measured, report))
    for path in saved:
        console.print(f"saved {path}", soft_wrap=True)
    for failure in measured.failures:
        console.print(f"failed: {failure.point.label}: {failure.message}", markup=False, soft_wrap=True)
    sys.exit(EXIT_FAILED if measured.failures else 0)


@app.command()
def doctor() -> None:
    """Say what this machine has, what nbkit will use, what is missing and how to get it."""
    from nbkit.app.doctor import examine

    checks = examine()
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("", "what", "found", "remedy"):
        table.add_column(column, overflow="fold")
    for check in checks:
        table.add_row(check.mark, check.what, check.found, check.remedy)
    console.print(table)
    broken = [check.what for check in checks if check.is_broken]
    console.print(f"\nnbkit cannot run here: {', '.join(broken)}." if broken else "\nnbkit can run here.")
    sys.exit(EXIT_FAILED if broken else 0)


def _say_hello(live: Workers) -> None:
    with console.status("starting the workers (importing torch takes a few seconds)"):
        ranks = live.wait_until_ready()
        hello = live.hello()
    devices = ", ".join(sorted({f"{info.device} ({info.device_name})" for info in ranks}))
    console.print(f"{len(ranks)} workers on {devices}")
    for greeting in hello.greetings:
        console.print(f"  {greeting.text} (process {greeting.pid} on {greeting.node}, {greeting.device})")
    console.print(f"  gathered in {1000 * max(hello.gather_s):.1f} ms\n")


def _watch(job: Job, settings: Settings, prompts: int) -> Run:
    """Show a generation's progress until it ends; an interrupt cancels it and raises JobCancelled."""
    progress = RunProgress(settings, prompts)
    with Progress(
        TextColumn("{task.description:>8}"),
        BarColumn(),
        TextColumn("{task.fields[done]} prompts, {task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as bars:
        bar = bars.add_task(settings.engine, total=1.0, done=f"0 of {prompts}", rate="loading")
        try:
            for event in job.events(timeout=0.2):
                if isinstance(event, Log):
                    console.print(event.labelled, markup=False, soft_wrap=True)
                elif isinstance(event, Emitted):
                    progress.take(event.rank, event.value)
                    _update(bars, bar, progress)
        except KeyboardInterrupt:
            job.cancel()
        run: Run = job.result()
    return run


def _update(bars: Progress, bar: TaskID, progress: RunProgress) -> None:
    rate = f"{progress.tokens_per_second:.0f} computed tokens/s" if progress.tokens else "loading"
    done = f"{progress.prompts_done} of {progress.prompts}"
    bars.update(bar, completed=progress.fraction_done, done=done, rate=rate)


def _measure(measured: Sweep, out: Path) -> None:
    """Measure what of a sweep is left; at an interrupt, say how to go on."""
    with Workers(max(measured.grid.ranks)) as live:
        try:
            with console.status("starting the workers (importing torch takes a few seconds)"):
                runner = SweepRunner(live, measured, out)
            watch_sweep(runner, console)
        except KeyboardInterrupt:
            saved = f", saved in {out}" if measured.measurements else ""
            console.print(f"stopped: {_how_far(measured)}{saved}; the same command goes on.", soft_wrap=True)
            sys.exit(EXIT_INTERRUPTED)


def _how_far(measured: Sweep) -> str:
    return f"{len(measured.measurements)} of {len(measured.grid.plan())} runs done"


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _print_table(runs: dict[str, Run]) -> None:
    """Runs side by side, a column each."""
    summaries = [run.summary() for run in runs.values()]
    table = Table(box=None, padding=(0, 3, 0, 0))
    table.add_column("")
    for name in runs:
        table.add_column(name, justify="right", style="bold")
    for row in summaries[0]:
        if row != "engine":
            table.add_row(row, *(str(summary[row]) for summary in summaries))
    console.print(table)


def _print_gains(runs: dict[str, Run]) -> None:
    """What each of the demo's runs brings over the one before it."""
    console.print()
    for (before, slower), (name, faster) in itertools.pairwise(runs.items()):
        times = faster.tokens_per_second / slower.tokens_per_second
        console.print(f"{name}, batch size {faster.batch_size}: {times:.1f} times the throughput of {before}.")
    _print_notes(runs)
    console.print()


def _print_notes(runs: dict[str, Run]) -> None:
    """What was not as asked for, or as usual."""
    for name, run in runs.items():
        if run.out_of_memory or run.fallback or run.generation_rules or run.unheeded_rules:
            # Imported here: plotly, which comes with it, takes a second.
            from nbkit.figures import run_note

            if note := run_note(run):
                console.print(f"{name}: {note}.", soft_wrap=True)


def _batch_size(text: str) -> int | str:
    if text == AUTO:
        return AUTO
    try:
        return int(text)
    except ValueError:
        raise InputError(f"--batch-size takes {AUTO} or a whole number of at least 1, not {text!r}.") from None


def _save(run: Run, out: Path) -> None:
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
        _save(partial, out)
        console.print(f"saved {partial.finished_prompts} of {len(partial.prompts)} outputs in {out}", soft_wrap=True)


def _fail(error: NbkitError, code: int) -> None:
    Console(stderr=True, highlight=False).print(f"nbkit: {error}", markup=False, soft_wrap=True)
    sys.exit(code)
