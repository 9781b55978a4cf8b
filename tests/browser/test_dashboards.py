"""The dashboards as a person uses them: real JupyterLab, real Chromium, real workers."""

from __future__ import annotations

import re
import time

from lab import write_notebook
from playwright.sync_api import expect

RUN_TIMEOUT_MS = 60_000
# A run of minutes, if nobody ends it.
LONG = """dashboards.Explore(
    workers, ["abc"] * 1000, model="tiny-random", engine="batched", batch_size=1, max_new_tokens=200, ignore_eos=True
)"""
MARKUP = "<img src=nowhere onerror='window.markupRan = true'><b>bold</b> 🙂 مرحبا"


def ready(notebook):
    """Run the notebook and wait until its dashboard can be used."""
    notebook.run_all()
    expect(notebook.status.get_by_text("Ready. Choose and press Run.")).to_be_visible(timeout=RUN_TIMEOUT_MS)


def stays_as_drawn(page, figure):
    """Wait until a figure is drawn no more; it is drawn twice a second while it lives."""
    for _ in range(10):
        drawn = figure.get_attribute("data-drawn")
        page.wait_for_timeout(2000)
        if figure.get_attribute("data-drawn") == drawn:
            return
    raise AssertionError("the figure is still being drawn")


def test_explore_shows_a_run_live_and_compares_it_with_the_next(open_with, screenshot, tmp_path):
    notebook = open_with("dashboards.Explore(workers, **nbkit.ARTICLE, max_new_tokens=20)", height=1750)
    page = notebook.page
    ready(notebook)

    # A first run, watched while it goes.
    notebook.set_slider("batch size", 5)
    notebook.press("Run")
    expect(notebook.button("Run")).to_be_disabled()
    running = notebook.figure("computed tokens/s")
    expect(running).to_be_visible(timeout=RUN_TIMEOUT_MS)
    early = running.locator(".point").count()
    expect(page.get_by_text(re.compile(r"^[1-9]\d* of 20 prompts"))).to_be_visible(timeout=RUN_TIMEOUT_MS)
    assert running.locator(".point").count() > early, "the throughput line grows while the run goes"
    expect(page.locator(".nbkit-stream")).not_to_have_count(0)
    expect(page.locator(".nbkit-bar")).to_have_count(2)
    expect(page.get_by_text(re.compile("batch size 5, 2 workers: 20 prompts in")).first).to_be_visible(
        timeout=RUN_TIMEOUT_MS
    )
    expect(notebook.lines("Load of the machine")).not_to_have_count(0)
    expect(notebook.runs).to_have_count(1)
    expect(page.locator(".nbkit-figure-empty:visible")).to_have_count(0)

    # The slider moved, a second run beside the first.
    notebook.set_slider("batch size", 10)
    notebook.press("Run")
    expect(notebook.runs).to_have_count(2, timeout=RUN_TIMEOUT_MS)
    expect(notebook.runs.nth(0).locator("input[type=text]")).to_have_value("2: batched 10, 2w")
    expect(notebook.figure("2w: ")).to_be_visible()
    expect(page.get_by_role("columnheader", name="1: batched 5, 2w (baseline)")).to_be_visible()
    page.get_by_label("baseline", exact=True).select_option(label="2: batched 10, 2w")
    expect(page.get_by_role("columnheader", name="2: batched 10, 2w (baseline)")).to_be_visible()
    expect(page.locator(".nbkit-comparison").get_by_text("batch_size")).to_be_visible()
    expect(page.locator(".nbkit-comparison").get_by_text("20 of 20 outputs are the same")).to_be_visible()
    assert notebook.width_needed() <= 1, "nothing is cut off at 1280 pixels"
    screenshot(page, "explore", page.locator(".nbkit").last)
    screenshot(page, "compare", page.locator(".nbkit-runs"))

    # Taken home: a file beside the notebook, which the browser can fetch, too.
    notebook.press("JSON")
    with page.expect_download() as download:
        page.get_by_text("download", exact=True).click()
    download.value.save_as(tmp_path / "runs.json")
    assert '"engine": "batched"' in (tmp_path / "runs.json").read_text()
    notebook.press("Load")
    expect(notebook.runs).to_have_count(4)


