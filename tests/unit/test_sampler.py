"""Reading GPUs, with a stand-in for NVML: this machine has none."""

from __future__ import annotations

import os
import subprocess
import time
from types import SimpleNamespace

import psutil
import pytest

from nbkit.measure.load.sampler import Gpus, Ranks


class NVMLError(Exception):
    pass


class Nvml:
    """Three GPUs, of which the last tells no power, and a MIG slice, which does not tell how busy it is."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0
    UUIDS = ("GPU-a1", "GPU-b1", "GPU-b2")

    def nvmlDeviceGetCount(self):
        return 3

    def nvmlDeviceGetHandleByIndex(self, index):
        if not 0 <= index < 3:
            raise NVMLError("no such GPU")
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid != "MIG-1":
            raise NVMLError("no such GPU")
        return 3

    def nvmlDeviceGetUUID(self, handle):
        return self.UUIDS[handle]

    def nvmlDeviceGetUtilizationRates(self, handle):
        if handle == 3:
            raise NVMLError("not supported")
        return SimpleNamespace(gpu=10 * handle)

    def nvmlDeviceGetMemoryInfo(self, handle):
        return SimpleNamespace(used=1000 + handle)

    def nvmlDeviceGetPowerUsage(self, handle):
        if handle == 2:
            raise NVMLError("not supported")
        return 150_000

    def nvmlDeviceGetTemperature(self, handle, sensor):
        return 60 + handle


@pytest.mark.parametrize(
    ("visible", "memory"),
    [
        (None, [1000, 1001, 1002]),
        ("2,0", [1002, 1000]),
        ("GPU-b1", [1001]),
        ("GPU-b2,GPU-a", [1002, 1000]),
        ("GPU-a,GPU-b,0", [1000]),
        ("MIG-1", []),
        ("1,7,0", [1001]),
        ("-1", []),
        ("", []),
    ],
)
def test_gpus_are_those_that_torch_sees_in_its_order(monkeypatch, visible, memory):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    samples = Gpus(Nvml()).samples()
    assert [sample["memory_bytes"] for sample in samples] == memory
    assert [sample["gpu"] for sample in samples] == list(range(len(memory)))


def test_numbers_come_in_their_units_and_none_where_a_gpu_does_not_tell(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    first, _, last = Gpus(Nvml()).samples()
    assert first == {
        "rank": None,
        "gpu": 0,
        "busy_percent": 0.0,
        "memory_bytes": 1000,
        "power_w": 150.0,
        "temperature_c": 60,
    }
    assert (last["power_w"], last["temperature_c"]) == (None, 62)


def test_no_gpus_where_they_are_not_to_be_used(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    assert Gpus(Nvml()).samples() == []
    assert Gpus(None).samples() == []


def test_the_first_round_of_a_process_gives_no_number():
    ranks = Ranks()
    ranks.watch({0: os.getpid()})
    assert ranks.samples() == []
    ranks.watch({0: os.getpid(), 1: os.getppid()})
    assert [sample["rank"] for sample in ranks.samples()] == [0]
    assert [sample["rank"] for sample in ranks.samples()] == [0, 1]


@pytest.mark.ranks
def test_a_process_that_has_ended_is_dropped_though_nobody_has_taken_its_exit_code():
    ranks = Ranks()
    process = subprocess.Popen(["sleep", "60"])
    ranks.watch({0: process.pid})
    ranks.samples()
    assert len(ranks.samples()) == 1
    process.kill()
    while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert ranks.samples() == []
    process.wait()
