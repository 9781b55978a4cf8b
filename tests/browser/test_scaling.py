"""The scaling lab as a person uses it: a sweep run, stopped, gone on with; figures, roofline and sliders."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

SWEEP_TIMEOUT_MS = 150_000
SWEEP = """grid = nbkit.Grid(ranks=(1, 2), batch_sizes=(2, 5), repeats=2,
                  base=nbkit.Settings(max_new_tokens=6, ignore_eos=True))
dashboards.Scaling(workers, nbkit.Sweep(grid, nbkit.first_lines(10)), path="sweep.json")"""


@pytest.fixture(scope="module")
def notebook(lab):
    """The scaling lab, opened and run; both tests go on with it."""
    notebook = lab.open_with(SWEEP)
    notebook.run_all()
    ready = notebook.page.get_by_text("Ready. Choose and press Run sweep.")
    expect(ready).to_be_visible(timeout=SWEEP_TIMEOUT_MS)
    yield notebook
    notebook.close()


def choose_batch_sizes(notebook, words):
    sizes = notebook.page.get_by_label("batch sizes", exact=True)
    sizes.fill(words)
    sizes.press("Enter")


def test_what_cannot_be_swept_is_a_sentence(notebook):
    page = notebook.page
    page.set_viewport_size({"width": 900, "height": 1400})
    choose_batch_sizes(notebook, "1,many")
    notebook.press("Run sweep")
    expect(page.get_by_text(re.compile("batch sizes.*'1,many'"))).to_be_visible()
    expect(notebook.button("Run sweep")).to_be_enabled()
    assert notebook.width_needed() <= 1, "nothing is cut off at 900 pixels"


def test_a_sweep_is_run_and_its_figures_and_sliders_answer(notebook, screenshot):
    page = notebook.page
    page.set_viewport_size({"width": 1280, "height": 1650})
    choose_batch_sizes(notebook, "2,5")
    # Without a sweep, the article's machine can be asked.
    expect(page.get_by_text("From the published table's first row")).to_be_visible()
    expect(notebook.figure("8 ranks: ")).to_be_visible()

    notebook.press("Run sweep")
    expect(page.get_by_text(re.compile(r"^[1-9]\d* of 8 runs"))).to_be_visible(timeout=SWEEP_TIMEOUT_MS)
    notebook.press("Stop")
    expect(page.get_by_text(re.compile(r"^Stopped with [1-7] runs left"))).to_be_visible(timeout=SWEEP_TIMEOUT_MS)
    notebook.press("Run sweep")
    expect(page.get_by_text("All runs are measured; saved in sweep.json.")).to_be_visible(timeout=SWEEP_TIMEOUT_MS)
    for title in ("times as fast on 2 ranks", "lost to", "than ideal", "Most tokens/s"):
        expect(notebook.figure(title)).to_be_visible()
    expect(page.get_by_text(re.compile(r"^2 ranks are \d.\d\d times as fast"))).to_be_visible()

    notebook.press("Measure device")
    expect(notebook.figure("of what")).to_be_visible(timeout=SWEEP_TIMEOUT_MS)

    # The machine that was just measured can be asked for what nobody measured.
    page.get_by_label("machine", exact=True).select_option(index=0)
    expect(page.get_by_text(re.compile(r"^Fitted to \d+ runs here"))).to_be_visible(timeout=30_000)
    expect(page.get_by_text(re.compile("More ranks pay up to"))).to_be_visible(timeout=30_000)
    assert notebook.width_needed() <= 1, "nothing is cut off at 1280 pixels"
    screenshot(page, "scaling", page.locator(".nbkit").last)
    screenshot(page, "what_if", page.get_by_text("What would other ranks, prompts and batches bring?"))
