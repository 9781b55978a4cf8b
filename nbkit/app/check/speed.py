"""Speed: decode steps beside the device's limit, whole runs, and transformers' own generate beside the default."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbkit.analysis.decode_speed import DecodeSpeed
from nbkit.app.check.bench import Bench
from nbkit.app.check.findings import Answer, Skipped, judged, noted
from nbkit.app.check.runner import Part
from nbkit.app.check.texts import refuse_what_is_not_installed
from nbkit.errors import InputError
from nbkit.inference.workers import Workers
from nbkit.measure import device_speed
from nbkit.measure.device_speed.speed import DeviceSpeed
from nbkit.measure.plain_generate import PlainRun, plain_generate_on_rank
from nbkit.models.model_arithmetic import ModelShape
from nbkit.models.model_shape import model_shape
from nbkit.prompts import first_lines
from nbkit.records.engine_spec import ENGINES
from nbkit.records.run import Run
from nbkit.records.settings import Settings

DEFAULT = Settings().engine
SIMPLE_PROMPTS = 4
"""One prompt at a time takes as long for each: so many tell."""
PLAIN = "transformers' generate"

LEAST_LIMIT_SHARE = 0.8
LEAST_DECODE_SHARE = 0.9
LEAST_TIMES_PLAIN = 1.3
LEAST_TIMES_INT8 = 1.4
INT8_AT = 16


@dataclass(frozen=True, slots=True)
class Contender:
    """What is measured: an engine of nbkit, or None for transformers' own ``generate``."""

    engine: str | None
    size: int
    quantization: str = "none"

    @property
    def words(self) -> str:
        """As ``compiled int8, 16 at once``."""
        bits = "" if self.quantization == "none" else f" {self.quantization}"
        if self.engine is not None and not ENGINES[self.engine].batches:
            return f"{self.engine}, one at a time"
        return f"{self.engine or PLAIN}{bits}, {self.size} at once"


@dataclass(frozen=True, slots=True)
class Work:
    """What is generated, the same for all, and by whom, the most telling first, for the time may be over early."""

    prompts: int
    new_tokens: int
    first_tokens: int
    """Of transformers' batch before the timed ones: on a GPU as many, for what is compiled depends on it."""
    contenders: tuple[Contender, ...]

    @property
    def sizes(self) -> list[int]:
        """How many sequences are decoded at once, in the contenders' order."""
        return list(dict.fromkeys(each.size for each in self.contenders if each.engine == DEFAULT))


GPU_WORK = Work(
    100,
    100,
    100,
    (
        Contender(DEFAULT, 16),
        Contender(DEFAULT, 100),
        Contender(DEFAULT, 16, "int8"),
        Contender(DEFAULT, 16, "int4"),
        Contender(None, 16),
        Contender("continuous", 16),
        Contender("continuous", 100),
        Contender(None, 100),
        Contender("vllm", 16),
        Contender("vllm", 100),
        Contender("simple", 1),
        Contender("batched", 100),
        Contender(DEFAULT, 100, "int8"),
        Contender("batched", 16),
        Contender("openvino", 16),
    ),
)
CPU_WORK = Work(
    16,
    16,
    2,
    (
        Contender(DEFAULT, 16),
        Contender(None, 16),
        Contender(DEFAULT, 16, "int8"),
        Contender(DEFAULT, 16, "int4"),
        Contender("batched", 16),
        Contender("continuous", 16),
        Contender("openvino", 16),
        Contender("vllm", 16),
        Contender("simple", 1),
    ),
)


@dataclass(slots=True)
class Measured:
    """What is known so far."""

    shape: ModelShape | None = None
    device: DeviceSpeed | None = None
    decoding: dict[Contender, DecodeSpeed] = field(default_factory=dict)
    plain: dict[int, PlainRun] = field(default_factory=dict)


def speed(bench: Bench) -> Iterator[Part]:
    """The model, the device, each contender, and then the aims."""
    bench.close_workers(but=1)
    yield Part("the model", lambda: noted(f"measured with {bench.speed_model().about}"))
    work, known = (CPU_WORK if bench.measures_a_small_model else GPU_WORK), Measured()
    yield Part("the device", lambda: _device(bench, known))
    for contender in work.contenders:
        yield Part(contender.words, lambda c=contender: _contender(bench, work, c, known))  # type: ignore[misc]
    for name, answer in aims(work, known, has_verdict=not bench.measures_a_small_model):
        yield Part(name, lambda a=answer: _given(a), is_instant=True)  # type: ignore[misc]


def _given(answer: Answer) -> Answer:
    return answer


def _device(bench: Bench, known: Measured) -> Answer:
    workers = bench.workers(1)
    [info] = bench.ranks(workers)
    known.device = device_speed.measure(workers, refresh=True)
    found = known.device
    return noted(
        f"{found.name}, {found.dtype}: {found.bytes_per_s / 1e9:,.0f} GB/s, {found.flops_per_s / 1e12:.3g} TFLOP/s",
        **dataclasses.asdict(found),
        device=info.device,
    )


