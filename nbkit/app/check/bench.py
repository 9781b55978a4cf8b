"""Bench: what the checks share: the machine, live workers, and the models that they try."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from nbkit.app.check.runner import Clock, OutOfTime
from nbkit.errors import WorkersError
from nbkit.files.cache import cache_folder
from nbkit.inference.workers import Workers
from nbkit.models import EMBEDDED, random_llama
from nbkit.models.embedded import how_to_get_smollm2
from nbkit.models.model_arithmetic import LLAMA_2_7B
from nbkit.runtime import Job, Log, RankInfo

START_S = 120.0
"""Within which workers must be up."""
JOB_S = 180.0
"""Within which any job of a check must end."""
STOP_S = 15.0
BEAT_S = 0.2
LOG_LINES = 20

GPU_SHARE = 0.22
"""Of a GPU's free memory for the weights: engines' own copies, caches, and transformers beside them want room."""
DISK_LEFT_BYTES = 2_000_000_000
"""What writing the model leaves free on the disk."""


@dataclass(frozen=True, slots=True)
class SpeedModel:
    """The model that speed is measured with, by name or folder, and what is to say of it."""

    name: str
    about: str


class Bench:
    """What the checks share; a context manager that ends workers and drops files.

    Parameters
    ----------
    gpus : tuple of dict
        The GPUs there are to use, as ``gpus_here`` tells them; empty on a CPU.
    notebooks : Path or None
        The folder of the notebooks, where it was found.
    """

    def __init__(self, clock: Clock, gpus: tuple[dict[str, Any], ...] = (), notebooks: Path | None = None) -> None:
        self.clock = clock
        self.gpus = gpus
        self.notebooks = notebooks
        self._workers: dict[int, Workers] = {}
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._stack = ExitStack()
        self._speed_model: SpeedModel | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_workers()
        self._stack.close()

    @property
    def has_gpu(self) -> bool:
        """Whether ranks run on GPUs."""
        return bool(self.gpus)

    @property
    def text_model(self) -> str:
        """The model whose texts are compared: the embedded one where it can be had, else the tiny one."""
        smollm2, tiny = EMBEDDED
        is_prepared = (cache_folder() / "models" / smollm2).is_dir()
        return smollm2 if is_prepared or not how_to_get_smollm2() else tiny

    def workers(self, n: int) -> Workers:
        """So many live workers, the same at each call.

        Raises
        ------
        WorkersError
            They could not start.
        """
        if n not in self._workers or self._workers[n].is_closed:
            self._workers[n] = Workers(n)
        return self._workers[n]

    def ranks(self, workers: Workers) -> list[RankInfo]:
        """Who the ranks are, once they are up.

        Raises
        ------
        OutOfTime
            The check's whole time was over first.
        WorkersError
            They could not start, or not in two minutes.
        """
        try:
            return workers.wait_until_ready(min(START_S, max(self.clock.left_s, BEAT_S)))
        except WorkersError:
            if self.clock.left_s <= 0:
                raise OutOfTime from None
            raise

    def close_workers(self, but: int | None = None) -> None:
        """End all shared workers and free their devices; those of ``but`` ranks may stay."""
        for n in [n for n in self._workers if n != but]:
            self._workers.pop(n).close()

    def finish(self, job: Job, most_s: float = JOB_S) -> Any:
        """A job's result; what its ranks print is kept for the finding instead of shown.

        Raises
        ------
        OutOfTime
            The check's whole time was over; the job was cancelled.
        TimeoutError
            It took longer than ``most_s``, and was cancelled.
        """
        began_s = time.monotonic()
        try:
            for event in job.events(timeout=BEAT_S):
                if isinstance(event, Log):
                    self._log.append(event.labelled)
                if job.done():
                    continue
                if self.clock.left_s <= 0:
                    raise OutOfTime
                if time.monotonic() - began_s > most_s:
                    raise TimeoutError(f"not done within {most_s:.0f} s")
        except BaseException:
            # An interrupt as well: nothing of it shall go on.
            _stop(job)
            raise
        return job.result()

    def take_log(self) -> tuple[str, ...]:
        """The last lines that ranks printed since the last call."""
        lines = tuple(self._log)
        self._log.clear()
        return lines

    def speed_model(self) -> SpeedModel:
        """The model that speed is measured with: on a GPU one of random weights, written at the first call.

        Where writing it fails, that is raised once, and later calls tell of another model.
        """
        if self._speed_model is None:
            usual = self.text_model
            self._speed_model = SpeedModel(usual, usual)
            if self.has_gpu:
                self._speed_model = SpeedModel(usual, f"{usual}, for a larger one could not be written")
                self._speed_model = self._random_llama()
        return self._speed_model

    @property
    def measures_a_small_model(self) -> bool:
        """Whether speed is measured with a model too small to be held to the aims for GPUs."""
        return not self.has_gpu or (self._speed_model is not None and self._speed_model.name in EMBEDDED)

    def _random_llama(self) -> SpeedModel:
        workers = self.workers(1)
        self.ranks(workers)
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="nbkit-check-")))
        [free_gpu_bytes] = self.finish(workers.submit(free_bytes_on_rank))
        free_disk_bytes = shutil.disk_usage(folder).free
        layers = layers_for(free_disk_bytes, free_gpu_bytes)
        if not layers:
            room = (
                f"{free_disk_bytes / 1e9:.1f} GB of disk in {folder.parent} and {free_gpu_bytes / 1e9:.1f} GB of GPU"
            )
            return SpeedModel(self.text_model, f"{self.text_model}, for {room} memory are free")
        self.finish(workers.submit(write_on_rank, str(folder / "model"), layers))
        return SpeedModel(str(folder / "model"), about_random_llama(layers))


def layers_for(free_disk_bytes: float, free_gpu_bytes: float) -> int:
    """Layers of the random model that disk and GPU memory have room for; 0 if for none."""
    return random_llama.layers_within(min(free_disk_bytes - DISK_LEFT_BYTES, GPU_SHARE * free_gpu_bytes))


def about_random_llama(layers: int) -> str:
    """The random model in words."""
    size = f"{random_llama.weight_bytes(layers) / 1e9:.1f} GB"
    if layers == LLAMA_2_7B.layers:
        return f"Llama-2-7b's shape, random weights, {size}"
    return f"Llama-2-7b's shape with {layers} of {LLAMA_2_7B.layers} layers, for want of room, random weights, {size}"


def free_bytes_on_rank() -> int:
    """On a rank: memory in bytes that its device has free."""
    from accelerate import Accelerator

    from nbkit.models.memory import free_bytes

    return free_bytes(Accelerator().device)


def write_on_rank(folder: str, layers: int) -> None:
    """On a rank: write the model of random weights, made on its device."""
    from accelerate import Accelerator

    random_llama.write(Path(folder), layers, device=Accelerator().device)


def gpus_here() -> tuple[dict[str, Any], ...]:
    """The GPUs that workers would use: name, memory and what they compute; none where workers keep off them.

    Raises
    ------
    InputError
        ``ACCELERATE_USE_CPU`` is neither a yes nor a no.
    """
    import torch

    from nbkit.files import machine

    if machine.uses_cpu() or not torch.cuda.is_available():
        return ()
    found = (torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count()))
    return tuple(
        {
            "name": each.name,
            "memory_bytes": each.total_memory,
            "compute_capability": f"{each.major}.{each.minor}",
            "cuda": torch.version.cuda,
        }
        for each in found
    )


def _stop(job: Job) -> None:
    """Cancel a job and wait, not long, until it has ended."""
    job.cancel()
    end_s = time.monotonic() + STOP_S
    while not job.done() and time.monotonic() < end_s:
        time.sleep(BEAT_S / 4)
