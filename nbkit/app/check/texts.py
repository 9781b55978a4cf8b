"""Texts: each engine's greedy texts in float32 beside those of one prompt at a time."""

from __future__ import annotations

from collections.abc import Iterator

from nbkit.app.check.bench import Bench
from nbkit.app.check.findings import Answer, Skipped, judged
from nbkit.app.check.runner import Part
from nbkit.app.doctor import how_to_get_engine
from nbkit.errors import InputError
from nbkit.prompts import first_lines
from nbkit.records.engine_spec import ENGINES
from nbkit.records.run import Run
from nbkit.records.settings import Settings

REFERENCE = "simple"
PROMPTS, NEW_TOKENS, BATCH_SIZE = 6, 12, 4
"""Fewer side by side than there are prompts, so that sequences join others under way."""
LIBRARY_SHARE = 0.8
"""Of engines with kernels of their own, which may part from the others where two tokens are nearly equally likely."""


def texts(bench: Bench) -> Iterator[Part]:
    """The reference first, then every other engine beside it."""
    bench.close_workers(but=1)
    expected: list[str | None] = []

    def reference() -> Answer:
        expected.extend(_generate(bench, REFERENCE).outputs)
        is_good = len(expected) == PROMPTS and any(expected)
        return judged(is_good, f"{REFERENCE}, on {bench.text_model}: {len(expected)} texts", texts=expected)

    yield Part(REFERENCE, reference)
    for engine in ENGINES:
        if engine != REFERENCE:
            yield Part(engine, lambda e=engine: _beside(bench, e, expected))  # type: ignore[misc]


def refuse_what_is_not_installed(engine: str) -> None:
    """Raise the reason where an engine's package is missing.

    Raises
    ------
    Skipped
        It is.
    """
    if how_to_get_engine(engine) is not None:
        raise Skipped("its package is not installed; nbkit doctor tells how")


def _beside(bench: Bench, engine: str, expected: list[str | None]) -> Answer:
    refuse_what_is_not_installed(engine)
    if not expected:
        raise Skipped(f"there are no texts of {REFERENCE} to compare with")
    try:
        run = _generate(bench, engine)
    except InputError as error:
        if ENGINES[engine].loads_itself:
            raise Skipped(str(error)) from None
        raise
    return compared(run, engine, expected)


def compared(run: Run, engine: str, expected: list[str | None]) -> Answer:
    """How many texts of a run are the expected ones; a fallback to another engine is a failure, with its reason."""
    equal = sum(own == other for own, other in zip(run.outputs, expected, strict=True))
    said = f"{engine}: {equal} of {len(expected)} texts equal {REFERENCE}'s"
    if run.fallback is not None:
        said += f", but it went on with {run.fallback.words}: {'; '.join(run.fallback.reasons)}"
    wanted = LIBRARY_SHARE if ENGINES[engine].loads_itself else 1.0
    is_good = run.fallback is None and equal >= wanted * len(expected)
    unlike = [list(pair) for pair in zip(run.outputs, expected, strict=True) if pair[0] != pair[1]]
    return judged(is_good, said, equal=equal, of=len(expected), wanted_share=wanted, unlike=unlike)


def _generate(bench: Bench, engine: str) -> Run:
    settings = Settings(
        model=bench.text_model, engine=engine, dtype="float32", max_new_tokens=NEW_TOKENS, batch_size=BATCH_SIZE
    )
    run: Run = bench.finish(bench.workers(1).submit_generate(first_lines(PROMPTS), settings))
    return run
