"""Functions on ranks: values, prints, errors."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

import pytest

import nbkit
from nbkit.runtime.pool import Pool


def test_every_ranks_value_comes_back_in_rank_order(workers):
    def place(offset):
        from accelerate import Accelerator

        accelerator = Accelerator()
        return offset + accelerator.process_index, accelerator.num_processes

    assert workers.run(place, 10) == [(10, 2), (11, 2)]


def test_collectives_work_inside(workers):
    def gather():
        from accelerate import Accelerator
        from accelerate.utils import gather_object

        return gather_object([f"rank {Accelerator().process_index}"])

    assert workers.run(gather) == [["rank 0", "rank 1"]] * 2


def test_keyword_arguments_and_closures_travel(workers):
    factor = 3

    def scale(value, *, by):
        return factor * value * by

    assert workers.run(scale, 2, by=5) == [30, 30]


def test_prints_reach_the_caller_with_their_rank(workers, capsys):
    def talk():
        import sys

        from accelerate import Accelerator

        rank = Accelerator().process_index
        print("hello from", rank)
        print("unfinished", rank, end="")
        print("a warning", file=sys.stderr)

    workers.run(talk)

    out, err = capsys.readouterr()
    assert {"[rank 0] hello from 0", "[rank 1] hello from 1", "[rank 1] unfinished 1"} <= set(out.splitlines())
    assert sorted(err.splitlines()) == ["[rank 0] a warning", "[rank 1] a warning"]


def test_an_error_on_rank_1_is_shown_while_rank_0_waits_in_a_barrier(workers):
    def fail_on_last():
        from accelerate import Accelerator

        accelerator = Accelerator()
        if accelerator.is_last_process:
            raise ValueError("boom")
        accelerator.wait_for_everyone()

    pids = [info.pid for info in workers.wait_until_ready()]
    began = time.monotonic()
    with pytest.raises(nbkit.RankError) as caught:
        workers.run(fail_on_last)

    assert time.monotonic() - began < 2  # the promise; usually some milliseconds
    assert caught.value.rank == 1
    assert "ValueError: boom" in str(caught.value)
    assert 'raise ValueError("boom")' in caught.value.rank_traceback
    assert isinstance(caught.value.__cause__, ValueError)
    assert workers.run(int) == [0, 0]
    assert [info.pid for info in workers.wait_until_ready()] == pids


@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("meanwhile", ["barrier", "gather", "sleep"])
def test_an_error_frees_the_other_rank_from_whatever_it_does(workers, failing, meanwhile):
    def fail():
        from accelerate import Accelerator
        from accelerate.utils import gather_object

        accelerator = Accelerator()
        if accelerator.process_index == failing:
            raise ValueError("boom")
        if meanwhile == "barrier":
            accelerator.wait_for_everyone()
        elif meanwhile == "gather":
            gather_object(["never together"])
        else:
            time.sleep(60)

    pids = [info.pid for info in workers.wait_until_ready()]
    with pytest.raises(nbkit.RankError, match=f"rank {failing} raised ValueError: boom"):
        workers.submit(fail).result(timeout=5)
    assert workers.hello().messages == ["Hello this is CPU worker 0", "Hello this is CPU worker 1"]
    assert [info.pid for info in workers.wait_until_ready()] == pids


def test_an_error_frees_the_other_rank_every_time(workers):
    """Also when the abort comes just as that rank is about to sleep: once in fifty times, on a busy machine."""

    def fail(failing):
        from accelerate import Accelerator

        if Accelerator().process_index == failing:
            raise ValueError("boom")
        time.sleep(60)

    pids = [info.pid for info in workers.wait_until_ready()]
    for turn in range(100):
        with pytest.raises(nbkit.RankError, match="boom"):
            workers.submit(fail, turn % 2).result(timeout=5)
    assert [info.pid for info in workers.wait_until_ready()] == pids
    assert workers.run(int) == [0, 0]
    assert [info.pid for info in workers.wait_until_ready()] == pids


def test_an_abort_while_accelerate_has_cleared_the_environment_leaves_it_whole(workers):
    def fail_or_clear():
        from accelerate import Accelerator
        from accelerate.utils import clear_environment

        if Accelerator().is_main_process:
            time.sleep(0.2)
            raise ValueError("boom")
        try:
            with clear_environment():
                # The way back is cut short, as by an abort that comes just then.
                os.environ.update = lambda *_: time.sleep(60)
                time.sleep(60)
        finally:
            del os.environ.update
            assert not os.environ

    before = workers.run(lambda: dict(os.environ))
    pids = [info.pid for info in workers.wait_until_ready()]
    with pytest.raises(nbkit.RankError, match="boom"):
        workers.run(fail_or_clear)
    assert workers.run(lambda: dict(os.environ)) == before
    assert [info.pid for info in workers.wait_until_ready()] == pids


@pytest.mark.skipif(sys.platform != "linux", reason="sigaltstack is called with Linux' structure")
def test_an_abort_does_no_harm_after_a_job_that_left_a_signal_stack_unmapped(workers):
    """As OpenVINO's CPU plugin does; the next signal would end the rank with SIGSEGV."""

    def leave_unmapped():
        import ctypes
        import mmap

        class Stack(ctypes.Structure):
            _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))

        memory = mmap.mmap(-1, 1 << 16)
        view = ctypes.c_char.from_buffer(memory)
        stack = Stack(ctypes.addressof(view), 0, 1 << 16)
        assert ctypes.CDLL(None).sigaltstack(ctypes.byref(stack), None) == 0
        del view
        memory.close()

    def fail():
        from accelerate import Accelerator

        if Accelerator().is_main_process:
            raise ValueError("boom")
        time.sleep(60)

    pids = [info.pid for info in workers.wait_until_ready()]
    workers.run(leave_unmapped)
    with pytest.raises(nbkit.RankError, match="boom"):
        workers.run(fail)
    after = workers.submit(int)
    assert after.result() == [0, 0]
    assert [info.pid for info in workers.wait_until_ready()] == pids, list(after.events())


