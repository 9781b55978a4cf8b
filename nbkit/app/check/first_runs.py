"""First runs: in fresh workers, what the first run of each engine brings beside the second."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Iterator, Sequence

from nbkit.app.check.bench import Bench
from nbkit.app.check.findings import Answer, Skipped, judged
from nbkit.app.check.runner import Part
from nbkit.app.check.speed import numbered_prompts
from nbkit.app.check.texts import refuse_what_is_not_installed
from nbkit.errors import InputError
from nbkit.inference.workers import Workers
from nbkit.models import EMBEDDED
from nbkit.records.engine_spec import ENGINES
from nbkit.records.run import Run
from nbkit.records.settings import Settings

MOST_APART = 0.05
BATCH_SIZE = 16
CPU_ROUNDS = 3
PATIENCE_S = 10.0
"""On a CPU further fresh workers are started only until so long after an engine's begin."""
TELLING_FIRST = ("compiled", "batched", "continuous", "vllm", "openvino", "simple")


def first_runs(bench: Bench) -> Iterator[Part]:
    """Each engine, in workers of its own."""
    bench.close_workers()
    for engine in TELLING_FIRST:
        yield Part(engine, lambda e=engine: _engine(bench, e))  # type: ignore[misc]


def work_for(engine: str, has_gpu: bool, is_tiny: bool) -> tuple[int, int]:
    """How many prompts, and new tokens for each: seconds of work, in which the noise of a moment is small."""
    is_slow = not ENGINES[engine].batches
    if is_tiny:
        return (12 if is_slow else 96), 48
    if has_gpu:
        return (2 if is_slow else 32 if engine == "batched" else 96), 100
    return (2 if is_slow else 16), 12


def _engine(bench: Bench, engine: str) -> Answer:
    refuse_what_is_not_installed(engine)
    model = bench.speed_model().name
    bench.close_workers()
    prompts, new_tokens = work_for(engine, bench.has_gpu, model == EMBEDDED[-1])
    settings = Settings(model=model, engine=engine, batch_size=BATCH_SIZE, max_new_tokens=new_tokens, ignore_eos=True)
    began_s = time.monotonic()
    rounds: list[list[Run]] = []
    while not rounds or _goes_on(bench, len(rounds), time.monotonic() - began_s):
        try:
            rounds.append(_runs(bench, settings, numbered_prompts(prompts)))
        except InputError as error:
            if ENGINES[engine].loads_itself:
                raise Skipped(str(error)) from None
            raise
    return compared(engine, rounds)


def _goes_on(bench: Bench, rounds: int, since_s: float) -> bool:
    return not bench.has_gpu and rounds < CPU_ROUNDS and since_s < PATIENCE_S


def _runs(bench: Bench, settings: Settings, prompts: list[str]) -> list[Run]:
    """The same generation in fresh workers twice, on a CPU once more: how far later runs are apart is its noise."""
    with Workers(1) as fresh:
        bench.ranks(fresh)
        return [bench.finish(fresh.submit_generate(prompts, settings)) for _ in range(2 if bench.has_gpu else 3)]


def compared(engine: str, rounds: Sequence[Sequence[Run]]) -> Answer:
    """Tokens per second of first and second runs, and how far apart they are: medians over the fresh workers.

    Where a third run is as far from the second, the machine is too noisy for a failure to mean anything.
    """
    rates = [[run.tokens_per_second for run in runs] for runs in rounds]
    first, second = (statistics.median(each[place] for each in rates) for place in (0, 1))
    apart = statistics.median(each[0] / each[1] - 1 for each in rates)
    noise = statistics.median(abs(each[2] / each[1] - 1) if len(each) > 2 else 0.0 for each in rates)
    said = f"{engine}: first run {first:,.0f} tokens/s, second {second:,.0f}: {apart:+.1%}, {MOST_APART:.0%} allowed"
    if len(rounds) > 1:
        said += f" (medians of {len(rounds)} fresh workers)"
    fallbacks = [run.fallback.words for runs in rounds for run in runs if run.fallback is not None]
    if fallbacks:
        said += f"; went on with {fallbacks[0]}"
    answer = judged(
        abs(apart) <= MOST_APART,
        said,
        apart=apart,
        most_apart=MOST_APART,
        noise=noise,
        tokens_per_s=rates,
        time_parts_s=[[run.time_parts(run.ranks[0].rank) for run in runs] for runs in rounds],
        warm_up_s=[[run.warm_up_s for run in runs] for runs in rounds],
        prompts=len(rounds[0][0].prompts),
        new_tokens=rounds[0][0].settings.max_new_tokens,
        fallbacks=fallbacks,
    )
    if answer.outcome == "failed" and noise >= MOST_APART:
        too_noisy = f"{said}; no verdict: the third is {noise:.1%} from the second, so noisy is this machine"
        return dataclasses.replace(answer, outcome="noted", said=too_noisy)
    return answer