def test_an_engine_in_which_sequences_join_finds_its_batch_size_by_itself(open_with):
    notebook = open_with('dashboards.Explore(workers, model="tiny-random", engine="batched")', height=1750)
    page = notebook.page
    ready(notebook)

    # Ticked, auto puts the slider to rest; so does it again after it was unticked.
    auto, why_off = page.get_by_label("auto", exact=True), page.get_by_text("auto: as many as fit. Untick to choose.")
    for tick in (auto.check, auto.uncheck, auto.check):
        tick()
        expect(why_off).to_be_visible(visible=auto.is_checked())
        expect(notebook.slider("batch size").locator("[disabled]")).to_have_count(int(auto.is_checked()))

    # Below the fold is what is used less often, as far as it applies.
    more = page.get_by_text("More", exact=True)
    more.click()
    expect(page.get_by_text("Not used by batched: only compiled has it.")).to_be_visible()
    page.get_by_label("engine", exact=True).select_option(label="compiled")
    expect(page.get_by_text("Not used by compiled: it pads no batches.")).to_be_visible()
    page.get_by_label("ignore end", exact=True).check()
    expect(page.get_by_text("More: ignore eos", exact=True)).to_be_visible()
    assert notebook.width_needed() <= 1, "nothing is cut off at 1280 pixels"

    # 20 prompts on 2 workers: 10 side by side on each.
    notebook.press("Run")
    expect(notebook.runs).to_have_count(1, timeout=RUN_TIMEOUT_MS)
    expect(notebook.runs.first.locator("input[type=text]")).to_have_value("1: compiled 10, 2w")
    expect(page.get_by_text(re.compile("^compiled, batch size 10, 2 workers: 20 prompts in")).first).to_be_visible()


def test_slider_and_curve_are_on_one_screen_and_each_move_leaves_a_dot(open_with):
    notebook = open_with(
        "dashboards.Explore(workers, model='tiny-random', engine='batched', batch_size=1, split='static')",
        width=1280,
        height=800,
    )
    page = notebook.page
    ready(notebook)
    expect(page.get_by_text("Every run becomes a dot here")).to_be_visible()
    expect(page.locator(".nbkit-figure:visible")).to_have_count(0)

    # Folds open from the keyboard.
    page.get_by_role("button", name="Live").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(page.get_by_label("dtype", exact=True)).to_be_visible()
    page.keyboard.press("Space")
    expect(page.get_by_label("dtype", exact=True)).to_be_hidden()

    notebook.button("Live").click()
    expect(notebook.runs).to_have_count(1, timeout=RUN_TIMEOUT_MS)
    sizes = (2, 5, 10)
    for count, size in enumerate(sizes, 2):
        notebook.set_slider("batch size", size)
        expect(notebook.runs).to_have_count(count, timeout=RUN_TIMEOUT_MS)
    curve = "times batch size 1"
    expect(notebook.dots(curve)).to_have_count(1 + len(sizes))
    expect(notebook.figure("Batch size 10: ")).to_be_visible()
    notebook.fits_on_screen(
        notebook.slider("batch size"), notebook.button("Run"), notebook.button("Live"), notebook.figure(curve)
    )
    assert notebook.width_needed() <= 1, "nothing is cut off at 1280 pixels"

    # A click on a dot shows its run, and says which; so does its row.
    expect(page.get_by_text("Below: 4: batched 10, 2w.")).to_be_visible()
    notebook.dots(curve).nth(1).click(force=True)
    expect(page.get_by_text("Below: 2: batched 2, 2w.")).to_be_visible()
    expect(page.locator(".nbkit-live").get_by_text("10 of 10 prompts")).to_have_count(2)
    page.get_by_title("Show this run in the figures above").last.click()
    expect(page.get_by_text("Below: 1: batched 1, 2w.")).to_be_visible()

    # A run that is deleted has no dot.
    page.get_by_title("Delete this run").first.click()
    expect(notebook.dots("Batch size 5: ")).to_have_count(len(sizes))
    page.get_by_role("button", name="ITL").click()
    expect(notebook.dots(" ms ITL")).not_to_have_count(0)


