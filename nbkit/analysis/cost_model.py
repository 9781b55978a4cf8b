"""Cost model: how long some work takes, fitted to runs, by a few numbers that mean something.

A decode step reads all weights once, whatever the batch, then works for each sequence
and reads what each has in the KV cache; a prefill works for each position and attends to
all before it. Hence (Pope et al., "Efficiently scaling transformer inference", 2022,
section 2, for the terms; that they add up is the model's assumption)::

    prefill = prefill_fixed_s + prefill_position_s x positions + prefill_square_s x positions x length
    decode  = step_fixed_s x steps + step_sequence_s x steps x sequences + step_cached_s x cached positions

It is linear in sums over steps, so that any stretch of steps will do to fit it: a batch, or a window of an engine in
which sequences join one by one, whose prefills and steps are added up (``work``). There the first token, too, comes
from a decode step.

All coefficients are seconds and non-negative. A fit knows nothing of what a device can do: where that is known
(``hardware``), ``seconds`` are no less than it allows.
"""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from nbkit.analysis.batch_shapes import BatchShapes, Floats
from nbkit.analysis.hardware import Hardware, Lines, longest_of
from nbkit.analysis.least_squares import fit_medians
from nbkit.analysis.least_squares import non_negative_fit as non_negative_fit
from nbkit.analysis.measured_range import MeasuredRange
from nbkit.analysis.work import Stretches, Work, check_tells_work, work_of
from nbkit.errors import InputError
from nbkit.records import BatchRecord
from nbkit.records.engine_spec import ENGINES
from nbkit.records.run import Run

PREFILL_COEFFICIENTS = ("prefill_fixed_s", "prefill_position_s", "prefill_square_s")
DECODE_COEFFICIENTS = ("step_fixed_s", "step_sequence_s", "step_cached_s")

ASSUMED_GATHER_RANK_S, ASSUMED_GATHER_PROMPT_S = 1.5e-3, 1.1e-5
"""For each further rank and each prompt, where no run tells: what this kit's own gather takes on two ranks of one
machine, over gloo (``cost_model`` in ``benchmarks/results/what_if.json``)."""
ASSUMED_GATHER = (
    f"{1000 * ASSUMED_GATHER_RANK_S:.1f} ms for each further rank and {1e6 * ASSUMED_GATHER_PROMPT_S:.0f} us "
    "for each prompt, as two ranks of one machine took"
)


