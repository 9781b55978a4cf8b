"""Load: what NVML tells of the GPUs while they decode."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from collections.abc import Iterator, Sequence

from nbkit.app.check.bench import Bench
from nbkit.app.check.findings import Answer, Skipped, judged
from nbkit.app.check.runner import Part
from nbkit.app.check.speed import numbered_prompts
from nbkit.measure.load import Monitor
from nbkit.records import LoadSample
from nbkit.records.run import Run
from nbkit.records.settings import Settings

PERIOD_S = 0.1
PROMPTS, NEW_TOKENS, BATCH_SIZE = 32, 100, 16


def load(bench: Bench) -> Iterator[Part]:
    """A generation with a monitor beside it."""
    yield Part("the GPUs' load", lambda: _watched(bench))


def _watched(bench: Bench) -> Answer:
    if not bench.has_gpu:
        raise Skipped("there is no GPU")
    if importlib.util.find_spec("pynvml") is None:
        raise Skipped("NVML is read by the package nvidia-ml-py, which is not installed")
    if os.environ.get("CUDA_VISIBLE_DEVICES", "").startswith("MIG-"):
        raise Skipped("a MIG slice does not tell how busy it is")
    bench.close_workers(but=1)
    workers = bench.workers(1)
    settings = Settings(
        model=bench.speed_model().name,
        engine="batched",  # the slowest that keeps a GPU at work: there is time for many samples
        batch_size=BATCH_SIZE,
        max_new_tokens=NEW_TOKENS,
        ignore_eos=True,
    )
    with Monitor(PERIOD_S) as monitor:
        monitor.watch(workers)
        job = workers.submit_generate(numbered_prompts(PROMPTS), settings)
        run = monitor.attach(bench.finish(job), job)
        if monitor.error is not None:
            return Answer("failed", f"the sampler ended: {monitor.error}")
    return plausible(run.load_samples, run, bench.gpus[0]["memory_bytes"])


def plausible(samples: Sequence[LoadSample], run: Run, gpu_memory_bytes: int) -> Answer:
    """Whether the samples of GPU 0, where the one rank is, can be true while it decoded."""
    during = [sample for sample in samples if sample.gpu == 0 and run.begin_s <= sample.at_s <= run.end_s]
    if not during:
        return Answer("failed", f"no sample of GPU 0 in the {run.wall_s:.1f} s of a run")
    busy = max(sample.busy_percent for sample in during)
    memory = max(sample.memory_bytes for sample in during)
    power = max((sample.power_w for sample in during if sample.power_w is not None), default=None)
    # NVML counts some memory that torch does not see.
    is_good = 0 < busy <= 100 and 0 < memory <= 1.1 * gpu_memory_bytes and (power is None or power > 0)
    watts = "power not told" if power is None else f"{power:.0f} W"
    taken = f"{len(during)} samples of GPU 0 in {run.wall_s:.1f} s"
    said = f"{taken}: up to {busy:.0f}% busy, {memory / 1e9:.1f} GB, {watts}"
    return judged(is_good, said, samples=[dataclasses.asdict(sample) for sample in during])
