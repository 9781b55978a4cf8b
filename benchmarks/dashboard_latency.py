"""How long after a slider is released does the first new point stand on the figure?

The explore dashboard in real JupyterLab in real Chromium, in live mode: the batch size is
changed in its read-out, and the time is taken, in the browser, from the key that confirms
it until the throughput figure has been drawn with the first point of the new run. The
compute itself (tokenising and prefill of the batch whose first token was there first) is
taken from the Run's records and subtracted: what remains is the pause in which live mode
waits for a next change (150 ms), the way to the ranks and back, and the drawing. Browser,
server, kernel and ranks share this machine's cores.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from comparison import percentile, print_table, result_path, write_result

import nbkit
from nbkit.app.dashboards.explore.explore import LIVE_PAUSE_S
from nbkit.records.export import load_runs

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "browser"))

if TYPE_CHECKING:
    from lab import OpenNotebook

TIMEOUT_MS = 60_000
WATCH = """
() => {
  // The throughput figure, 'batched: 99 tokens/s overall'.
  const figure = [...document.querySelectorAll('.nbkit-figure')].find(
    (each) => /^[a-z]+: /.test(each.getAttribute('aria-label') ?? ''));
  window.nbkitLatency = new Promise((done) => {
    let released = null, wasEmpty = false;
    document.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && released === null) released = performance.now();
    }, { capture: true });
    new MutationObserver(() => {
      if (released === null) return;
      const points = Number(figure.dataset.points);
      wasEmpty ||= points === 0;
      if (wasEmpty && points > 0) done(performance.now() - released);
    }).observe(figure, { attributes: true, attributeFilter: ['data-points', 'data-drawn'] });
  });
}
"""


def first_token_s(run: nbkit.Run) -> float:
    """Seconds of compute until the first token of the run was there."""
    begun = {batch.rank: batch for batch in sorted(run.batches, key=lambda b: -b.begin_s)}
    first = min(begun.values(), key=lambda b: b.begin_s + b.tokenize_s + b.prefill_s)
    return first.tokenize_s + first.prefill_s


def move(notebook: OpenNotebook, batch_size: int, saved: Path) -> dict[str, float]:
    """Move the slider once, in live mode, and wait for the run's end."""
    from playwright.sync_api import expect

    page = notebook.page
    page.evaluate(WATCH)
    notebook.set_slider("batch size", batch_size)
    total_ms = page.evaluate("window.nbkitLatency")
    expect(page.get_by_text(f"batched, batch size {batch_size}, 2 workers: 20 prompts in").first).to_be_visible(
        timeout=TIMEOUT_MS
    )
    expect(notebook.button("Run")).to_be_enabled(timeout=TIMEOUT_MS)
    saved.unlink(missing_ok=True)
    notebook.press("JSON")
    # Not by the page's words: those of the move before may still stand there.
    while not saved.exists():
        page.wait_for_timeout(50)
    run = list(load_runs(saved).values())[-1]
    compute_ms = 1000 * first_token_s(run)
    return {"total_ms": total_ms, "compute_ms": compute_ms, "beyond_ms": total_ms - compute_ms}


def measure(count: int, chromium: str) -> list[dict[str, float]]:
    """Open the notebook, and move its slider so many times."""
    from lab import CHROMIUM_OPTIONS, lab_on
    from playwright.sync_api import expect, sync_playwright

    moves = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        shutil.copy(ROOT / "lessons" / "app" / "explore_app.ipynb", folder)
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_OPTIONS)
        with lab_on(Path(folder), browser) as lab:
            notebook = lab.open("explore_app.ipynb")
            notebook.run_all()
            notebook.press("Run")
            expect(notebook.runs).to_have_count(1, timeout=TIMEOUT_MS)
            notebook.button("Live").click()
            expect(notebook.runs).to_have_count(2, timeout=TIMEOUT_MS)
            for number in range(count):
                moves.append(move(notebook, 4 + number % 7, Path(folder) / "results" / "runs.json"))
            notebook.close()
    return moves


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=20, help="at least 2 (default: 20)")
    parser.add_argument("--out")
    options = parser.parse_args()
    path = result_path(options.out, "dashboard_latency")
    chromium = shutil.which("chromium")
    if chromium is None or importlib.util.find_spec("playwright") is None:
        sys.exit("dashboard_latency.py drives Chromium: apt-get install chromium; python -m pip install playwright")
    moves = measure(options.moves, chromium)
    beyond = [each["beyond_ms"] for each in moves]
    findings = {
        "moves": [{name: round(value, 1) for name, value in each.items()} for each in moves],
        "pause_of_live_mode_ms": 1000 * LIVE_PAUSE_S,
        "beyond_the_compute_ms": {"median": statistics.median(beyond), "95th percentile": percentile(beyond, 95)},
        "total_ms_median": statistics.median(each["total_ms"] for each in moves),
    }
    print_table("From the slider's release to the first new point", moves)
    print_table("Beyond the compute, ms", [findings["beyond_the_compute_ms"]])
    write_result(path, "How long from the slider's release to the first new point?", vars(options), findings)


if __name__ == "__main__":
    main()
