from __future__ import annotations

import threading
import time

from nbkit.app.dashboards.parts.background import Background


def wait_until_idle(background):
    deadline = time.monotonic() + 10
    while background.is_busy:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_acts_run_one_after_another_and_the_newest_that_waits_replaces_the_others():
    done, may_go = [], threading.Event()
    background = Background(done.append)
    background.request(lambda: (may_go.wait(), done.append("first")))
    while background.is_outdated:
        time.sleep(0.005)
    for name in ("second", "third", "fourth"):
        background.request(lambda name=name: done.append(name))
    assert background.is_outdated
    may_go.set()
    wait_until_idle(background)
    assert done == ["first", "fourth"]


def test_an_act_waits_for_its_time_and_a_newer_one_starts_the_wait_anew():
    done = []
    background = Background(done.append)
    background.request(lambda: done.append("early"), after_s=0.2)
    background.request(lambda: done.append("late"), after_s=0.3)
    assert done == []
    wait_until_idle(background)
    assert done == ["late"]


def test_an_error_is_handed_on_and_the_next_act_runs():
    errors, done = [], []
    background = Background(errors.append)
    background.request(lambda: 1 / 0)
    wait_until_idle(background)
    background.request(lambda: done.append("after"))
    wait_until_idle(background)
    assert [type(error) for error in errors] == [ZeroDivisionError]
    assert done == ["after"]


def test_what_waits_can_be_dropped():
    done = []
    background = Background(done.append)
    background.request(lambda: done.append("never"), after_s=0.2)
    background.drop_waiting()
    wait_until_idle(background)
    time.sleep(0.25)
    assert done == []


def test_closing_waits_for_what_runs_and_takes_nothing_more():
    done, began = [], threading.Event()
    background = Background(done.append)
    background.request(lambda: (began.set(), time.sleep(0.1), done.append("finished")))
    assert began.wait(5)
    background.request(lambda: done.append("waiting"))
    background.close()
    assert done == ["finished"]
    background.request(lambda: done.append("late"))
    assert not background.is_busy


def test_its_thread_ends_with_its_work():
    before = threading.active_count()
    background = Background(lambda error: None)
    background.request(lambda: None)
    wait_until_idle(background)
    deadline = time.monotonic() + 5
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.005)
