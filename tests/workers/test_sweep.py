"""Sweeps on real ranks: measured, stopped, gone on with, and a rank killed in the middle; from a terminal, too."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

import nbkit
from nbkit.analysis.scaling import scaling, series
from nbkit.measure.sweep import SweepRunner

PROMPTS = ["the king.", "a", "once there were four children", "the sun was shining"] * 2
BASE = nbkit.Settings(model="tiny-random", max_new_tokens=6, ignore_eos=True)
NBKIT = [sys.executable, "-m", "nbkit"]
SWEEP = [
    *NBKIT,
    *("sweep", "--model", "tiny-random", "--ranks", "1,2", "--batch-size", "1,4", "--repeats", "2"),
    *("--prompts", "20", "--max-new-tokens", "8"),
]


def grid(**changes):
    return nbkit.Grid(**{"ranks": (1, 2), "batch_sizes": (2, 4), "base": BASE, "repeats": 2, **changes})


def test_a_sweep_over_ranks_splits_and_orders(workers, tmp_path):
    path = tmp_path / "sweep.json"
    asked = grid(batch_sizes=(4,), splits=("static", "dynamic"), orders=("as_given", "by_length"), repeats=1)
    sweep = nbkit.run_sweep(workers, asked, PROMPTS, path)

    assert sweep.is_complete and not sweep.failures
    assert len(sweep.runs) == 8
    texts = {tuple(run.outputs) for run in sweep.runs}
    assert len(texts) == 1, "every schedule gives the same texts"
    assert [run.idle_ranks for run in sweep.runs] == [2 - m.point.ranks for m in sweep.measurements]
    assert nbkit.Sweep.load(path) == sweep
    for runs in series(sweep.runs).values():
        for point in scaling(runs):
            assert sum(point.lost.losses.values()) + point.lost.useful_s == pytest.approx(point.wall_s.median)


def test_a_killed_rank_is_a_failure_and_the_sweep_goes_on(own_workers):
    # Longer than it takes to kill a rank.
    sweep = nbkit.Sweep(grid(base=nbkit.Settings.of(BASE, max_new_tokens=100)), PROMPTS)
    kinds = []
    for step in SweepRunner(own_workers, sweep).steps():
        kinds.append(step.kind)
        if kinds.count("measuring") == 3 and step.kind == "measuring":
            os.kill(own_workers.wait_until_ready()[0].pid, signal.SIGKILL)
    assert kinds.count("failed") == 1
    assert len(sweep.measurements) == 7
    assert "rank 0" in sweep.failures[0].message


def test_stop_ends_the_run_under_way_and_keeps_the_workers(workers):
    sweep = nbkit.Sweep(grid(base=nbkit.Settings.of(BASE, max_new_tokens=200), repeats=50), ["the king."] * 20)
    runner = SweepRunner(workers, sweep)
    for step in runner.steps():
        if step.done == 1 and step.kind == "measuring":
            runner.stop()
    assert len(sweep.measurements) == 1
    assert workers.run(int) == [0, 0]


def test_an_interrupt_cancels_the_run_under_way_and_the_rest_is_measured_later(workers, tmp_path):
    path = tmp_path / "sweep.json"
    sweep = nbkit.Sweep(grid(), PROMPTS)
    jobs = []
    with pytest.raises(KeyboardInterrupt):
        for step in SweepRunner(workers, sweep, path).steps():
            jobs.append(step.job)
            if step.done == 2 and step.kind == "measuring":
                raise KeyboardInterrupt
    kept = nbkit.Sweep.load(path)
    assert kept == sweep and len(kept.measurements) == 2
    with pytest.raises(nbkit.JobCancelled):
        jobs[-1].result(timeout=30)

    whole = nbkit.run_sweep(workers, grid(), PROMPTS, path)
    assert whole.is_complete
    assert whole.measurements[:2] == kept.measurements, "nothing was measured again"


def test_a_prompt_that_does_not_fit_is_said_at_once_and_leaves_no_file(workers, tmp_path):
    with pytest.raises(nbkit.InputError, match="prompt 8 has 300 tokens"):
        nbkit.run_sweep(workers, grid(), [*PROMPTS, "x" * 300], tmp_path / "sweep.json")
    assert not (tmp_path / "sweep.json").exists()


def test_a_model_that_there_is_not_is_said_at_once(workers):
    with pytest.raises(nbkit.ModelError, match="no-such-model"):
        nbkit.run_sweep(workers, grid(base=nbkit.Settings.of(BASE, model="no-such-model")), PROMPTS)


def test_in_a_terminal_it_stops_at_an_interrupt_and_goes_on(tmp_path):
    out = tmp_path / "sweep.json"
    long = [*SWEEP, "--repeats", "200", "--out", str(out)]
    process = subprocess.Popen(
        long,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell may have started this test with interrupts ignored, which children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        _wait_for_a_measurement(out, process)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, said
    stopped = re.search(r"stopped: (\d+) of 800 runs done, saved in .*; the same command goes on", said)
    assert stopped, said
    kept = nbkit.Sweep.load(out)
    assert len(kept.measurements) == int(stopped[1])

    whole = [*SWEEP, "--repeats", str(len(kept.measurements) // 4 + 2), "--out", str(out)]
    first = _shortened(kept, out)
    ran = subprocess.run(whole, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"going on with {out}: {len(first.measurements)} of" in ran.stdout.replace("\n", "")
    complete = nbkit.Sweep.load(out)
    assert complete.is_complete
    assert complete.measurements[: len(first.measurements)] == first.measurements, "nothing was measured again"
    assert "speed-up" in ran.stdout

    again = subprocess.run(whole, capture_output=True, text=True, timeout=60)
    assert again.returncode == 0
    assert f"{out} is complete: {len(complete.measurements)} of" in again.stdout.replace("\n", "")
    assert nbkit.Sweep.load(out) == complete


def test_in_a_terminal_an_interrupt_before_the_first_run_does_not_speak_of_a_file(tmp_path):
    out = tmp_path / "sweep.json"
    process = subprocess.Popen(
        [*SWEEP, "--prompts", "200", "--max-new-tokens", "20", "--batch-size", "1", "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        _wait_for_ranks(process)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "stopped: 0 of 4 runs done; the same command goes on." in said.replace("\n", "")
    assert not out.exists()


def _wait_for_ranks(process):
    """Until the host has its ranks: they are up or import torch, and no run can have ended."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if len(psutil.Process(process.pid).children(recursive=True)) >= 3:
            return
        time.sleep(0.1)


def _wait_for_a_measurement(out, process):
    deadline = time.monotonic() + 60
    while not out.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)


def _shortened(sweep, out):
    """The same measurements under a plan that soon ends."""
    repeats = len(sweep.measurements) // 4 + 1
    short = nbkit.Sweep(
        nbkit.Grid.from_dict(sweep.grid.to_dict() | {"repeats": repeats}),
        sweep.prompts,
        sweep.measurements,
        created=sweep.created,
    )
    short.save(out)
    return short