@dataclass(frozen=True, slots=True)
class Correction:
    """Measured over modelled seconds where ``ranks`` work at once, by the number of ``sequences`` of a batch.

    Above 1 where ranks slow each other down, or where a device is worse at batches of this
    size than the model's straight line says. Three sequences of one length, in ascending order.
    """

    ranks: int
    sequences: tuple[float, ...]
    prefill: tuple[float, ...]
    decode: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class FitQuality:
    """How well the corrected seconds of batches meet the measured ones: relative errors, 0.1 for 10%.

    Of the batches that the coefficients were fitted to, medians over batches of one shape.
    """

    shapes: int
    median_error: float
    largest_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CostModel:
    """Seconds of work by its sums, for one model, engine, dtype and machine.

    ``tokenize_s`` and ``detokenize_s`` are per batch (in flight: 0) and per token, ``between_s`` what
    passes between a batch and the next, or in flight between a step and the next,
    ``gather_rank_s`` and ``gather_prompt_s`` what a gather takes for each further rank and for each prompt
    gathered. ``corrections`` are in the order of their ranks; none stands for 1 everywhere. ``gather_basis`` says
    in words what the gather's seconds are from. ``measured`` is between which values the model was
    fitted, ``hardware`` what bounds its ranks; None where that is not known. ``captures`` tells that steps
    are CUDA graphs, on which it depends what an engine in flight reads at once.
    """

    engine: str
    dtype: str
    prefill_fixed_s: float
    prefill_position_s: float
    prefill_square_s: float
    step_fixed_s: float
    step_sequence_s: float
    step_cached_s: float
    tokenize_s: tuple[float, float]
    detokenize_s: tuple[float, float]
    between_s: float
    gather_rank_s: float
    gather_prompt_s: float
    corrections: tuple[Correction, ...]
    quality: FitQuality
    gather_basis: str = ""
    measured: MeasuredRange | None = None
    hardware: Hardware | None = None
    captures: bool = False

    @property
    def is_in_flight(self) -> bool:
        """Whether sequences join one by one in the engine that it is of."""
        return ENGINES[self.engine].in_flight

    @classmethod
    def fit(cls, runs: Sequence[Run]) -> CostModel:
        """Fit the model to runs of one engine and dtype; those on the fewest ranks give the coefficients.

        Seconds are medians over stretches of the same work; the fit minimises the sum of
        squares of relative errors under the condition that no coefficient is negative.
        The more batch sizes and lengths there are among the runs, the more it knows.

        Raises
        ------
        InputError
            There are no finished batches, the runs differ in model, engine, dtype or quantisation, or they
            do not tell what their steps worked on.
        """
        engine, dtype = _one_kind(runs)
        fewest = min(run.world_size for run in runs)
        reference = [run for run in runs if run.world_size == fewest]
        batches = [batch for run in reference for batch in run.batches]
        work = work_of(batches)
        prefill = fit_medians(_prefill_terms(work), [b.prefill_s for b in batches])
        decode = fit_medians(_decode_terms(work), [b.decode_s for b in batches])
        tokenize, detokenize = _fit_texts(reference)
        gather_rank_s, gather_prompt_s, gather_basis = _fit_gather(runs)
        model = cls(
            engine=engine,
            dtype=dtype,
            **dict(zip(PREFILL_COEFFICIENTS, prefill, strict=True)),
            **dict(zip(DECODE_COEFFICIENTS, decode, strict=True)),
            tokenize_s=tokenize,
            detokenize_s=detokenize,
            between_s=statistics.median(_between_s(run) for run in reference),
            gather_rank_s=gather_rank_s,
            gather_prompt_s=gather_prompt_s,
            corrections=(),
            quality=FitQuality(0, 0.0, 0.0),
            gather_basis=gather_basis,
            measured=MeasuredRange.of(runs),
            hardware=None,
            captures=ENGINES[engine].captures_steps and any(r.device.startswith("cuda") for r in reference[0].ranks),
        )
        corrected = replace(model, corrections=tuple(_corrections(runs, model)))
        return replace(corrected, quality=_quality(corrected, fewest, batches))

    def calibrated(self, runs: Sequence[Run]) -> CostModel:
        """The model with its coefficients scaled so that prefill and decode of all these runs together are met.

        For an account of runs of one batch size: what a straight line misses there is then
        not taken for a loss, or, where it says too much, for a gain.
        """
        batches = [batch for run in runs for batch in run.batches]
        work = work_of(batches)
        prefill = _ratio(sum(b.prefill_s for b in batches), float(self.prefill_s(work).sum()))
        decode = _ratio(sum(b.decode_s for b in batches), float(self.decode_s(work).sum()))
        scaled = {name: prefill * getattr(self, name) for name in PREFILL_COEFFICIENTS}
        scaled |= {name: decode * getattr(self, name) for name in DECODE_COEFFICIENTS}
        return replace(self, **scaled)

    def prefill_s(self, work: Work) -> Floats:
        """Seconds of prefills on an undisturbed rank, of a batch with its first new tokens; shape (stretches,)."""
        coefficients = [getattr(self, name) for name in PREFILL_COEFFICIENTS]
        return np.asarray(_prefill_terms(work) @ np.array(coefficients))

    def decode_s(self, work: Work) -> Floats:
        """Seconds of the decode steps on an undisturbed rank; shape (stretches,)."""
        coefficients = [getattr(self, name) for name in DECODE_COEFFICIENTS]
        return np.asarray(_decode_terms(work) @ np.array(coefficients))

    def fixed_s(self, work: Work) -> Floats:
        """The part of the seconds that does not depend on how many sequences there are; shape (stretches,)."""
        return self.prefill_fixed_s * work.prefills + self.step_fixed_s * work.decode_steps

    def shared_s(self, work: Work, full: int) -> Floats:
        """What of ``fixed_s`` its sequences would have to bear where always ``full`` share it; shape (stretches,)."""
        return (self.prefill_fixed_s * work.prompts + self.step_fixed_s * work.sequence_steps) / full

    def correction(self, part: Literal["prefill", "decode"], ranks: int, sequences: Floats) -> Floats:
        """By what to multiply modelled seconds where so many ranks work on one machine; shape (batches,).

        Between measured batch sizes (on a logarithmic scale) and numbers of ranks it is
        interpolated; beyond the measured it stays what it was at the last: as if further
        ranks were on further machines like this one.
        """
        if not self.corrections:
            return np.ones_like(sequences)
        at = np.log2(sequences)
        by_ranks = [np.interp(at, np.log2(known.sequences), getattr(known, part)) for known in self.corrections]
        place = float(np.interp(ranks, [known.ranks for known in self.corrections], range(len(by_ranks))))
        below = min(int(place), len(by_ranks) - 1)
        above = min(below + 1, len(by_ranks) - 1)
        return np.asarray(by_ranks[below] + (place - below) * (by_ranks[above] - by_ranks[below]))

    def seconds(self, shapes: BatchShapes, ranks: int) -> tuple[Floats, Floats]:
        """Seconds of each batch's prefill and of its decode steps where so many ranks work; each of shape (batches,).

        Corrected, and of no prefill and no step less than the hardware allows, where that is known.
        """
        prefill_s, decode_s = self.fitted_s(shapes, ranks)
        if self.hardware is None:
            return prefill_s, decode_s
        correction = self.correction("decode", ranks, shapes.sequences)
        cached_s = correction * self.step_cached_s * shapes.sequences
        at_0_s = correction * (self.step_fixed_s + self.step_sequence_s * shapes.sequences) + cached_s * shapes.length
        lines = [Lines(at_0_s, cached_s), *self.hardware.step_lines(shapes, ranks)]
        least_s = self.hardware.prefill_s(shapes, ranks, with_head=not self.is_in_flight)
        return np.maximum(prefill_s, least_s), longest_of(lines, shapes.decode_steps)

    def fitted_s(self, work: Work, ranks: int) -> tuple[Floats, Floats]:
        """``seconds`` as the fit alone has them, whatever the hardware allows."""
        prefill_s = self.prefill_s(work) * self.correction("prefill", ranks, work.sequences)
        return prefill_s, self.decode_s(work) * self.correction("decode", ranks, work.sequences)

    def gather_s(self, ranks: int, prompts: int) -> float:
        """Seconds of the gather at the end of a run."""
        return self.gather_rank_s * (ranks - 1) + self.gather_prompt_s * (prompts if ranks > 1 else 0)


