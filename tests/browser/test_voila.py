"""The explore dashboard as a web page, as ``make app`` serves it: real Voila, real Chromium."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from lab import DashboardPage, Server
from playwright.sync_api import expect

ROOT = Path(__file__).parents[2]
APP = ROOT / "lessons" / "app" / "explore_app.ipynb"
RUN_TIMEOUT_MS = 120_000
TOKEN = "the-token-of-the-test"


@pytest.fixture
def voila(tmp_path, request):
    options = " ".join(re.findall("^(?:CULL|LOCKED) := (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    # The Makefile's, in less time.
    options = options.replace("interval=5", "interval=1").replace("idle_timeout=15", "idle_timeout=6")
    notebook = APP.read_text()
    if not request.config.getoption("--screenshots", default=None):
        notebook = notebook.replace("max_new_tokens=20", r"max_new_tokens=20, model=\"tiny-random\"")
    (tmp_path / APP.name).write_text(notebook)
    server = Server(
        ["voila", *options.split(), str(tmp_path / APP.name)],
        # The token that it would draw by itself.
        {"JUPYTER_CONFIG_DIR": str(tmp_path), "JUPYTER_TOKEN": TOKEN},
    )
    server.wait_for("voila/static/voila.js")
    yield server
    server.stop()


def test_the_web_page_has_the_dashboard_and_no_code_and_leaves_nothing_behind(voila, browser, screenshot):
    page = browser.new_page(viewport={"width": 1280, "height": 1500})
    page.goto(voila.url(f"?token={TOKEN}"), timeout=RUN_TIMEOUT_MS)
    app = DashboardPage(page)
    expect(page.get_by_text("Ready. Choose and press Run.")).to_be_visible(timeout=RUN_TIMEOUT_MS)
    expect(page.get_by_text("from nbkit import dashboards")).to_have_count(0)

    app.set_slider("batch size", 5)
    app.press("Run")
    expect(page.get_by_text(re.compile("batch size 5, 2 workers: 20 prompts in")).first).to_be_visible(
        timeout=RUN_TIMEOUT_MS
    )
    expect(app.figure("tokens/s overall")).to_be_visible()
    expect(page.locator(".nbkit-live").get_by_label("time of the playback")).to_be_visible()
    app.set_slider("batch size", 10)
    app.press("Run")
    expect(app.runs).to_have_count(2, timeout=RUN_TIMEOUT_MS)
    assert app.width_needed() <= 1
    expect(page.get_by_text("A reloaded page begins anew")).to_be_visible()
    expect(page.get_by_text("This page begins anew when it is reloaded")).to_be_attached()
    screenshot(page, "app")

    # On a small screen, too, the slider is seen with what it does.
    page.set_viewport_size({"width": 900, "height": 700})
    curve = app.figure("Batch size 10: ")
    expect(curve).to_be_visible()
    expect(curve).to_have_css("width", re.compile(r"^[45]\d\d"))
    app.fits_on_screen(app.slider("batch size"), app.button("Run"), curve)
    assert app.width_needed() <= 1

    assert len(voila.ranks()) == 2
    page.close()
    deadline = time.monotonic() + 60
    while voila.ranks():
        assert time.monotonic() < deadline, "the workers of a closed page live on"
        time.sleep(0.2)


def test_without_its_token_the_page_is_nobodys_and_with_it_saves_stay_below_results(voila, browser, tmp_path):
    page = browser.new_page(viewport={"width": 1280, "height": 1500})
    for wrong in ("", "?token=another"):
        page.goto(voila.url(wrong), timeout=RUN_TIMEOUT_MS)
        assert "/login" in page.url
    assert voila.ranks() == []

    page.goto(voila.url(f"?token={TOKEN}"), timeout=RUN_TIMEOUT_MS)
    app = DashboardPage(page)
    expect(page.get_by_text("Ready. Choose and press Run.")).to_be_visible(timeout=RUN_TIMEOUT_MS)
    app.press("Run")
    expect(app.runs).to_have_count(1, timeout=RUN_TIMEOUT_MS)
    for stem, said in (("../mine", "saves below results/ only"), ("results/mine", "Saved results/mine.json")):
        page.get_by_label("save as").fill(stem)
        app.press("JSON")
        expect(page.get_by_text(said).first).to_be_visible(timeout=RUN_TIMEOUT_MS)
    assert [path.name for path in tmp_path.rglob("mine*")] == ["mine.json"]
    page.close()