def test_a_rank_that_swallows_the_abort_once_is_freed_all_the_same(workers):
    def fail_or_swallow():
        from accelerate import Accelerator

        if Accelerator().is_main_process:
            raise ValueError("boom")
        with contextlib.suppress(BaseException):
            time.sleep(60)
        time.sleep(60)

    pids = [info.pid for info in workers.wait_until_ready()]
    with pytest.raises(nbkit.RankError, match="boom"):
        workers.run(fail_or_swallow)
    after = workers.submit(int)
    assert after.result() == [0, 0]
    assert [info.pid for info in workers.wait_until_ready()] == pids, list(after.events())


def test_an_error_that_cannot_travel_itself_is_still_told(workers):
    def fail():
        class Awkward(Exception):
            def __init__(self, first, second):
                super().__init__(f"{first} and {second}")
                self.lock = threading.Lock()

        raise Awkward("one", "two")

    with pytest.raises(nbkit.RankError, match=r"Awkward: one and two") as caught:
        workers.run(fail)
    assert 'raise Awkward("one", "two")' in caught.value.rank_traceback
    assert workers.run(int) == [0, 0]


def test_the_cause_of_an_error_is_told_too(workers):
    def fail():
        try:
            {}["missing"]
        except KeyError as error:
            raise ValueError("no such thing") from error

    with pytest.raises(nbkit.RankError) as caught:
        workers.run(fail)
    assert "KeyError: 'missing'" in caught.value.rank_traceback
    assert "direct cause" in caught.value.rank_traceback


def test_asking_for_input_is_an_error_and_no_wait(workers):
    with pytest.raises(nbkit.RankError, match="EOFError"):
        workers.submit(input).result(timeout=5)
    assert workers.run(int) == [0, 0]


def test_errors_on_every_rank_are_one_error(workers):
    def fail():
        raise KeyError("everywhere")

    with pytest.raises(nbkit.RankError, match="KeyError"):
        workers.run(fail)
    assert workers.run(int) == [0, 0]


@pytest.mark.parametrize("leave", [SystemExit(3), KeyboardInterrupt()])
def test_leaving_a_function_does_not_end_the_rank(workers, leave):
    def go():
        raise leave

    pids = [info.pid for info in workers.wait_until_ready()]
    with pytest.raises(nbkit.RankError, match=type(leave).__name__):
        workers.run(go)
    assert workers.run(int) == [0, 0]
    assert [info.pid for info in workers.wait_until_ready()] == pids


def test_an_argument_that_cannot_travel_is_named(workers):
    with pytest.raises(nbkit.WorkersError, match="cannot be sent"):
        workers.run(print, threading.Lock())
    assert workers.run(int) == [0, 0]


def test_a_value_that_cannot_be_read_here_is_named(workers):
    def give():
        class Broken:
            def __reduce__(self):
                return int, ("x",)

        return Broken()

    with pytest.raises(nbkit.WorkersError, match=r"rank \d's return value cannot be read here: .*invalid literal"):
        workers.run(give)
    assert workers.run(int) == [0, 0]


def test_large_arguments_and_values_travel(workers):
    body = bytes(range(256)) * 80_000
    assert workers.run(bytes.upper, body) == [body.upper()] * 2


def test_a_value_that_cannot_travel_is_named(workers):
    def give_generator():
        return (i for i in range(3))

    with pytest.raises(nbkit.RankError, match="generator"):
        workers.run(give_generator)
    assert workers.run(int) == [0, 0]


def test_an_accelerator_of_one_job_does_not_bind_the_next(workers):
    def precision(value):
        from accelerate import Accelerator

        return Accelerator(mixed_precision=value).mixed_precision

    assert workers.run(precision, "bf16") == ["bf16"] * 2
    assert workers.run(precision, "no") == ["no"] * 2


def test_hello_gathers_a_greeting_from_each_rank(workers):
    hello = workers.hello()

    assert [greeting.rank for greeting in hello.greetings] == [0, 1]
    assert len(set(hello.messages)) == 2
    assert [greeting.pid for greeting in hello.greetings] == [info.pid for info in workers.wait_until_ready()]
    assert len(hello.gather_s) == 2


def test_launch_is_the_one_shot_form():
    def place(offset):
        from accelerate import Accelerator

        return offset + Accelerator().process_index

    assert nbkit.launch(place, 5, num_processes=3) == [5, 6, 7]


def test_launch_starts_two_ranks_where_nothing_is_asked():
    assert nbkit.launch(int) == [0, 0]


def test_launch_ends_its_ranks_when_the_function_fails(gone_within):
    def fail():
        raise ValueError(os.getpid())

    with pytest.raises(nbkit.RankError) as caught:
        nbkit.launch(fail, num_processes=1)
    assert gone_within([caught.value.__cause__.args[0]], 5)


def test_an_accelerator_in_the_notebook_is_not_in_the_way(workers):
    from accelerate import Accelerator

    Accelerator(cpu=True)
    with Pool(2) as others:
        assert others.run(int) == [0, 0]
        assert workers.run(int) == [0, 0]


def test_threads_of_ranks_do_not_wait_awake_for_long(workers):
    def rank_waits():
        import os

        return os.environ["GOMP_SPINCOUNT"]

    assert workers.run(rank_waits) == ["10000", "10000"]