def _one_kind(runs: Sequence[Run]) -> tuple[str, str]:
    if not any(run.batches for run in runs):
        raise InputError("there are no finished batches to fit a cost model to; run a sweep first.")
    check_tells_work(runs)
    kinds = {(run.settings.model, run.engine, run.dtype, run.settings.quantization) for run in runs}
    if len(kinds) > 1:
        listed = "; ".join(", ".join(kind).removesuffix(", none") for kind in sorted(kinds))
        raise InputError(
            f"a cost model is fitted to runs of one model, engine, dtype and quantisation, not of several: {listed}."
        )
    _, engine, dtype, _ = next(iter(kinds))
    return engine, dtype


def _prefill_terms(work: Work) -> Floats:
    return np.stack([work.prefills, work.positions, work.squares], axis=1)


def _decode_terms(work: Work) -> Floats:
    return np.stack([work.decode_steps, work.sequence_steps, work.cached_positions], axis=1)


def _fit_texts(runs: Sequence[Run]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Seconds for each batch and each token: of prompts to be encoded, and of outputs to be decoded.

    A window does not tell which prompts were encoded in it, a run does.
    """
    if runs[0].is_in_flight:
        encoded = [_ratio(sum(b.tokenize_s for b in run.batches), sum(run.prompt_tokens), 0.0) for run in runs]
        decoded = [_ratio(sum(b.detokenize_s for b in run.batches), sum(run.new_tokens), 0.0) for run in runs]
        return (0.0, statistics.median(encoded)), (0.0, statistics.median(decoded))
    batches = [batch for run in runs for batch in run.batches]
    shapes = BatchShapes.of(batches)
    encode_s = fit_medians(_per_token(shapes.prompt_tokens), [b.tokenize_s for b in batches])
    decode_s = fit_medians(_per_token(shapes.new_tokens), [b.detokenize_s for b in batches])
    return (encode_s[0], encode_s[1]), (decode_s[0], decode_s[1])


def _per_token(tokens: Floats) -> Floats:
    return np.stack([np.ones_like(tokens), tokens], axis=1)


def _fit_gather(runs: Sequence[Run]) -> tuple[float, float, str]:
    """Seconds for each further rank and for each prompt, and what they are from.

    One number of ranks does not tell what another would take, and one number of prompts not what
    each of them takes: what the runs leave open is assumed, for no gather is for nothing.
    """
    several = [run for run in runs if run.world_size > 1 and run.ranks]
    if not several:
        return ASSUMED_GATHER_RANK_S, ASSUMED_GATHER_PROMPT_S, f"assumed: {ASSUMED_GATHER}"
    terms = np.array([(run.world_size - 1, run.finished_prompts) for run in several], dtype=np.float64)
    rank_s, prompt_s = fit_medians(terms, [statistics.mean(r.gather_s for r in run.ranks) for run in several])
    sizes = sorted({run.world_size for run in several})
    if len(sizes) > 1:
        return rank_s, prompt_s, f"measured on {sizes[0]} to {sizes[-1]} ranks"
    basis = f"measured on {sizes[0]} ranks alone; what that leaves open is assumed"
    return rank_s or ASSUMED_GATHER_RANK_S, prompt_s or ASSUMED_GATHER_PROMPT_S, basis


def _between_s(run: Run) -> float:
    """Seconds between a batch, or a step, and the next, as they are on the run's ranks."""
    if run.is_in_flight:
        return statistics.median(_between_steps_s(batch) for batch in run.batches)
    gaps = []
    for rank in {batch.rank for batch in run.batches}:
        own = [batch for batch in run.batches if batch.rank == rank]
        gaps += [after.begin_s - before.end_s for before, after in itertools.pairwise(own)]
    return max(0.0, statistics.median(gaps)) if gaps else 0.0


def _between_steps_s(window: BatchRecord) -> float:
    parts_s = window.tokenize_s + window.prefill_s + window.decode_s + window.detokenize_s + window.compile_s
    steps = window.steps - 1 + (window.work.prefills if window.work is not None else 0)
    return max(0.0, window.end_s - window.begin_s - parts_s) / max(1, steps)


def _corrections(runs: Sequence[Run], model: CostModel) -> Iterable[Correction]:
    by_ranks: dict[int, list[BatchRecord]] = defaultdict(list)
    for run in runs:
        by_ranks[run.world_size] += run.batches
    for ranks, batches in sorted(by_ranks.items()):
        work = work_of(batches)
        in_flight = isinstance(work, Stretches)
        measured = np.array([(b.prefill_s, b.decode_s) for b in batches]).T
        modelled = np.array([model.prefill_s(work), model.decode_s(work)])
        # Of windows hardly two are alike, and one of them in three reads no prompt.
        sizes = np.round(2 * np.log2(work.sequences)) if in_flight else work.sequences
        every_prefill = _median_ratio(measured[0], modelled[0]) if in_flight else None
        rows = []
        for size in np.unique(sizes):
            own = sizes == size
            if in_flight and not modelled[1, own].any():
                continue
            prefill = _median_ratio(measured[0, own], modelled[0, own]) if every_prefill is None else every_prefill
            decode = _median_ratio(measured[1, own], modelled[1, own])
            rows.append((float(np.median(work.sequences[own])), prefill, decode))
        if rows:
            yield Correction(ranks, *zip(*rows, strict=True))


def _median_ratio(measured_s: Floats, modelled_s: Floats) -> float:
    """Measured over modelled seconds, a median over those that have any; 1 where none has."""
    some = modelled_s > 0
    return float(np.median(measured_s[some] / modelled_s[some])) if some.any() else 1.0


def _ratio(measured_s: float, modelled_s: float, otherwise: float = 1.0) -> float:
    return measured_s / modelled_s if modelled_s > 0 else otherwise


def _quality(model: CostModel, ranks: int, batches: Sequence[BatchRecord]) -> FitQuality:
    work = work_of(batches)
    modelled = np.sum(model.fitted_s(work, ranks), axis=0)
    alike: dict[tuple[float, ...], list[tuple[float, float]]] = defaultdict(list)
    keys = np.concatenate([_prefill_terms(work), _decode_terms(work)], axis=1).tolist()
    for key, batch, other in zip(keys, batches, modelled.tolist(), strict=True):
        alike[tuple(key)].append((batch.prefill_s + batch.decode_s, other))
    errors = []
    for pairs in alike.values():
        value = statistics.median(value for value, _ in pairs)
        errors.append(abs(pairs[0][1] / value - 1) if value else 0.0)
    return FitQuality(len(errors), statistics.median(errors), max(errors))
