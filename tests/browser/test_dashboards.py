"""The dashboards as a person uses them: real JupyterLab, real Chromium, real workers, the real model."""

from __future__ import annotations

import re

from playwright.sync_api import expect

RUN_TIMEOUT_MS = 120_000


def test_explore_shows_a_run_live_and_compares_it_with_the_next(lab, screenshot):
    notebook = lab.open("03_batches.ipynb", width=1280, height=1750)
    page = notebook.page
    notebook.run_all()
    expect(page.get_by_text("Ready. Choose and press Run.")).to_be_visible(timeout=RUN_TIMEOUT_MS)

    # A first run, watched while it goes.
    notebook.set_slider("batch size", 2)
    notebook.button("Run").click()
    expect(notebook.button("Run")).to_be_disabled()
    running = page.locator(".gtitle", has_text=re.compile(r"batched: \d+ computed tokens/s"))
    expect(running).to_be_visible(timeout=RUN_TIMEOUT_MS)
    early = page.locator(".js-line").last.get_attribute("d") or ""
    expect(page.get_by_text(re.compile(r"^[1-9]\d* of 20 prompts"))).to_be_visible(timeout=RUN_TIMEOUT_MS)
    later = page.locator(".js-line").last.get_attribute("d") or ""
    assert len(later) > len(early), "the throughput line grows while the run goes"
    expect(page.locator(".widget-hprogress")).to_have_count(2)
    expect(page.get_by_text(re.compile("batch size 2, 2 workers: 20 prompts in")).first).to_be_visible(
        timeout=RUN_TIMEOUT_MS
    )
    rows = page.locator(".jp-Accordion, .widget-accordion").last.locator("tbody tr")
    expect(rows).to_have_count(1)

    # The slider moved, a second run beside the first.
    expect(notebook.button("Run")).to_be_enabled()
    notebook.set_slider("batch size", 10)
    notebook.button("Run").click()
    expect(rows).to_have_count(2, timeout=RUN_TIMEOUT_MS)
    expect(rows.nth(0).locator("td").nth(3)).to_have_text("2")
    expect(rows.nth(1).locator("td").nth(3)).to_have_text("10")
    expect(page.locator(".gtitle", has_text="times the throughput of")).not_to_have_count(0)
    notebook.scroll_to(page.locator(".widget-dropdown").nth(-2))
    screenshot(page, "explore")

    # Stop keeps what is finished and leaves the dashboard ready.
    notebook.set_slider("new tokens", 400)
    notebook.button("Run").click()
    expect(running.last).to_be_visible(timeout=RUN_TIMEOUT_MS)
    notebook.button("Stop").click()
    expect(page.get_by_text(re.compile(r"stopped after \d+ of 20 prompts")).first).to_be_visible(timeout=20_000)
    expect(notebook.button("Run")).to_be_enabled()
    expect(notebook.button("Stop")).to_be_disabled()
    expect(rows).to_have_count(3)

    # Markup in a prompt is text, in the output table as everywhere.
    notebook.set_slider("new tokens", 4)
    page.get_by_text("Prompts of your own").click()
    own = page.locator("textarea").last
    own.fill("<img src=nowhere onerror='window.markupRan = true'><b>bold</b>")
    own.blur()
    notebook.button("Run").click()
    expect(rows).to_have_count(4, timeout=RUN_TIMEOUT_MS)
    expect(page.get_by_text("<img src=nowhere onerror='window.markupRan = true'><b>bold</b>").first).to_be_visible()
    assert page.evaluate("window.markupRan") is None

    # Bad input is a sentence, and the dashboard goes on.
    page.locator(".widget-text input").last.fill("no-such-model")
    page.locator(".widget-text input").last.press("Enter")
    notebook.button("Run").click()
    expect(page.get_by_text("unknown model 'no-such-model'")).to_be_visible()
    expect(notebook.button("Run")).to_be_enabled()
    notebook.close()


def test_hello_shows_who_answered(lab, screenshot):
    notebook = lab.open("01_hello_gather.ipynb", height=600)
    page = notebook.page
    notebook.run_all()
    expect(notebook.button("Say hello")).to_be_enabled(timeout=RUN_TIMEOUT_MS)

    notebook.set_slider("workers", 3)
    notebook.button("Say hello").click()

    expect(page.get_by_text("3 of 3 ranks answered.")).to_be_visible(timeout=RUN_TIMEOUT_MS)
    expect(page.get_by_text(re.compile(r"Hello this is (GPU|CPU worker) 2"))).to_be_visible()
    notebook.scroll_to(notebook.button("Say hello"))
    screenshot(page, "hello")
    notebook.close()
