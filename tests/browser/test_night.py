"""A night as a person uses it: started, stopped, gone on with, watched from another notebook, exported."""

from __future__ import annotations

import re

import pytest
from lab import write_notebook
from playwright.sync_api import expect

RUN_TIMEOUT_MS = 60_000
MARKUP = "<img src=nowhere onerror='window.markupRan = true'> مرحبا 🙂"


@pytest.mark.slow
def test_a_night_is_stopped_gone_on_with_watched_and_exported(lab, open_with, open_notebook, screenshot):
    # Long enough to be stopped in the middle; one prompt too long for the model, and markup at the end.
    prompts = [f"Prompt {number}: it was a bright cold day in April" for number in range(300)]
    prompts[7] = "too long " * 3000
    (lab.folder / "night.txt").write_text("\n".join([*prompts, MARKUP]))
    notebook = open_with(
        "dashboards.Night(workers, folder='night', model='tiny-random', engine='batched', batch_size=1,\n"
        "                 max_new_tokens=150, ignore_eos=True, order='as_given')",
        height=1000,
    )
    page = notebook.page
    notebook.run_all()
    expect(page.get_by_text("Nothing in night yet.")).to_be_visible(timeout=RUN_TIMEOUT_MS)

    # The file is named, and it is said what is taken of it, before anything runs.
    file = page.get_by_label("file", exact=True)
    file.fill("nowhere.txt")
    file.press("Enter")
    expect(page.get_by_text("there is no file 'nowhere.txt'").first).to_be_visible()
    file.fill("night.txt")
    file.press("Enter")
    expect(page.get_by_text(re.compile(r"^night\.txt, .*: each line\.$"))).to_be_visible()
    assert notebook.width_needed() <= 1, "nothing is cut off at 1280 pixels"

    notebook.press("Start")
    expect(page.get_by_text("Running in night.")).to_be_visible(timeout=RUN_TIMEOUT_MS)
    expect(page.get_by_text("Outputs that finished last")).to_be_visible()
    screenshot(page, "night", page.locator(".nbkit").last, settle_ms=6000)

    # Another notebook, a kernel of its own: it looks, and can change nothing.
    write_notebook(lab.folder / "watch.ipynb", "from nbkit import dashboards\ndashboards.Night(folder='night')")
    watching = open_notebook("watch.ipynb", height=900)
    watching.run_all()
    expect(watching.page.get_by_text(re.compile(r"^Another process is at it \(process \d+ on "))).to_be_visible(
        timeout=RUN_TIMEOUT_MS
    )
    expect(watching.page.get_by_role("cell", name=re.compile(r"^Prompt \d+")).first).to_be_visible()
    for button in ("Go on", "Stop"):
        expect(watching.button(button)).to_be_disabled()

    # Stopped and gone on with.
    notebook.press("Stop")
    expect(page.get_by_text(re.compile(r"^Stopped after \d+ of (about )?301 prompts"))).to_be_visible(timeout=20_000)
    expect(watching.page.get_by_text(re.compile("^Stopped after"))).to_be_visible()
    expect(page.get_by_role("cell", name=re.compile("too long|tokens")).first).to_be_visible()
    # With another batch size, which changes no text.
    page.get_by_text(re.compile("^Prompts and settings: night.txt; batched, batch size 1, ")).click()
    notebook.set_slider("batch size", 16)
    notebook.press("Go on")
    ended = re.compile(r"^Finished: 301 prompts in .* \(2 starts\): 300 outputs, 1 failed, [\d,]+ tokens/s")
    expect(page.get_by_text(ended)).to_be_visible(timeout=RUN_TIMEOUT_MS)
    expect(watching.page.get_by_text(ended)).to_be_visible()
    expect(page.get_by_role("cell", name=MARKUP)).to_be_visible()
    assert page.evaluate("window.markupRan") is None

    # The end can be taken home from where it was only watched, too.
    assert watching.width_needed() <= 1, "nothing is cut off at 1280 pixels"
    watching.press(r"\.csv")
    expect(watching.page.get_by_text("Saved night.csv")).to_be_visible()
    assert len((lab.folder / "night.csv").read_text().splitlines()) == 302
