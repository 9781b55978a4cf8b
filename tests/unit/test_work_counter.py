from __future__ import annotations

import threading

from nbkit.runtime.work_counter import WorkCounter


def test_each_number_is_given_out_once_and_none_is_left_out(tmp_path):
    taken: list[int | None] = []

    def take() -> None:
        counter = WorkCounter(tmp_path / "work", 1)
        taken.extend(counter.take() for _ in range(500))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(2000))


def test_a_later_job_begins_anew_and_an_earlier_one_gets_no_more(tmp_path):
    first, second = WorkCounter(tmp_path / "work", 1), WorkCounter(tmp_path / "work", 2)
    assert [first.take(), first.take(), second.take(), first.take(), second.take()] == [0, 1, 0, None, 1]
    size = (tmp_path / "work").stat().st_size
    for _ in range(100):
        second.take()
    assert (tmp_path / "work").stat().st_size == size
