"""The wall in a real browser: the page that ``nbkit wall`` serves, and the dashboard in a notebook."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import time

import pytest
from lab import KERNEL_TIMEOUT_MS
from playwright.sync_api import expect

from nbkit.app.wall.folder import FolderSender, make_wall
from nbkit.records.wall_entry import WallEntry, WallRun

MARKUP = "<img src=x onerror=a()>"


def learner(number: int, name: str, *speeds: float) -> WallEntry:
    now_s = time.time()
    entry = WallEntry(f"{number:016x}", name, now_s, now_s, 0, [])
    for place, speed in enumerate(speeds):
        run = WallRun("tiny-random", "batched", "float32", "cpu", 2, 2**place, 8, 80, speed, now_s)
        entry = entry.with_run(run)
    return entry


@contextlib.contextmanager
def served(folder):
    command = [sys.executable, "-m", "nbkit", "wall", str(folder), "--expect", "4"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield running.stdout.readline().split()[-1]
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=20)


def test_the_page_is_live_and_shows_what_learners_write_as_text(tmp_path, browser):
    folder = make_wall(tmp_path / "wall")
    sender = FolderSender(folder)
    sender.send(learner(1, "Ada", 50, 90))
    FolderSender(folder).send(learner(2, MARKUP, 40))
    FolderSender(folder).send(learner(3, "Waiting"))
    with served(folder) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.goto(address)
        expect(page.get_by_text("Best so far: Ada, 90 tokens/s at batch size 2")).to_be_visible()
        expect(page.get_by_text("3 of 4 joined, 2 started")).to_be_visible()
        expect(page.locator("td", has_text=MARKUP)).to_be_visible()
        expect(page.locator("img")).to_have_count(0)
        expect(page.get_by_text("Not started yet (1)")).to_be_visible()
        expect(page.locator("#figure .point")).to_have_count(3)

        sender.send(learner(1, "Ada", 50, 90, 400))
        expect(page.get_by_text("Best so far: Ada, 400 tokens/s at batch size 4")).to_be_visible()
        expect(page.locator("#figure .point")).to_have_count(4)
        width = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert width <= 0, "nothing is cut off at 1280 pixels"
        page.emulate_media(color_scheme="dark")
        expect(page.locator("body")).to_have_css("color", "rgb(221, 221, 221)")
        assert problems == []
        page.close()


@pytest.mark.slow
def test_the_dashboard_is_live_and_draws_nothing_that_it_has_drawn(tmp_path, open_with):
    folder = make_wall(tmp_path / "wall")
    FolderSender(folder).send(learner(1, "Ada", 50, 90))
    notebook = open_with(f"wall = dashboards.Wall({str(folder)!r}, expected=['Ada', {MARKUP!r}])\nwall")
    page = notebook.page
    notebook.run_all()
    expect(page.get_by_text("Best so far: Ada, 90 tokens/s at batch size 2")).to_be_visible(timeout=KERNEL_TIMEOUT_MS)
    figure = notebook.figure("Tokens/s by batch size")
    expect(figure).to_be_visible()
    expect(page.get_by_text(re.compile("Not here yet"))).to_be_visible()
    drawn = figure.get_attribute("data-drawn")
    page.wait_for_timeout(2500)
    assert figure.get_attribute("data-drawn") == drawn
    FolderSender(folder).send(learner(2, "Bob", 500))
    expect(page.get_by_text("Best so far: Bob, 500 tokens/s at batch size 1")).to_be_visible()
    assert notebook.width_needed() <= 1
