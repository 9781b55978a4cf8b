"""The handout: words, questions, formulas and commands on a few A4 pages, as PDF: ``make handout``."""

from __future__ import annotations

import argparse
import shutil
import sys
from html import escape
from pathlib import Path
from string import Template

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import lesson_text  # noqa: E402

import nbkit  # noqa: E402

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SAY_BROWSER = "the handout is printed by Chromium: apt-get install chromium; python -m pip install playwright"
LINES_FOR_NOTES = 9

WORDS = {
    "rank": "One process on one device, numbered from 0.",
    "world size": "How many ranks there are.",
    "gather": "A call that every rank makes, and that gives each of them what all have brought, in rank order.",
    "data parallelism": "Each rank holds the whole model, and the prompts are divided among the ranks.",
    "prefill": "The pass in which the model reads a whole prompt at once, and gives the first new token.",
    "decode": "The passes after it, each of which gives every sequence one more token.",
    "TTFT": "Time to first token: from when a rank takes the prompt to its first new token.",
    "ITL, TPOT": "The time between one token and the next (inter-token latency), and its mean over a text, "
    "time per output token.",
    "throughput": "New tokens that users get, from all ranks together, per second of wall time.",
    "computed tokens": "What the devices decoded, with what is thrown away after a text has ended.",
    "batch": "Prompts that go through the model together, so that a step reads the weights once for all.",
    "padding": "Tokens that fill shorter prompts of a batch up to the longest: computed, and of no use to anyone.",
    "KV cache": "Keys and values of all earlier positions of each sequence, kept so that none is computed again.",
    "speed-up": "How many times as fast the same work is done as by one rank.",
    "efficiency": "The speed-up over the number of ranks: 100% if none is lost.",
    "batch quantisation": "What is lost because batches are whole: nearly empty ones, and ranks that have one less.",
    "roofline": "The most tokens/s that a device's memory and arithmetic allow, by batch size.",
    "warm-up": "What a process pays once: libraries load code, new shapes are prepared. It is no speed.",
}
"""One sentence each, as the notebooks use the words."""

COMMANDS = """\
make lab          # JupyterLab on the first notebook
make app          # Explore as a web page, without code cells
make demo         # hello, one prompt at a time, batches; results/report.html
nbkit doctor      # what this machine has, what is missing and how to get it
nbkit check       # everything that is claimed, tried on this machine
nbkit sweep --ranks 1,2 --batch-size 1,4,16 --out results/sweep.json
nbkit generate prompts.jsonl --out night    # a night's work; goes on after a crash"""

CELL = """\
import nbkit
from nbkit import dashboards

workers = nbkit.Workers()               # one rank for each GPU, or 2 CPU workers
workers.run(function, argument)         # every rank's return value, in rank order
job = workers.submit(function)          # at once; job.result(), job.cancel()

prompts = nbkit.first_lines(100)
run = workers.generate(prompts, max_new_tokens=100)                       # the fastest settings
run = workers.generate(prompts, engine="batched", batch_size=16)          # one setting changed
run = workers.generate(prompts, **nbkit.ARTICLE)                          # as the article does
run.outputs                             # in the prompts' order
run.tokens_per_second                   # throughput
run.mean_ttft_s, run.mean_tpot_s        # seconds
run.summary()                           # in one table; run.table("batches") for each batch

dashboards.Explore(workers)             # move a slider, press Run
dashboards.Scaling(workers)             # sweeps, lost time, the limit, what if
workers.close()                         # frees the ranks' memory"""


def page(all_lessons: list[lesson_text.Lesson]) -> str:
    """The handout as HTML, with the questions of the notebooks."""
    lines = '<div class="lines"><div></div><div></div><div></div></div>'
    questions = [
        f'<div class="question"><b>{escape(lesson.title)}</b> {escape(lesson.question)}{lines}</div>'
        for lesson in all_lessons
    ]
    return Template((HERE / "handout.html").read_text(encoding="utf-8")).substitute(
        version=nbkit.__version__,
        words="\n".join(f"<dt>{escape(word)}</dt><dd>{escape(said)}</dd>" for word, said in WORDS.items()),
        questions="\n".join(questions),
        commands=escape(COMMANDS),
        cell=escape(CELL),
        notes=LINES_FOR_NOTES * "<div></div>",
    )


def write_pdf(html: str, path: Path, browser: str) -> None:
    """Print a page of HTML on A4, without a network."""
    from playwright.sync_api import sync_playwright

    path.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        sheet = chromium.new_page()
        sheet.set_content(html)
        sheet.pdf(path=path, prefer_css_page_size=True, print_background=True)
        chromium.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE.parent / "_build" / "handout.pdf")
    path: Path = parser.parse_args().out
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit(SAY_BROWSER)
    try:
        write_pdf(page(lesson_text.lessons()), path, browser)
    except ModuleNotFoundError as error:
        if error.name != "playwright":
            raise
        sys.exit(SAY_BROWSER)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
