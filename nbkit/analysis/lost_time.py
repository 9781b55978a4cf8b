"""Lost time: why a run took longer than its useful work, shared evenly, would have.

The account is of wall time, T, on n ranks, and it adds up exactly::

    T = useful work / n + batch quantisation + imbalance + padding + slower ranks
        + start-up and tokenisation + gather and synchronisation + rest

What a rank's seconds should have been comes from a cost model that was fitted to runs on
as few ranks as possible (``cost_model``); B is the batch size, of batches that are full. Of an engine in which
sequences join one by one, B are its places, and what is said below of a batch holds of each step: places are empty
when no prompt is left to take, or none may join yet. That sequences wait while others' prompts are read is no loss:
the rank works.

Held against a model that is calibrated to the run itself (``CostModel.calibrated``), as the
run on the fewest ranks is in ``scaling``, no loss is below 0 and useful work is 100% at most. A rank that is
faster than the model has ``slower ranks`` below 0, and all else then adds up to more than 100%.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nbkit.analysis.batch_shapes import BatchShapes, Floats
from nbkit.analysis.cost_model import CostModel
from nbkit.analysis.work import Stretches, Work, check_tells_work, work_of
from nbkit.records import RankRecord
from nbkit.records.run import Run

LOSSES = (
    "batch quantisation",
    "imbalance",
    "padding",
    "slower ranks",
    "start-up and tokenisation",
    "gather and synchronisation",
    "rest",
)


@dataclass(frozen=True, slots=True)
class LostTime:
    """Where the wall time of one run went, in seconds of wall time.

    ``useful_s`` is what the run would take if all ranks worked without a loss: the sum
    over prompts of the model's seconds for the prompt's own tokens, in full batches,
    divided by n. ``losses`` has a value for each of ``LOSSES``:

    batch quantisation
        Batches do not divide evenly. The fixed seconds of a batch, or in flight of a prefill or step (those that
        do not depend on its number of sequences), times the share of its B places that is
        empty, summed over a rank's batches, a mean over ranks; and what ranks wait
        because the last one had more prompts than the mean. Never negative.
    imbalance
        What ranks wait because the last one had longer prompts or outputs than others.
        Never negative.
    padding
        The model's seconds for padding, and for steps after a sequence's end, summed
        over a rank's batches, a mean over ranks; and what ranks wait because the last
        one had more of it. Never negative. In flight each sequence is read as far as the longest
        beside it, and what was computed for outputs that nobody got counts here too: of a run that was stopped, or
        of sequences that were begun anew.
    slower ranks
        Measured minus modelled seconds of prefill and decode, a mean over ranks, and
        what ranks wait because the last one was slower. Below 0 where the ranks were
        faster than the runs that the model was fitted to.
    start-up and tokenisation
        From the first rank's begin to each rank's own, a cold start, tokens counted for the order,
        tokenising and detokenising; a mean over ranks, and what ranks wait for the
        last one's. Never negative.
    gather and synchronisation
        The gather, the barrier before it as far as the last rank waits in it too, and
        until the last rank is out of it; a mean over ranks. Never negative.
    rest
        What no clock was set on, a mean over ranks: the loop between batches, a batch
        that was given up. May be negative by rounding.

    Waiting is shared out among its causes in proportion to what the rank that came last
    had more of each than the mean rank.
    """

    ranks: int
    wall_s: float
    useful_s: float
    losses: Mapping[str, float]

    @property
    def lost_s(self) -> float:
        """Wall time beyond the useful work, in seconds: the sum of ``losses``."""
        return self.wall_s - self.useful_s

    @property
    def largest(self) -> str:
        """The name of the largest loss."""
        return max(self.losses, key=lambda name: self.losses[name])

    def minus(self, reference: LostTime) -> LostTime:
        """What keeps a run from being ``n / m`` times as fast as a reference on m ranks.

        ``wall_s`` is then the gap T_n - T_m x m / n, in seconds; each loss is the run's own
        minus the part that the reference had already, and ``useful_s`` is 0: work that only one of the
        two had (outputs of other lengths) is in ``rest``. The losses add up to the gap.
        """
        share = reference.ranks / self.ranks
        losses = {name: self.losses[name] - reference.losses[name] * share for name in LOSSES}
        losses["rest"] += self.useful_s - reference.useful_s * share
        return LostTime(self.ranks, self.wall_s - reference.wall_s * share, 0.0, losses)


def lost_time(run: Run, model: CostModel) -> LostTime:
    """Account for the wall time of a run.

    Parameters
    ----------
    run : Run
        On n ranks; of a run that was stopped, what was finished counts as useful.
    model : CostModel
        Fitted to runs of the same model, engine and dtype on as few ranks as possible.

    Raises
    ------
    InputError
        The run does not tell what its steps worked on.
    """
    check_tells_work([run])
    full = _full_batch(run)
    useful = _useful_s(run, model, full)
    by_rank = [_seconds_of_rank(run, model, record, useful, full) for record in run.ranks]
    if not by_rank:
        return LostTime(0, run.wall_s, 0.0, dict.fromkeys(LOSSES, 0.0) | {"rest": run.wall_s})
    seconds = {part: np.array([own[part] for own in by_rank]) for part in by_rank[0]}
    losses = {name: float(seconds[name].mean()) if name in seconds else 0.0 for name in LOSSES}
    for cause, waited_s in _waited_for(seconds).items():
        losses[cause] += waited_s
    useful_s = float((seconds["work by number"] + seconds["work by length"]).mean())
    return LostTime(len(by_rank), run.wall_s, useful_s, losses)


def _full_batch(run: Run) -> int:
    """B: the batch size, or, where it was halved for want of memory on the way, that of the largest batch before."""
    if run.is_in_flight:
        refused = max((refused.sequences for refused in run.out_of_memory), default=1)
        return max(refused, 1, min(run.batch_size, len(run.prompts)))
    largest = max((len(batch.indices) for batch in run.batches), default=1)
    return max(largest, min(run.batch_size, len(run.prompts)))


def _seconds_of_rank(run: Run, model: CostModel, record: RankRecord, useful: Floats, full: int) -> dict[str, float]:
    """A rank's seconds by loss; with its useful work, as ``work by ...``, and ``waiting`` they are the wall time.

    Useful work is divided into what as many prompts of mean length would take, and what
    these prompts took more or less than that.
    """
    own = [batch for batch in run.batches if batch.rank == record.rank]
    work: Work = work_of(own)
    own_prompts = [index for batch in own for index in batch.indices]
    useful_s, expected_s = float(useful[own_prompts].sum()), model.prefill_s(work) + model.decode_s(work)
    empty_s = max(0.0, float((model.fixed_s(work) - model.shared_s(work, full)).sum()))
    tokenizing_s = sum(batch.tokenize_s + batch.detokenize_s for batch in own)
    by_number_s = len(own_prompts) * float(useful[useful > 0].mean()) if own_prompts else 0.0
    seconds = {
        "work by number": by_number_s,
        "work by length": useful_s - by_number_s,
        "batch quantisation": empty_s,
        "padding": max(0.0, float(expected_s.sum()) - empty_s - useful_s),
        "slower ranks": sum(batch.prefill_s + batch.decode_s for batch in own) - float(expected_s.sum()),
        "start-up and tokenisation": record.begin_s
        - run.begin_s
        + record.cold_start_s
        + record.order_s
        + tokenizing_s,
        "gather and synchronisation": record.gather_s + run.end_s - record.end_s,
        "waiting": record.waiting_s,
    }
    return seconds | {"rest": run.wall_s - sum(seconds.values())}


def _useful_s(run: Run, model: CostModel, full: int) -> Floats:
    """The model's seconds for each prompt's own tokens, one of ``full`` in a batch; 0 without output; (prompts,)."""
    length = np.array(run.prompt_tokens, dtype=np.float64)
    steps = np.array(run.new_tokens, dtype=np.float64)
    alone: Work
    if run.is_in_flight:
        alone = Stretches.of_prompts(length, steps)
    else:
        alone = BatchShapes(np.ones_like(length), length, steps, length, steps)
    seconds = model.prefill_s(alone) + model.decode_s(alone) - model.fixed_s(alone) + model.shared_s(alone, full)
    return np.where(steps > 0, seconds, 0.0)


def _waited_for(seconds: Mapping[str, Floats]) -> dict[str, float]:
    """What ranks waited in the barrier, a mean over ranks, by cause: in what the last rank had more than the mean."""
    waiting = seconds["waiting"]
    last, in_barrier_s = int(waiting.argmin()), float(waiting.min())
    more = {part: float(values[last] - values.mean()) for part, values in seconds.items() if part != "waiting"}
    causes = {
        "batch quantisation": more["work by number"] + more["batch quantisation"],
        "imbalance": more["work by length"],
        "padding": more["padding"],
        "slower ranks": more["slower ranks"],
        "start-up and tokenisation": more["start-up and tokenisation"],
        "rest": more["rest"],
    }
    positive = {cause: seconds for cause, seconds in causes.items() if seconds > 0}
    total = sum(positive.values())
    to_share = float(waiting.mean()) - in_barrier_s
    if total <= 0:
        return {"gather and synchronisation": float(waiting.mean())}
    shared = {cause: to_share * more_s / total for cause, more_s in positive.items()}
    return shared | {"gather and synchronisation": in_barrier_s}
