"""Dashboards for those who use a keyboard or a screen reader: axe-core finds nothing serious."""

from __future__ import annotations

import re

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

TIMEOUT_MS = 60_000
SERIOUS = ("serious", "critical")
OTHERS = ("Scaling", "Hello", "Monitor", "Night")
EXPLORE = 'dashboards.Explore(workers, ["abc"] * 4, model="tiny-random", max_new_tokens=4)'


def findings(page):
    """What axe-core finds serious in dashboards, with the part that it names; once the last controls have names."""
    unnamed = page.locator(".nbkit [role=slider]:not([aria-label]), .nbkit [role=img]:not([aria-label])")
    expect(unnamed).to_have_count(0)
    found = Axe().run(page, context=".nbkit").response["violations"]
    return [
        f"{each['id']} ({each['impact']}): {node['html'][:200]} {node.get('failureSummary', '')}"
        for each in found
        if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]


def test_dashboards_have_no_serious_finding(open_with):
    shown = ", ".join(f"dashboards.{name}(workers)" for name in OTHERS)
    notebook = open_with(f"from IPython.display import display\ndisplay({shown})", height=4000)
    notebook.run_all()
    expect(notebook.page.locator(".nbkit")).to_have_count(len(OTHERS), timeout=TIMEOUT_MS)
    expect(notebook.page.get_by_text("Watching.")).to_be_visible(timeout=TIMEOUT_MS)
    assert findings(notebook.page) == []


def test_explore_has_no_serious_finding_before_and_after_a_run_folded_and_unfolded(open_with):
    notebook = open_with(EXPLORE, height=1750)
    notebook.run_all()
    expect(notebook.status.get_by_text("Ready. Choose and press Run.")).to_be_visible(timeout=TIMEOUT_MS)
    assert findings(notebook.page) == []
    for count in (1, 2):
        notebook.press("Run")
        expect(notebook.runs).to_have_count(count, timeout=TIMEOUT_MS)
    expect(notebook.button("Run")).to_be_enabled(timeout=TIMEOUT_MS)
    folded = notebook.page.locator("button.nbkit-fold:not(.mod-active):visible")
    for left in range(folded.count(), 0, -1):
        expect(folded).to_have_count(left)
        folded.first.click()
    expect(notebook.page.get_by_text(re.compile("4 prompts in")).first).to_be_visible(timeout=TIMEOUT_MS)
    assert findings(notebook.page) == []
