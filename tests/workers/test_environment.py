"""What the environment says to the workers, in every form it may take."""

from __future__ import annotations

import pytest

import nbkit
from nbkit.runtime import Log
from nbkit.runtime.launchers import host
from nbkit.runtime.pool import Pool


def threads_and_group():
    import os

    import torch
    from accelerate import Accelerator

    return torch.get_num_threads(), Accelerator().num_processes, os.environ["OMP_NUM_THREADS"]


@pytest.mark.parametrize(("use_cpu", "omp"), [("0", " 3,2 "), ("", "+3")])
def test_forms_that_accelerate_does_not_read_start_a_whole_group(monkeypatch, use_cpu, omp):
    monkeypatch.setenv("ACCELERATE_USE_CPU", use_cpu)
    monkeypatch.setenv("OMP_NUM_THREADS", omp)
    with Pool(2) as workers:
        assert workers.run(threads_and_group) == [(3, 2, "3")] * 2


def test_a_number_of_threads_that_is_none_is_said_and_ignored(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "0")
    with Pool(1) as workers:
        job = workers.submit(threads_and_group)
        assert job.result()[0][:2] == (host._threads(1), 1)
    assert any("OMP_NUM_THREADS='0'" in event.text for event in job.events() if isinstance(event, Log))


def test_an_answer_that_is_neither_yes_nor_no_is_said(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "perhaps")
    with Pool(2) as workers, pytest.raises(nbkit.WorkersError, match="ACCELERATE_USE_CPU='perhaps'"):
        workers.run(int)


@pytest.mark.parametrize(("omp", "threads"), [("5,2", 5), ("0", 2), ("many", 2)])
def test_the_plan_and_the_threads_of_a_rank(monkeypatch, omp, threads):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "yes")
    monkeypatch.setenv("OMP_NUM_THREADS", omp)
    monkeypatch.setattr(host, "usable_cores", lambda: 4)
    plan = host._plan(2)
    assert host._threads(plan.world_size) == threads
    assert (plan.note is None) == (omp == "5,2")
    if plan.note:
        assert f"OMP_NUM_THREADS={omp!r}" in plan.note