def _contender(bench: Bench, work: Work, contender: Contender, known: Measured) -> Answer:
    prompts = numbered_prompts(work.prompts)
    if contender.engine is None:
        return _plain(bench, work, contender, known)
    refuse_what_is_not_installed(contender.engine)
    if known.device is None:
        raise Skipped("the device's speed is not known")
    if contender.engine == "simple":
        prompts = prompts[:SIMPLE_PROMPTS]
    try:
        run = _generate(bench, contender, prompts, work.new_tokens)
    except InputError as refusal:
        if contender.quantization == "none" and not ENGINES[contender.engine].loads_itself:
            raise
        raise Skipped(str(refusal)) from None
    if known.shape is None:
        known.shape = model_shape(bench.speed_model().name)
    found = DecodeSpeed.of(run, known.shape, known.device)
    known.decoding[contender] = found
    said = in_words(contender, found)
    if run.fallback is not None:
        said += f"; went on with {run.fallback.words}: {'; '.join(run.fallback.reasons)}"
        del known.decoding[contender]
    if run.out_of_memory:
        said += f"; out of memory, then {run.out_of_memory[-1].then} at once"
    return Answer(
        "noted" if run.fallback is None else "failed",
        said,
        {
            **dataclasses.asdict(found),
            "limit_share": found.limit_share,
            "batch_size": run.batch_size,
            "time_parts_s": run.time_parts(run.ranks[0].rank),
            "warm_up_s": run.warm_up_s,
            "peak_memory_bytes": run.peak_memory_bytes,
        },
    )


def _plain(bench: Bench, work: Work, contender: Contender, known: Measured) -> Answer:
    model, prompts = bench.speed_model().name, numbered_prompts(work.prompts)
    asked = (plain_generate_on_rank, model, "auto", prompts, work.new_tokens, contender.size, work.first_tokens)
    if bench.measures_a_small_model:
        [plain] = bench.finish(bench.workers(1).submit(*asked))
    else:
        # What was compiled before, for another size or by an engine, would be no advantage to it.
        with Workers(1) as fresh:
            bench.ranks(fresh)
            [plain] = bench.finish(fresh.submit(*asked))
    known.plain[contender.size] = plain
    return noted(in_words_of_plain(contender, plain), **dataclasses.asdict(plain))


def numbered_prompts(count: int) -> list[str]:
    """Prompts that begin each in another way, so that nobody gains by a cache of prefixes."""
    return [f"{number}. {line}" for number, line in enumerate(first_lines(count), start=1)]


def _generate(bench: Bench, contender: Contender, prompts: Sequence[str], new_tokens: int) -> Run:
    assert contender.engine is not None
    settings = Settings(
        model=bench.speed_model().name,
        engine=contender.engine,
        batch_size=contender.size,
        quantization=contender.quantization,
        max_new_tokens=new_tokens,
        ignore_eos=True,
    )
    run: Run = bench.finish(bench.workers(1).submit_generate(prompts, settings))
    return run


def in_words(contender: Contender, found: DecodeSpeed) -> str:
    """What a contender reached, in a line."""
    bound = f"{found.bound} bound" + ("" if contender.quantization == "none" else " of whole weights")
    return (
        f"{contender.words}: step {1000 * found.step_s:.2f} ms, {found.limit_share:.0%} of the {bound}; "
        f"run {found.useful_tokens_per_s:,.0f} tokens/s, {found.decode_share:.0%} of it decode steps"
    )


def in_words_of_plain(contender: Contender, plain: PlainRun) -> str:
    """What transformers' own generate reached, in a line."""
    kind = "static cache, compiled" if plain.cache == "static" else "as it is, not compiled"
    return (
        f"{contender.words} ({kind}): run {plain.tokens_per_second:,.0f} tokens/s, "
        f"after a first call of {plain.first_call_s:.1f} s"
    )


def aims(work: Work, known: Measured, has_verdict: bool) -> Iterator[tuple[str, Answer]]:
    """What nbkit aims at on GPUs, beside what was measured; elsewhere without a verdict."""
    for size in work.sizes:
        own = known.decoding.get(Contender(DEFAULT, size))
        plain = known.plain.get(size)
        yield _aim(
            f"{DEFAULT}, {size} at once: a step at >= {LEAST_LIMIT_SHARE:.0%} of the bandwidth's bound",
            None if own is None else own.limit_share,
            LEAST_LIMIT_SHARE,
            "{:.0%}",
            has_verdict,
        )
        yield _aim(
            f"{DEFAULT}, {size} at once: decode steps >= {LEAST_DECODE_SHARE:.0%} of a whole run",
            None if own is None else own.decode_share,
            LEAST_DECODE_SHARE,
            "{:.0%}",
            has_verdict,
        )
        yield _aim(
            f"{DEFAULT}, {size} at once: a run >= {LEAST_TIMES_PLAIN} x {PLAIN}",
            None if own is None or plain is None else own.useful_tokens_per_s / plain.tokens_per_second,
            LEAST_TIMES_PLAIN,
            "{:.2f} x",
            has_verdict,
        )
    own, int8 = (known.decoding.get(Contender(DEFAULT, INT8_AT, bits)) for bits in ("none", "int8"))
    yield _aim(
        f"int8, {INT8_AT} at once: a step >= {LEAST_TIMES_INT8} x as fast as not quantised",
        None if own is None or int8 is None else own.step_s / int8.step_s,
        LEAST_TIMES_INT8,
        "{:.2f} x",
        has_verdict,
    )


def _aim(name: str, found: float | None, least: float, form: str, has_verdict: bool) -> tuple[str, Answer]:
    if found is None:
        return name, Answer("skipped", f"{name}: not measured")
    said = f"{name}: {form.format(found)}"
    numbers: dict[str, Any] = {"found": found, "least": least}
    return name, judged(found >= least, said, **numbers) if has_verdict else noted(said, **numbers)
