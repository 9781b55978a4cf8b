from __future__ import annotations

from nbkit.runtime.deadlines import Deadlines


def test_what_is_due_is_done_once():
    done: list[str] = []
    deadlines = Deadlines()
    deadlines.set("now", 0, lambda: done.append("now"))
    deadlines.set("later", 60, lambda: done.append("later"))
    assert deadlines.seconds_to_next() == 0
    deadlines.meet()
    deadlines.meet()
    assert done == ["now"]
    assert 59 < (deadlines.seconds_to_next() or 0) <= 60


def test_what_is_called_off_is_not_done():
    done: list[str] = []
    deadlines = Deadlines()
    deadlines.set("first", 0, lambda: deadlines.call_off("second", "never set"))
    deadlines.set("second", 0, lambda: done.append("second"))
    deadlines.meet()
    assert done == []
    assert deadlines.seconds_to_next() is None
