"""Sampler: the process that reads the load of ranks and GPUs, and writes it down a line a round.

It reads which processes to watch from its standard input, a line of JSON each time they
change, and ends with its end: it cannot outlive the notebook.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

from nbkit.errors import InputError
from nbkit.files import machine

MEMORY_EVERY = 4
"""Rounds. The kernel walks a process's page table to add up its PSS, which takes milliseconds."""

Sample = dict[str, Any]


def main(period_s: float, notebook_pid: int) -> None:
    """Sample every ``period_s`` seconds until standard input ends."""
    ranks, gpus = Ranks(), Gpus(_nvml())
    # Unbuffered: select knows nothing of a line that was read ahead.
    asked = open(0, "rb", buffering=0)  # noqa: SIM115
    next_s = time.monotonic()
    # A process that the notebook forked holds a copy of the pipe: no end would be read while it lives.
    while os.getppid() == notebook_pid:
        wait_s = max(0.0, next_s - time.monotonic())
        if select.select([asked], [], [], wait_s)[0]:
            line = asked.readline()
            if not line:
                return
            ranks.watch({int(rank): pid for rank, pid in json.loads(line)["ranks"].items()})
            continue
        # Late rounds are left out, not made up for: no two come in quick succession.
        next_s += period_s * max(1, -(-(time.monotonic() - next_s) // period_s))
        samples = [*ranks.samples(), *gpus.samples()]
        print(json.dumps({"at_s": time.monotonic(), "samples": samples}), flush=True)


class Ranks:
    """The processes of ranks."""

    def __init__(self) -> None:
        self._processes: dict[int, psutil.Process] = {}
        self._memory_bytes: dict[int, int] = {}
        self._read_before: set[int] = set()
        self._round = 0

    def watch(self, pids: dict[int, int]) -> None:
        """Watch these processes, by rank, and no others."""
        processes = {}
        for rank, pid in pids.items():
            with contextlib.suppress(psutil.Error):
                known = self._processes.get(rank)
                processes[rank] = known if known is not None and known.pid == pid else psutil.Process(pid)
        self._processes = processes
        self._memory_bytes = {}
        self._read_before &= {process.pid for process in processes.values()}

    def samples(self) -> list[Sample]:
        """A sample of each process that lives."""
        self._round += 1
        taken = []
        for rank, process in list(self._processes.items()):
            try:
                if rank not in self._memory_bytes or self._round % MEMORY_EVERY == 0:
                    self._memory_bytes[rank] = memory_bytes(process)
                with process.oneshot():
                    busy = process.cpu_percent(None)
                    has_ended = process.status() == psutil.STATUS_ZOMBIE
            except psutil.Error:
                has_ended = True
            if has_ended:
                del self._processes[rank]
                continue
            if process.pid not in self._read_before:
                # The first reading only begins an interval: one from ``watch`` on could be too short for a number.
                self._read_before.add(process.pid)
                continue
            taken.append({"rank": rank, "gpu": None, "busy_percent": busy, "memory_bytes": self._memory_bytes[rank]})
        return taken


def memory_bytes(process: psutil.Process) -> int:
    """A process's share of memory: PSS where the system tells it, else RSS."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return int(process.memory_info().rss)


class Gpus:
    """The GPUs that torch would see, through NVML; none where there is no NVML."""

    def __init__(self, nvml: Any | None) -> None:
        self._nvml: Any = nvml
        self._handles = _visible_gpus(nvml) if nvml is not None else []

    def samples(self) -> list[Sample]:
        """A sample of each GPU that tells how busy it is, as a MIG slice does not; power and heat may be None."""
        taken = (self._sample(number, handle) for number, handle in enumerate(self._handles))
        return [sample for sample in taken if sample is not None]

    def _sample(self, number: int, handle: Any) -> Sample | None:
        nvml = self._nvml
        utilisation = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        if utilisation is None or memory is None:
            return None
        milliwatts = self._ask(nvml.nvmlDeviceGetPowerUsage, handle)
        return {
            "rank": None,
            "gpu": number,
            "busy_percent": float(utilisation.gpu),
            "memory_bytes": int(memory.used),
            "power_w": milliwatts / 1000 if milliwatts is not None else None,
            "temperature_c": self._ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
        }

    def _ask(self, question: Any, *args: Any) -> Any | None:
        try:
            return question(*args)
        except self._nvml.NVMLError:
            return None


def _visible_gpus(nvml: Any) -> list[Any]:
    """Handles in torch's numbering: those that CUDA_VISIBLE_DEVICES names, in its order.

    Where GPUs of several kinds are in one machine, CUDA numbers the fastest first unless
    CUDA_DEVICE_ORDER=PCI_BUS_ID is set; NVML always goes by the bus.
    """
    # No workers start with a value that is neither a yes nor a no, and there is nothing to sample.
    with contextlib.suppress(InputError):
        if machine.uses_cpu():
            return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names: Iterable[str] = (
        (str(number) for number in range(nvml.nvmlDeviceGetCount())) if named is None else named.split(",")
    )
    handles = []
    for name in names:
        try:
            handle = _handle_of(nvml, name.strip())
        except nvml.NVMLError:
            handle = None
        if handle is None:
            break  # as CUDA does: the first that does not exist ends the list
        handles.append(handle)
    return handles


def _handle_of(nvml: Any, name: str) -> Any | None:
    """The GPU of an index or a UUID, of which CUDA takes the beginning as well."""
    if name.lstrip("-").isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(name)) if int(name) >= 0 else None
    if name.startswith("MIG-"):
        return nvml.nvmlDeviceGetHandleByUUID(name)
    gpus = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
    named = [gpu for gpu in gpus if name and nvml.nvmlDeviceGetUUID(gpu).startswith(name)]
    return named[0] if len(named) == 1 else None


def _nvml() -> Any | None:
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, no driver, no permission: no GPUs to read
        return None
    return pynvml
