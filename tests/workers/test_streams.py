"""The standard streams of a rank, as code for other streams uses them."""

from __future__ import annotations

import pytest

import nbkit
from nbkit.runtime import Log
from nbkit.runtime.pool import Pool


@pytest.fixture(scope="module")
def one() -> nbkit.Workers:
    """One worker: its lines are in an order of their own."""
    with Pool(1) as live:
        live.wait_until_ready()
        yield live


def lines(workers: nbkit.Workers, fn) -> list[tuple[str, str]]:
    job = workers.submit(fn)
    job.result(timeout=60)
    return [(event.stream, event.text) for event in job.events() if isinstance(event, Log)]


def test_programs_write_to_a_ranks_streams_in_order(one):
    def run():
        import subprocess
        import sys

        for number in range(3):
            print("before", number)
            subprocess.run(["echo", f"child {number}"], stdout=sys.stdout)
            print("after", number)
        subprocess.run("echo loud >&2; echo quiet", shell=True, stdout=sys.stderr, stderr=sys.stderr)

    found = lines(one, run)
    assert [text for stream, text in found if stream == "stderr"] == ["loud", "quiet"]
    assert [text for stream, text in found if stream == "stdout"] == [
        f"{what} {number}" for number in range(3) for what in ("before", "child", "after")
    ]


def test_what_a_program_writes_last_is_there_when_the_job_ends(one):
    def run():
        import subprocess
        import sys

        subprocess.run(["sh", "-c", "seq 1 5000; printf 'no newline'"], stdout=sys.stdout)

    assert [text for _, text in lines(one, run)] == [*map(str, range(1, 5001)), "no newline"]


def test_forked_children_print_line_by_line(workers):
    def run():
        import os
        import sys
        from multiprocessing import get_context

        def work(number):
            print("child", number, flush=True)
            for _ in range(100):
                print("x" * 50)
            sys.stdout.write("unfinished")

        children = [get_context("fork").Process(target=work, args=(number,)) for number in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        if (pid := os.fork()) == 0:
            sys.stderr.write("a child of its own\n")
            os._exit(0)
        os.waitpid(pid, 0)

    # As on a terminal, what stands without a newline may be followed by another child's line.
    found = [text.replace("unfinished", "") for _, text in lines(workers, run)]
    assert sorted(text for text in found if text.startswith("child")) == [f"child {n}" for n in (0, 0, 1, 1, 2, 2)]
    assert found.count("x" * 50) == 600
    assert found.count("a child of its own") == 2


def test_children_forked_while_threads_print_do_not_hang(one):
    def run():
        import os
        import threading

        done = threading.Event()

        def chatter():
            # A pause, or so many lines come that the children's are among those left out.
            while not done.wait(0.0002):
                print("thread")

        threads = [threading.Thread(target=chatter) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(30):
                if (pid := os.fork()) == 0:
                    print("child")
                    os._exit(0)
                os.waitpid(pid, 0)
        finally:
            done.set()
            for thread in threads:
                thread.join()

    assert [text for _, text in lines(one, run)].count("child") == 30


def test_loaders_with_workers_that_print_work(one):
    def run():
        from torch.utils.data import DataLoader

        class Rows:
            def __len__(self):
                return 4

            def __getitem__(self, index):
                print("row", index)
                return index

        return [int(row) for row in DataLoader(Rows(), num_workers=2, batch_size=None)]

    assert {f"row {number}" for number in range(4)} <= {text for _, text in lines(one, run)}


def test_bytes_copies_and_wrappers_of_a_stream_work(one):
    def run():
        import io
        import os
        import sys

        sys.stdout.buffer.write("gr\N{LATIN SMALL LETTER U WITH DIAERESIS}".encode()[:3])
        sys.stdout.buffer.write("gr\N{LATIN SMALL LETTER U WITH DIAERESIS}n\n".encode()[3:])
        copy = os.dup(sys.stdout.fileno())
        os.write(copy, b"copy \xff\n")
        os.close(copy)
        sys.stdout.reconfigure(encoding="utf-8", errors="replace", line_buffering=True)
        wrapper = io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8", line_buffering=True)
        print("wrapped", file=wrapper)
        del wrapper
        assert not sys.stdout.isatty() and not sys.stdout.closed and sys.stdout.name == "<stdout>"
        sys.stdout.close()
        print("still here", flush=True)

    assert [text for _, text in lines(one, run)] == ["gr\xfcn", "copy \ufffd", "wrapped", "still here"]


def test_a_descriptor_that_a_job_closes_is_made_anew(one):
    def run():
        import sys

        with open(sys.stdout.fileno(), "w") as stream:
            stream.write("first\n")

    assert [text for _, text in lines(one, run)] == ["first"]
    assert [text for _, text in lines(one, run)] == ["first"]


def test_progress_bars_logs_and_consoles_write_lines(one):
    def run():
        import logging
        import sys

        from rich.console import Console
        from tqdm import tqdm

        for _ in tqdm(range(3), desc="bar", file=sys.stdout):
            pass
        logger = logging.getLogger("of a test")
        logger.propagate = False
        logger.addHandler(logging.StreamHandler(sys.stdout))
        logger.warning("logged")
        Console(file=sys.stdout).print("[bold]shown[/bold]")

    bar, *rest = [text for _, text in lines(one, run)]
    assert bar.startswith("bar: 100%")
    assert rest == ["logged", "shown"]


def test_reading_standard_input_meets_its_end(one):
    def run():
        import sys

        try:
            input("name? ")
        except EOFError:
            return sys.stdin.read()

    assert one.run(run) == [""]


def test_a_crash_shows_where_after_a_job_had_turned_faulthandler_to_its_own_stream():
    def turn():
        import faulthandler
        import sys

        faulthandler.enable(sys.stderr)
        faulthandler.dump_traceback()

    def crash():
        import ctypes

        ctypes.string_at(0)

    with Pool(1) as own:
        assert any("most recent call first" in text for _, text in lines(own, turn))
        with pytest.raises(nbkit.RankDied, match=r"(?s)SIGSEGV.*string_at"):
            own.run(crash)
