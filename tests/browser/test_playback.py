"""Playback as a person sees it: the batch while it runs, scrubbed when it has ended, and in the exported page."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, expect

RUN_TIMEOUT_MS = 60_000
EXPLORE = """dashboards.Explore(
    workers, ["the king."] * 60, model="tiny-random", engine="batched", batch_size=2, max_new_tokens=150,
    ignore_eos=True,
)"""
RACE = """settings = nbkit.Settings(model="tiny-random", batch_size=4, max_new_tokens=12, ignore_eos=True)
slow, fast = (workers.generate(nbkit.first_lines(8), settings, engine=engine) for engine in ("simple", "compiled"))
dashboards.Playback(article=slow, default=fast)"""


def ready(notebook):
    notebook.run_all()
    expect(notebook.status.get_by_text("Ready. Choose and press Run.")).to_be_visible(timeout=RUN_TIMEOUT_MS)


def scrub(player: Locator, share: float) -> None:
    """Move a playback to a share of its time."""
    player.get_by_label("time of the playback").fill(str(round(1000 * share)))


def tokens(player: Locator) -> list[int]:
    """Tokens so far, of each run that is played back."""
    return [int(each) for each in player.get_attribute("data-tokens").split()]


def said(player: Locator) -> Locator:
    """The line of figures of each run."""
    return player.locator(".nbkit-player-said")


def picture(player: Locator) -> list[str]:
    """What is drawn of the ranks' batches."""
    drawn = player.locator(".nbkit-player-rank canvas")
    return drawn.evaluate_all("all => all.map(canvas => canvas.toDataURL())")


def test_a_run_is_seen_live_scrubbed_and_seen_in_the_page_that_leaves_the_network_behind(
    lab, browser, open_with, screenshot
):
    notebook = open_with(EXPLORE, height=1200)
    page = notebook.page
    ready(notebook)
    player = page.locator(".nbkit-live .nbkit-player")

    # While it runs there is a batch and nothing to scrub.
    notebook.press("Run")
    expect(player.get_by_text("While it runs: a few looks a second.")).to_be_visible(timeout=RUN_TIMEOUT_MS)
    expect(player.get_by_text(re.compile(r"^rank 1: [1-9]\d* decoding"))).to_be_visible(timeout=RUN_TIMEOUT_MS)
    expect(player.get_by_label("time of the playback")).to_be_hidden()
    expect(notebook.runs).to_have_count(1, timeout=RUN_TIMEOUT_MS)
    expect(said(player).filter(has_text="60 of 60 prompts done")).to_have_count(0)
    scrubber = player.get_by_label("time of the playback")
    expect(scrubber).to_be_visible()
    expect(player.locator(".nbkit-player-rank canvas")).to_have_count(2)
    screenshot(page, "playback", page.get_by_text("The batch, token by token").first)

    # Scrubbed, it counts what the run did, and draws something else each time.
    seen = {}
    for share in (0, 0.3, 0.6, 1):
        scrub(player, share)
        seen[share] = (tokens(player), picture(player))
    assert [counted for counted, _ in seen.values()] == sorted(counted for counted, _ in seen.values())
    assert seen[0][0] == [0] and seen[1][0] == [60 * 150]
    assert len({tuple(drawn) for _, drawn in seen.values()}) == 4
    expect(said(player).filter(has_text="60 of 60 prompts done")).to_be_visible()

    # By keyboard: arrows scrub, the space bar plays and pauses.
    scrub(player, 0.5)
    before = float(player.get_attribute("data-time"))
    scrubber.press("ArrowRight")
    assert float(player.get_attribute("data-time")) > before
    scrubber.press("Home")
    assert float(player.get_attribute("data-time")) == 0
    player.get_by_label("speed").select_option(label="1/100")
    scrubber.press(" ")
    expect(player.get_by_role("button", name="Pause")).to_be_visible()
    scrubber.press(" ")
    expect(player.get_by_role("button", name="Play")).to_be_visible()
    assert notebook.width_needed() <= 1, "nothing is cut off at 1280 pixels"

    # A second dot, and with it a race in the comparison; the first dot brings back its own batch.
    notebook.set_slider("batch size", 6)
    notebook.press("Run")
    expect(notebook.runs).to_have_count(2, timeout=RUN_TIMEOUT_MS)
    race = page.locator(".nbkit-comparison .nbkit-player")
    expect(race.locator(".nbkit-player-run")).to_have_count(2)
    scrub(race, 1)
    expect(said(race).filter(has_text=re.compile("finished in .* s: first"))).to_have_count(1)
    expect(said(race).filter(has_text="times as long as the first")).to_have_count(1)
    expect(player.get_by_text("batched, batch size 6, 2 workers")).to_be_visible()
    page.get_by_title("Show this run in the figures above").last.click()
    expect(player.get_by_text("batched, batch size 2, 2 workers")).to_be_visible()
    scrub(player, 0.3)
    assert tokens(player) == seen[0.3][0]

    # The same in the exported page, from a file and without a network.
    notebook.press("HTML")
    expect(page.get_by_text("results/runs.html", exact=False).first).to_be_visible(timeout=RUN_TIMEOUT_MS)
    alone = browser.new_context(offline=True, viewport={"width": 1280, "height": 800})
    problems = []
    exported = alone.new_page()
    exported.on("pageerror", lambda error: problems.append(str(error)))
    exported.on("request", lambda asked: asked.url.startswith("http") and problems.append(asked.url))
    exported.goto((lab.folder / "results" / "runs.html").as_uri())
    players = exported.locator(".nbkit-player")
    expect(players).to_have_count(3)
    own = players.nth(1)
    expect(own.get_by_text("batched, batch size 2, 2 workers")).to_be_visible()
    for share, (counted, _) in seen.items():
        scrub(own, share)
        assert tokens(own) == counted
    exported.set_viewport_size({"width": 420, "height": 800})
    expect(own.get_by_role("button", name="Play")).to_be_visible()
    assert own.evaluate("player => player.scrollWidth <= player.clientWidth + 1")
    assert problems == []
    alone.close()


@pytest.mark.slow
def test_two_runs_race_from_a_cell(open_with):
    notebook = open_with(RACE, height=1000)
    notebook.run_all()
    player = notebook.page.locator(".nbkit-player")
    expect(player.locator(".nbkit-player-run")).to_have_count(2, timeout=RUN_TIMEOUT_MS)
    expect(player.get_by_role("heading", name="article")).to_be_visible()
    expect(player.get_by_role("heading", name="default")).to_be_visible()
    player.get_by_label("speed").select_option(label="10x")
    player.get_by_role("button", name="Play").click()
    expect(said(player).filter(has_text=re.compile("finished in .* s"))).to_have_count(2, timeout=RUN_TIMEOUT_MS)
    assert tokens(player) == [8 * 12] * 2