def test_stop_markup_and_bad_input_leave_the_dashboard_ready(open_with):
    notebook = open_with(LONG)
    page = notebook.page
    ready(notebook)

    # Stop keeps what is finished.
    notebook.press("Run")
    expect(notebook.figure("computed tokens/s")).to_be_visible(timeout=RUN_TIMEOUT_MS)
    notebook.press("Stop")
    expect(page.get_by_text(re.compile(r"^batched.* stopped after \d+ of 1000 prompts")).first).to_be_visible(
        timeout=20_000
    )
    expect(notebook.button("Run")).to_be_enabled()
    expect(notebook.button("Stop")).to_be_disabled()

    # Markup, emoji and right-to-left letters are text, in the output table as everywhere.
    notebook.set_slider("new tokens", 4)
    page.get_by_text(re.compile("^Prompts: ")).click()
    page.get_by_role("button", name="pasted text", exact=True).click()
    own = page.get_by_placeholder("Prompts of your own, one a line.")
    own.fill(MARKUP)
    own.blur()
    expect(page.get_by_text(re.compile(r"^1 prompts?, \d+ tokens"))).to_be_visible()
    notebook.press("Run")
    expect(page.get_by_role("cell", name=MARKUP)).to_be_visible(timeout=RUN_TIMEOUT_MS)
    assert page.evaluate("window.markupRan") is None

    # Bad input is a sentence, and the dashboard goes on.
    model = page.get_by_label("model", exact=True)
    model.fill("no-such-model")
    model.press("Enter")
    notebook.press("Run")
    expect(page.get_by_text("unknown model 'no-such-model'")).to_be_visible()
    expect(notebook.button("Run")).to_be_enabled()


def test_live_mode_shows_only_what_was_asked_for_last(open_with):
    notebook = open_with(LONG)
    page = notebook.page
    ready(notebook)
    notebook.button("Live").click()
    expect(notebook.figure("computed tokens/s")).to_be_visible(timeout=RUN_TIMEOUT_MS)

    # Moved in the middle of the run: that run is outdated, cancelled and not kept.
    notebook.set_slider("new tokens", 150)
    notebook.set_slider("batch size", 50)
    notebook.set_slider("new tokens", 6)
    finished = page.get_by_text(re.compile("batch size 50, 2 workers: 1000 prompts in"))
    expect(finished.first).to_be_visible(timeout=RUN_TIMEOUT_MS)
    expect(notebook.runs).to_have_count(1)
    expect(page.locator(".nbkit-outdated")).to_have_count(0)
    expect(
        page.locator(".nbkit-comparison").get_by_role("row", name=re.compile("^computed tokens 6,?000"))
    ).to_be_visible()

    # A changed engine runs at once, and what does not apply to it is off and says why.
    page.get_by_label("engine").select_option("simple")
    expect(notebook.runs).to_have_count(2, timeout=RUN_TIMEOUT_MS)
    expect(page.get_by_text("Not used by simple").first).to_be_visible()


def test_a_reloaded_page_goes_on_showing_the_run_and_a_killed_rank_is_named(lab, open_with):
    notebook = open_with(LONG)
    page = notebook.page
    ready(notebook)
    notebook.press("Run")
    expect(notebook.figure("computed tokens/s")).to_be_visible(timeout=RUN_TIMEOUT_MS)

    notebook.save_and_reload()
    expect(notebook.figure("computed tokens/s")).to_be_visible(timeout=RUN_TIMEOUT_MS)
    expect(notebook.lines("computed tokens/s")).not_to_have_count(0)
    expect(page.get_by_text(re.compile(r"^\d+ of 1000 prompts"))).to_be_visible()
    expect(notebook.button("Stop")).to_be_enabled()

    lab.server.ranks()[-1].kill()
    expect(notebook.status.get_by_text(re.compile(r"rank \d \(process \d+\) was killed"))).to_be_visible(
        timeout=20_000
    )
    expect(notebook.figure("batched failed: rank")).to_be_visible()
    expect(notebook.runs.first.get_by_text("failed: rank")).to_be_visible()
    notebook.set_slider("new tokens", 4)
    notebook.set_slider("batch size", 50)
    notebook.press("Run")
    expect(page.get_by_text(re.compile("batch size 50.* 1000 prompts in")).first).to_be_visible(
        timeout=RUN_TIMEOUT_MS
    )

    # Reloaded after the run, nothing is stale: figures show what they showed.
    notebook.save_and_reload()
    expect(notebook.lines("tokens/s overall")).not_to_have_count(0, timeout=RUN_TIMEOUT_MS)


