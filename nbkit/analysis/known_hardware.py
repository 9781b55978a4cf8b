"""Known hardware: what bounds the ranks that made some runs, as far as this machine's files tell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from nbkit.analysis.hardware import Hardware
from nbkit.analysis.roofline import of_run
from nbkit.errors import NbkitError
from nbkit.measure.device_speed.kept import entries
from nbkit.measure.device_speed.speed import DeviceSpeed
from nbkit.models.model_shape import model_shape
from nbkit.records.run import Run


def known_hardware(runs: Sequence[Run]) -> tuple[Hardware | None, str]:
    """What bounds the ranks that made these runs, of one model and dtype; and what is to be said of it, if anything.

    No device is asked. The speeds are those that ``nbkit.measure.device_speed`` has kept; none, if a run was faster
    than they allow. A Run tells its machine's memory, which ranks on a CPU share, but not that of a GPU.
    """
    first = runs[0]
    if first.settings.quantization != "none":
        return None, f"What the device allows is not known of weights in {first.settings.quantization}."
    try:
        shape = model_shape(first.settings.model)
    except NbkitError as error:
        return None, f"The model's shape is not known: {error}"
    devices = {rank.device.split(":")[0] for run in runs for rank in run.ranks}
    nodes = {rank.node for run in runs for rank in run.ranks}
    on_cpu = devices == {"cpu"}
    hardware = Hardware(
        name="this machine" if on_cpu else "this machine's GPU",
        shape=shape,
        dtype=first.dtype,
        speeds=tuple(_kept_speeds(str(first.machine.get("processor")), first.dtype, on_cpu)),
        memory_bytes=first.machine.get("memory_bytes") if on_cpu and len(nodes) == 1 else None,
        ranks_a_machine=max(run.world_size for run in runs),
    )
    most = max(_fractions(runs, hardware), default=0.0)
    if most > 1:
        said = (
            f"A run reached {100 * most:.0f}% of what the device's measured speed allows, as a model does that is "
            "read from a cache: so it is no limit."
        )
        return replace(hardware, speeds=()), said
    return hardware, ""


def _kept_speeds(processor: str, dtype: str, on_cpu: bool) -> Iterable[DeviceSpeed]:
    """Of each number of ranks at once the highest that is kept: a Run does not tell how many threads it had."""
    alike: dict[int, list[DeviceSpeed]] = defaultdict(list)
    for key, speed in entries().items():
        if processor in key.split(";")[0] and speed.dtype == dtype and (speed.name == processor) == on_cpu:
            alike[speed.ranks].append(speed)
    for speeds in alike.values():
        if len({speed.name for speed in speeds}) == 1:
            yield replace(
                speeds[0],
                bytes_per_s=max(speed.bytes_per_s for speed in speeds),
                flops_per_s=max(speed.flops_per_s for speed in speeds),
            )


def _fractions(runs: Sequence[Run], hardware: Hardware) -> Iterable[float]:
    """Of the limit, what each run's decoding reached; of those runs that have decoding and a speed."""
    for run in runs:
        speed = hardware.speed(run.world_size)
        if speed is not None and any(batch.steps > 1 and batch.decode_s > 0 for batch in run.batches):
            yield of_run(run, hardware.shape, speed).fraction
