"""The night dashboard without a browser: started, stopped, gone on with, watched, exported."""

from __future__ import annotations

import _thread
import json
import re
import threading
import time
from datetime import UTC, datetime

import ipywidgets
import pytest
from bulk_play import PlayedRanks, dies_at
from shown_widgets import choose, control, figure, pictured, press, state_size, words

from nbkit import figures
from nbkit.app.dashboards import Night
from nbkit.app.dashboards.night import night
from nbkit.app.dashboards.night.in_words import clock, headline, numbers
from nbkit.app.dashboards.parts.workers_control import WorkersControl
from nbkit.figures.bulk_throughput import MOST_POINTS
from nbkit.inference.bulk import Bulk, BulkStatus
from nbkit.inference.bulk.driver import run_bulk
from nbkit.inference.bulk.history import History, Sample, Session
from nbkit.records.settings import Settings

ASKED = {"model": "tiny-random", "dtype": "float32", "order": "as_given"}
MARKUP = "<img src=nowhere onerror='alert(1)'> مرحبا"
PROMPTS = [f"prompt {number}" for number in range(60)]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(night, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr("nbkit.inference.bulk.driver.TELL_EVERY_S", 0.0)


class Brake:
    """Played ranks that wait before a prompt until they are let go, and are slow from then on."""

    def __init__(self, index: int) -> None:
        self.reached, self.released = threading.Event(), threading.Event()
        self._index = index

    def __call__(self, request) -> None:
        if request.index == self._index:
            self.reached.set()
            assert self.released.wait(20)
        if self.released.is_set():
            time.sleep(0.02)


@pytest.fixture
def night_on(monkeypatch):
    """Make night dashboards on played ranks."""
    made = []

    def make(before=lambda request: None, **asked):
        monkeypatch.setattr(WorkersControl, "get_resized", lambda control: PlayedRanks(before))
        made.append(Night(**asked))
        return made[-1]

    yield make
    for each in made:
        each.close()


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def unfold(dashboard):
    [fold] = pictured(dashboard, "caret-right")
    fold.value = True


def shown(of, *texts):
    wait_for(lambda: all(text in words(of) for text in texts))


def test_a_night_is_started_and_its_end_is_told_and_exported(night_on, tmp_path):
    dashboard = night_on(source=[*PROMPTS, MARKUP], folder="n", **ASKED)
    shown(dashboard, "Nothing in n yet.", "61 prompts, given where this dashboard was made.")
    press(dashboard, "Start")
    dashboard.wait()
    shown(dashboard, "Finished: 61 prompts in ", "61 outputs, 0 failed", MARKUP, "The last outputs")
    assert control(dashboard, "Start").disabled
    for kind, ending in ((".jsonl", ".jsonl"), (".csv", ".csv"), ("OpenAI batch", "-openai.jsonl")):
        wait_for(lambda: not dashboard.is_busy)
        press(dashboard, kind)
        shown(dashboard, f"Saved n{ending} (download)")
        assert len((tmp_path / f"n{ending}").read_text().splitlines()) >= 61


def test_stop_keeps_what_is_done_and_go_on_ends_it(night_on):
    brake = Brake(20)
    dashboard = night_on(brake, source=PROMPTS, folder="n", **ASKED)
    dashboard.run()
    assert brake.reached.wait(20)
    shown(dashboard, "Running in n", "PROMPT 19")
    dashboard.run()  # a second click
    assert not control(dashboard, "Stop").disabled
    press(dashboard, "Stop")
    brake.released.set()
    shown(dashboard, "'Go on' goes on from there.", "Stopped; what is done is kept.")
    done = Bulk.open("n").status().done
    assert 20 <= done < 60
    wait_for(lambda: not control(dashboard, "Go on").disabled)
    unfold(dashboard)
    control(dashboard, "new tokens").value = 3
    press(dashboard, "Go on")
    shown(dashboard, "n holds another bulk: max_new_tokens 100, not 3.")
    unfold(dashboard)
    control(dashboard, "new tokens").value = 100
    wait_for(lambda: not dashboard.is_busy)
    press(dashboard, "Go on")
    shown(dashboard, "Finished: 60 prompts in ", "(2 starts)")


def test_an_interrupt_of_a_cell_that_waits_stops_it(night_on):
    brake = Brake(20)
    dashboard = night_on(brake, source=PROMPTS, folder="n", **ASKED)
    dashboard.run()
    assert brake.reached.wait(20)
    threading.Timer(0.2, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        dashboard.wait()
    brake.released.set()
    shown(dashboard, "'Go on' goes on from there.")


def test_another_dashboard_only_watches_and_later_may_go_on(night_on, tmp_path):
    file = tmp_path / "p.txt"
    file.write_text("\n".join(PROMPTS))
    brake = Brake(20)
    first = night_on(brake, source=file, folder="n", **ASKED, max_new_tokens=7)
    first.run()
    assert brake.reached.wait(20)
    second = night_on(folder="n")
    shown(second, "Another process is at it (process ", "n is only watched here", "PROMPT 19")
    assert control(second, "Go on").disabled and control(second, "Stop").disabled
    unfold(second)
    assert control(second, "file").value == str(file)
    assert second.settings == first.settings
    first.stop()
    brake.released.set()
    wait_for(lambda: not control(second, "Go on").disabled)
    second.run()
    second.wait()
    shown(second, "Finished: 60 prompts in ")
    shown(first, "Finished: 60 prompts in ")


def test_failures_are_shown_with_their_errors_and_losses_are_counted(night_on):
    dashboard = night_on(dies_at([2], times=2), source=[*PROMPTS, 5, MARKUP], folder="n", **ASKED)
    dashboard.run()
    dashboard.wait()
    shown(dashboard, "61 outputs, 1 failed", "prompt 60 is not", "lost: rank 0")
    assert re.search(r"2\s+ranks lost", words(dashboard))


def test_a_file_is_told_before_it_is_used_and_what_is_wrong_is_a_sentence(night_on, tmp_path):
    dashboard = night_on(folder="n", **ASKED)
    press(dashboard, "Start")
    shown(dashboard, "name the file with the prompts")
    (tmp_path / "mine.csv").write_text("id,prompt\n1,one\n2,two\n")
    control(dashboard, "file").value = "mine.csv"
    shown(dashboard, "mine.csv, 22 bytes: the column 'prompt'")
    control(dashboard, "column").value = "nothing"
    shown(dashboard, "no column 'nothing'")
    control(dashboard, "file").value = "nowhere.csv"
    shown(dashboard, "there is no file 'nowhere.csv'")
    choose(dashboard, "first lines, to try it")
    shown(dashboard, "20 prompts: ten first lines of novels")
    dashboard.run()
    dashboard.wait()
    shown(dashboard, "Finished: 20 prompts")


def test_a_visitor_of_a_web_page_writes_below_results_only(night_on, monkeypatch):
    monkeypatch.setenv("SERVER_SOFTWARE", "voila/0.5.13")
    dashboard = night_on(source=PROMPTS, folder="elsewhere", **ASKED)
    dashboard.run()
    shown(dashboard, "which saves below results/ only")
    wait_for(lambda: not dashboard.is_busy)
    control(dashboard, "folder").value = "/etc"
    shown(dashboard, "which reads files beside its notebook only")
    control(dashboard, "folder").value = "results/mine"
    dashboard.run()
    shown(dashboard, "Finished: 60 prompts")


def test_what_the_browser_is_told_is_bounded(night_on):
    run_bulk(PlayedRanks(), [f"{number} " + "x" * 20_000 for number in range(300)], "n", Settings(**ASKED))
    with open("n/failures.jsonl", "w") as file:
        for index in range(10_000):
            file.write(json.dumps({"index": index, "prompt": "p" * 400, "error": "e" * 400}) + "\n")
    dashboard = night_on(folder="n")
    shown(dashboard, "The last outputs")
    assert state_size(dashboard) < 60_000


def test_closing_leaves_no_widget_and_no_thread(night_on):
    night_on(folder="n").close()  # the library that all figures share stays
    before = set(ipywidgets.widgets.widget._instances)
    dashboard = night_on(folder="n")
    dashboard.close()
    assert set(ipywidgets.widgets.widget._instances) == before
    wait_for(lambda: not [each for each in threading.enumerate() if each.name == "nbkit-dashboard"])


def history_of(*seconds, tokens_a_second=10.0, ended=True):
    sessions, at, before = [], 1e9, 0.0
    for length in seconds:
        samples = [
            Sample(at + s, float(s), int(before + s), 0, int((before + s) * tokens_a_second), 0)
            for s in range(length + 1)
        ]
        sessions.append(Session(1, "here", samples, ended))
        at, before = at + length + 5000, before + length
    return History(sessions)


def test_a_headline_tells_what_is_true_over_restarts():
    status = BulkStatus(99_987, 13, total=100_000, is_complete=True)
    assert headline(status, history_of(11_520)) == (
        "100,000 prompts in 3 h 12 min: 99,987 outputs, 13 failed, 10 tokens/s, start-up included"
    )
    assert "prompts in 3 h 13 min (2 starts):" in headline(status, history_of(11_520, 60))
    assert "in about 3 h 12 min: " in headline(status, history_of(11_520, ended=False))
    assert headline(status, History([])) == "100,000 prompts: 99,987 outputs, 13 failed"


def test_numbers_have_their_units_and_an_end_by_the_clock():
    now = datetime(2026, 1, 31, 22, 0, tzinfo=UTC)
    status = BulkStatus(99, 1, expected=2000, tokens_per_second=1234.4, seconds_left=31_200.0, is_running=True)
    assert numbers(status, history_of(3), now) == {
        "prompts done": "100 of about 2,000",
        "failed": "1",
        "tokens/s, last minute": "1,234",
        "left": "8 h 40 min",
        "ends about (UTC)": "Sun 06:40",
        "ranks lost": "0",
    }
    assert clock(now, 60) == "22:01"
    assert clock(now, 1e6) == "12 Feb 2026"
    assert clock(now, 1e18) == "-"


def test_the_figure_of_a_night_has_few_points_and_a_break_where_nobody_was_at_it():
    line = figures.bulk_throughput_line(history_of(20_000, 300))
    assert 100 < len(line["x"]) <= MOST_POINTS + 3
    assert line["y"].count(None) == 1
    assert {each for each in line["y"] if each is not None} == {10.0}
    assert figures.bulk_throughput_line(History([])) == {"x": [], "y": []}


def test_a_night_has_a_figure_with_its_speed_in_the_title(night_on):
    dashboard = night_on(source=PROMPTS, folder="n", **ASKED)
    dashboard.run()
    dashboard.wait()
    shown(dashboard, "Finished")
    wait_for(lambda: "new tokens/s overall" in figure(dashboard, "").title)
