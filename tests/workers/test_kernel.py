"""Workers behind a real Jupyter kernel: interrupt, restart, shut-down, tracebacks of cells."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator

import psutil
import pytest
from jupyter_client.manager import KernelManager, start_new_kernel


class Kernel:
    """A started kernel and the moves of a notebook."""

    def __init__(self) -> None:
        self.manager: KernelManager
        self.manager, self.client = start_new_kernel()
        self.ranks: list[int] = []

    def run(self, code: str, timeout: float = 60) -> tuple[str, list[str]]:
        """Run a cell: what it printed, and its error's traceback if there was one."""
        printed: list[str] = []

        def collect(message):
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        reply = {"content": {"status": "aborted"}}
        # For a moment after an error a kernel refuses what was sent to it meanwhile.
        while reply["content"]["status"] == "aborted":
            reply = self.client.execute_interactive(code, timeout=timeout, output_hook=collect)
        return "".join(printed), reply["content"].get("traceback", [])

    def start_workers(self) -> list[int]:
        """Make two bare ranks, which start sooner than workers with what models need; their process ids."""
        out, _ = self.run(
            "import nbkit\nfrom nbkit.runtime.pool import Pool\n"
            "workers = Pool(2)\nprint([info.pid for info in workers.wait_until_ready()])"
        )
        self.ranks = ast.literal_eval(out)
        return self.ranks

    def end(self) -> None:
        """End the kernel, whatever it does."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    """A kernel that a test may end."""
    kernel = Kernel()
    yield kernel
    kernel.end()


@pytest.fixture(scope="module")
def shared() -> Iterator[Kernel]:
    """A kernel with two workers, for tests that leave both alive."""
    kernel = Kernel()
    kernel.start_workers()
    yield kernel
    kernel.end()


def host_and(pids: list[int]) -> list[int]:
    return [psutil.Process(pids[0]).ppid(), *pids]


def test_an_interrupt_cancels_the_cells_job_and_keeps_the_ranks(shared):
    shared.run("def sleep():\n    import time\n    time.sleep(60)")
    shared.client.execute("workers.run(sleep)")
    time.sleep(1)

    shared.manager.interrupt_kernel()

    assert shared.client.get_shell_msg(timeout=10)["content"]["ename"] == "KeyboardInterrupt"
    out, traceback = shared.run(
        "print(workers.run(int), [info.pid for info in workers.wait_until_ready()])", timeout=20
    )
    assert not traceback
    assert out.strip() == f"[0, 0] {shared.ranks}"


EXPLORE = """
import nbkit, time
from nbkit import dashboards
workers = nbkit.Workers(1)
explore = dashboards.Explore(
    workers, ["a b c"] * 2000, model="tiny-random", engine="batched", batch_size=1, max_new_tokens=50, ignore_eos=True
)
def wait(condition):
    while not condition():
        time.sleep(0.05)
def run():
    explore.run()
    wait(lambda: "tokens computed" in explore.status and not explore.status.startswith("0"))
