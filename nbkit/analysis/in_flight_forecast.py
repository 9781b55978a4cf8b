"""In-flight forecast: the run of an engine in which sequences join one by one, put together from simulated ranks.

A slider asks for many runs, of a million prompts too. Of a large one some ranks are simulated, with some of their
prompts, and the time until none is left to take is carried on in proportion; the forecast then says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from nbkit.analysis.batch_shapes import BatchShapes
from nbkit.analysis.cost_model import CostModel
from nbkit.analysis.forecast import Forecast, Workload, limits_of, order_s
from nbkit.analysis.in_flight import Account, Clock, SimulatedRank, run_all
from nbkit.errors import InputError
from nbkit.inference import schedule
from nbkit.inference.schedule import Indices
from nbkit.records.engine_spec import MOST_SEQUENCES
from nbkit.records.settings import AUTO, Settings

MOST_PROMPTS = 5000
"""A larger workload is not simulated whole, but for so many prompts; more where places are too many for that."""
LEAST_ROUNDS = 32
"""How often the places of a rank are filled at least, where not all of its prompts are simulated."""
LEAST_RANKS = 4


@dataclass(frozen=True, slots=True)
class _Part:
    """Ranks that share a queue of prompts ``own``, of which ``simulated`` were; both are indices.

    ``done_s`` is when each rank is done, ``stretched`` how much longer than simulated all takes that is not the end.
    """

    own: Indices
    simulated: Indices
    done_s: list[float]
    stretched: float
    account: Account


def simulate_in_flight(model: CostModel, workload: Workload, settings: Settings, ranks: int) -> Forecast:
    """See ``nbkit.analysis.what_if.simulate``, which has checked what it is given.

    Raises
    ------
    InputError
        A prompt alone does not fit into memory.
    """
    asked = _side_by_side(workload, settings, ranks)
    fitting = _that_fit(model, asked, ranks)
    parts = list(_parts(model, workload, settings, ranks, int(fitting.sequences[0])))
    carried = _carried_on(workload, parts)
    begin_s, gather_s = order_s(model, workload, settings, ranks), model.gather_s(ranks, len(workload))
    done_s = np.array([done for part in parts for done in part.done_s]) * carried
    wall_s = begin_s + float(done_s.max()) + gather_s
    simulated = sum(len(part.simulated) for part in parts)
    accounts = [part.account for part in parts]
    seconds = sum(account.prefill_s + account.decode_s for account in accounts)
    after_first = sum(int(workload.new_tokens[part.simulated].sum()) - len(part.simulated) for part in parts)
    ttft_s = sum(account.ttft_s for account in accounts) / simulated
    taken_s = sum(part.account.taken_s * part.stretched for part in parts) / simulated
    most = _one(max(account.most for account in accounts), workload)
    limits = limits_of(model, asked, fitting, seconds, sum(account.fitted_s for account in accounts), ranks)
    return Forecast(
        ranks=ranks,
        settings=settings,
        prompts=len(workload),
        wall_s=wall_s,
        tokens_per_second=float(workload.new_tokens.sum()) / wall_s if wall_s else 0.0,
        mean_ttft_s=ttft_s,
        mean_first_token_s=begin_s + taken_s * carried + ttft_s,
        mean_tpot_s=sum(account.after_first_s for account in accounts) / max(1, after_first),
        busy=min(1.0, float(done_s.mean()) / wall_s) if wall_s else 0.0,
        batches=round(sum(account.prefills for account in accounts) * len(workload) / simulated),
        gather_s=gather_s,
        largest_batch=int(most.sequences[0]),
        memory_bytes=float(model.hardware.memory_of(fitting)[0]) if model.hardware is not None else None,
        fits=bool(fitting.sequences[0] == asked.sequences[0]),
        limits=(*limits, *_what_was_simulated(workload, parts, ranks)),
        beyond=model.measured.beyond(most, ranks) if model.measured is not None else (),
    )


def _side_by_side(workload: Workload, settings: Settings, ranks: int) -> BatchShapes:
    """What a rank is asked to decode side by side, each as long as the longest."""
    size = settings.prompts_a_batch
    most = MOST_SEQUENCES if size == AUTO else int(size)
    return _one(schedule.side_by_side(settings, len(workload), ranks, most), workload)


def _one(sequences: int, workload: Workload) -> BatchShapes:
    """The shape of so many sequences with the longest prompt and the most new tokens."""
    length, steps = float(workload.prompt_tokens.max()), float(max(1, workload.new_tokens.max()))
    values = (sequences, length, steps, sequences * length, sequences * steps)
    return BatchShapes(*(np.array([float(value)]) for value in values))


def _that_fit(model: CostModel, asked: BatchShapes, ranks: int) -> BatchShapes:
    """As many of these sequences as fit into memory."""
    if model.hardware is None:
        return asked
    most = float(model.hardware.most_sequences(asked, ranks)[0])
    if most < 1:
        raise InputError(
            f"a prompt of {asked.length[0]:,.0f} tokens and its {asked.steps[0]:,.0f} new ones do not fit "
            f"into the memory of {model.hardware.name} beside the model; take fewer tokens."
        )
    sequences = np.minimum(asked.sequences, most)
    return BatchShapes(sequences, asked.length, asked.steps, sequences * asked.length, sequences * asked.steps)


def _parts(model: CostModel, workload: Workload, settings: Settings, ranks: int, capacity: int) -> Iterator[_Part]:
    """The ranks that are simulated: in the static split each by itself, in the dynamic one all together."""
    clock = Clock(model, ranks, int(workload.prompt_tokens.max() + max(1, workload.new_tokens.max())))
    prompts = len(workload)
    each, some = _how_much(prompts, ranks, capacity)
    part = partial(_part, clock, workload, settings, capacity)
    if settings.split == "dynamic":
        yield part(_in_order(range(prompts), workload, settings), max(1, round(prompts * some / ranks)), each, some)
        return
    known: dict[tuple[bytes, bytes], _Part] = {}
    for rank in np.linspace(0, ranks - 1, some).astype(int).tolist():
        own = _in_order(schedule.static_share(prompts, ranks, rank), workload, settings)
        key = workload.prompt_tokens[own].tobytes(), workload.new_tokens[own].tobytes()
        if key not in known:
            known[key] = part(own, len(own), each, 1)
        # Another rank, though all of its prompts are as long.
        yield replace(known[key], own=own)


def _how_much(prompts: int, ranks: int, capacity: int) -> tuple[int, int]:
    """Of how many prompts of each rank, and of how many ranks, a run is simulated."""
    share = -(-prompts // ranks)
    if prompts <= MOST_PROMPTS:
        return share, ranks
    each = min(share, max(LEAST_ROUNDS * capacity, MOST_PROMPTS // ranks))
    return each, min(ranks, max(LEAST_RANKS, MOST_PROMPTS // each))


def _in_order(own: range, workload: Workload, settings: Settings) -> Indices:
    """These prompts, as they are taken."""
    lengths = workload.prompt_tokens[own.start : own.stop] if settings.order == "by_length" else None
    return schedule.batches(own, 1, lengths).indices


def _part(
    clock: Clock,
    workload: Workload,
    settings: Settings,
    capacity: int,
    own: Indices,
    count: int,
    each: int,
    ranks: int,
) -> _Part:
    """So many ranks that take ``count`` prompts such as those of ``own``; ``each`` so many of them are simulated."""
    some = min(count, each * ranks)
    simulated = own if some == len(own) else own[np.linspace(0, len(own) - 1, some).astype(np.int64)]
    lengths = workload.prompt_tokens[simulated].tolist()
    queue = deque(zip(lengths, np.maximum(1, workload.new_tokens[simulated]).tolist(), strict=True))
    account, budget, most_new = Account(), settings.token_budget, settings.max_new_tokens
    simulating = [SimulatedRank(clock, queue, capacity, account, 0.0, budget, most_new) for _ in range(ranks)]
    run_all(simulating)
    # Prompts that were given a place as others ended: what the rest of them take is in proportion to these.
    places = min(some, capacity * ranks)
    stretched = (count - places) / (some - places) if count > some > places else 1.0
    longer = 1.0
    if len(simulated) < len(own):
        longer = _seconds_each(clock, workload, own, capacity) / _seconds_each(clock, workload, simulated, capacity)
    done_s = [longer * (rank.at_s + (stretched - 1) * (rank.drained_s or 0.0)) for rank in simulating]
    return _Part(own, simulated, done_s, longer * stretched, account)


def _seconds_each(clock: Clock, workload: Workload, prompts: Indices, capacity: int) -> float:
    """About how long a mean prompt of these takes, where all places are filled: to tell more work from less."""
    length, new = float(workload.prompt_tokens[prompts].mean()), float(workload.new_tokens[prompts].mean())
    longest = int(workload.prompt_tokens.max())
    return new * clock.steps(capacity, longest, 1)[0] / capacity + length * clock.prefill(1, longest)[0] / longest


def _carried_on(workload: Workload, parts: list[_Part]) -> float:
    """How much more work prompts are on all ranks than on those that were simulated; 1 at least."""
    own = np.concatenate([part.own for part in parts])
    if len(own) >= len(workload):
        return 1.0
    return max(1.0, *(float(of.mean() / of[own].mean()) for of in (workload.prompt_tokens, workload.new_tokens)))


def _what_was_simulated(workload: Workload, parts: list[_Part], ranks: int) -> Iterator[str]:
    simulated, some = sum(len(part.simulated) for part in parts), sum(len(part.done_s) for part in parts)
    if simulated < len(workload):
        yield (
            f"Simulated with {simulated:,} of the {len(workload):,} prompts on {some:,} of the {ranks:,} ranks, and "
            "carried on in proportion."
        )