def other_ranks(lab, than, count):
    """Wait until there are so many other ranks."""
    deadline = time.monotonic() + 30
    while len(others := set(lab.server.ranks()) - than) != count:
        assert time.monotonic() < deadline, f"there are {len(others)} other ranks, not {count}"
        time.sleep(0.2)
    return others


def test_a_cell_run_again_replaces_its_dashboard_and_a_restart_is_seen(lab, open_notebook):
    of_others = set(lab.server.ranks())
    write_notebook(lab.folder / "own.ipynb", f"from nbkit import dashboards\n{LONG.replace('workers', 'None')}")
    notebook = open_notebook("own.ipynb")
    page = notebook.page
    # Only now: so narrow, JupyterLab may hide the kernel's status, by which an open notebook is known.
    page.set_viewport_size({"width": 900, "height": 1100})
    ready(notebook)
    notebook.press("Run")
    expect(notebook.figure("computed tokens/s")).to_be_visible(timeout=RUN_TIMEOUT_MS)
    assert notebook.width_needed() <= 1, "nothing is cut off at 900 pixels"
    first = other_ranks(lab, of_others, 2)

    notebook.run_all()
    expect(notebook.status.get_by_text("Ready. Choose and press Run.")).to_be_visible(timeout=RUN_TIMEOUT_MS)
    expect(page.locator(".nbkit-runs")).to_have_count(1)
    other_ranks(lab, of_others | first, 2)
    assert not first & set(lab.server.ranks()), "the workers of the first dashboard are gone"

    page.evaluate("void window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    expect(page.locator(".nbkit.jupyter-widgets-disconnected")).to_have_count(1, timeout=RUN_TIMEOUT_MS)
    said = [
        text
        for text in page.locator(".nbkit, .nbkit .jupyter-widgets").evaluate_all(
            "parts => parts.map(part => getComputedStyle(part, '::before').content)"
        )
        if text != "none"
    ]
    assert said == ['"The kernel was restarted, or has ended: run this cell again."'], "no broken link on each widget"
    other_ranks(lab, of_others, 0)


def test_hello_shows_the_machine_and_who_answered(open_with, screenshot):
    notebook = open_with("dashboards.Hello(workers)", height=760)
    page = notebook.page
    notebook.run_all()
    expect(notebook.button("Say hello")).to_be_enabled(timeout=RUN_TIMEOUT_MS)

    notebook.set_slider("workers", 3)
    notebook.press("Say hello")

    expect(page.get_by_text("3 of 3 ranks answered.")).to_be_visible(timeout=RUN_TIMEOUT_MS)
    expect(page.get_by_text(re.compile(r"Hello this is (GPU|CPU worker) 2"))).to_be_visible()
    expect(notebook.figure("3 greetings gathered in")).to_be_visible()
    screenshot(page, "hello", page.locator(".nbkit"))


def test_monitor_shows_each_rank_until_it_is_paused(open_with, screenshot):
    notebook = open_with("dashboards.Monitor(workers)", height=560)
    page = notebook.page
    notebook.run_all()
    expect(page.get_by_text("Watching.")).to_be_visible(timeout=RUN_TIMEOUT_MS)
    expect(page.get_by_role("cell", name="rank 1")).to_be_visible(timeout=RUN_TIMEOUT_MS)
    figure = notebook.figure("Load of the machine")
    expect(notebook.lines("Load of the machine")).to_have_count(4, timeout=RUN_TIMEOUT_MS)
    screenshot(page, "monitor", page.locator(".nbkit"), settle_ms=4500)

    notebook.press("Pause")
    expect(page.get_by_text("Paused.")).to_be_visible()
    stays_as_drawn(page, figure)
    notebook.press("Go on")
    expect(page.get_by_text("Watching.")).to_be_visible()