wait(lambda: not explore.is_busy)
run()
print(explore.status)
"""


def test_an_interrupt_between_cells_stops_what_a_dashboard_has_started(kernel):
    out, traceback = kernel.run(EXPLORE)
    assert "of 2000 prompts" in out and not traceback
    for _ in range(2):  # the second has nothing to stop
        kernel.manager.interrupt_kernel()
        out, _ = kernel.run("wait(lambda: not explore.is_busy)\nprint(explore.status, len(explore.runs))", 30)
        assert "stopped after" in out and out.split()[-1] == "1"
    # Of a cell it is the cell's, and the dashboard goes on.
    kernel.run("run()")
    kernel.client.execute("time.sleep(60)")
    time.sleep(1)
    kernel.manager.interrupt_kernel()
    assert kernel.client.get_shell_msg(timeout=10)["content"]["ename"] == "KeyboardInterrupt"
    out, _ = kernel.run("print(explore.is_busy)")
    assert out.strip() == "True"


@pytest.mark.parametrize("end", ["restart", "shut down", "kill"])
def test_a_kernel_that_ends_leaves_nothing_behind(kernel, gone_within, end):
    everyone = host_and(kernel.start_workers())
    kernel.client.execute("workers.run(__import__('time').sleep, 60)")
    time.sleep(0.5)

    if end == "restart":
        kernel.manager.restart_kernel(now=True)
    elif end == "shut down":
        kernel.manager.shutdown_kernel()
    else:
        psutil.Process(kernel.manager.provisioner.pid).kill()

    assert gone_within(everyone, 5)


def test_an_error_shows_the_cells_own_line_and_not_the_kernels_frames(shared):
    shared.run(
        "def fail():\n"
        "    from accelerate import Accelerator\n"
        "    if Accelerator().process_index == 1:\n"
        "        raise ValueError('my mistake')\n"
        "    Accelerator().wait_for_everyone()"
    )

    _, traceback = shared.run("workers.run(fail)")

    shown = "\n".join(traceback)
    assert "rank 1 raised ValueError: my mistake" in shown
    assert "raise ValueError('my mistake')" in shown
    assert not any(file in shown for file in ("scheduler.py", "assignment.py", "event_loop.py"))


def test_prints_of_ranks_reach_the_cell(shared):
    out, _ = shared.run("workers.run(print, 'hello')")
    assert sorted(out.splitlines()) == ["[rank 0] hello", "[rank 1] hello"]


GATHER = """
def gather():
    from accelerate import Accelerator
    from accelerate.utils import gather_object
    return gather_object([Accelerator().process_index])

print(workers.run(gather))
"""


def test_two_notebooks_work_side_by_side(shared):
    other = Kernel()
    try:
        assert shared.ranks != other.start_workers()
        for each in (shared, other):
            out, _ = each.run(GATHER)
            assert ast.literal_eval(out) == [[0, 1], [0, 1]]
    finally:
        other.end()


AUTORELOAD = """
%load_ext autoreload
%autoreload {mode}
import sys
sys.path.insert(0, {folder!r})
import {name}_user
from {name}_base import value, Thing
thing = Thing()

def all_here():
    return [value(), thing.value(), {name}_user.doubled(), {name}_user.LIMIT]
"""


@pytest.mark.parametrize("mode", ["2", "2 --full", "3"])
def test_what_autoreload_loads_in_the_notebook_is_loaded_on_the_ranks(shared, tmp_path, mode):
    name = "auto" + "".join(filter(str.isalnum, mode))

    def edit(base, limit):
        (tmp_path / f"{name}_base.py").write_text(
            f"def value(): return {base}\nclass Thing:\n    def value(self): return -{base}\n"
        )
        (tmp_path / f"{name}_user.py").write_text(
            f"from {name}_base import value\nLIMIT = {limit}\ndef doubled(): return 2 * value()\n"
        )

    edit(1, 5)
    shared.run(AUTORELOAD.format(mode=mode, folder=str(tmp_path), name=name))
    for base, limit in ((1, 5), (2, 5), (3, 6), (44, 7)):
        edit(base, limit)
        out, traceback = shared.run("print([all_here()] * 2 == workers.run(all_here), all_here()[1:])")
        assert not traceback
        # Whether a name imported from a module is mended, too, depends on the mode; here and there it is the same.
        assert out.splitlines()[-1] == f"True [-{base}, {2 * base}, {limit}]"
    shared.run("%autoreload 0")


def test_a_failed_autoreload_keeps_the_old_code_in_the_notebook_and_on_the_ranks(shared, tmp_path):
    file = tmp_path / "auto_fails.py"
    file.write_text("def value(): return 1")
    shared.run(f"%load_ext autoreload\n%autoreload 2\nimport sys\nsys.path.insert(0, {str(tmp_path)!r})")
    shared.run("import auto_fails\nworkers.run(auto_fails.value)")
    file.write_text("def value(): return (")
    out, traceback = shared.run("print(workers.run(auto_fails.value))")
    assert not traceback
    assert "[1, 1]" in out
    file.write_text("def value(): return 20")
    out, _ = shared.run("print(workers.run(auto_fails.value))")
    assert out.splitlines()[-1] == "[20, 20]"
    shared.run("%autoreload 0")
