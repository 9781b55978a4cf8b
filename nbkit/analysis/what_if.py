"""What if: the run that any number of ranks and prompts would make, by a cost model.

The prompts are dealt by ``nbkit.inference.schedule``, the code that the ranks themselves call; only
the seconds of a batch are the model's instead of a device's. In the dynamic split the
rank that is free first takes the next batch. Where sequences join one by one, ``in_flight`` simulates each rank.

No forecast is faster than the hardware allows or holds more than its memory, where these are known
(``CostModel.hardware``); what limits it and what lies beyond the measured, it says itself.
"""

from __future__ import annotations

import heapq

import numpy as np

from nbkit.analysis.batch_shapes import BatchShapes, Floats
from nbkit.analysis.cost_model import CostModel
from nbkit.analysis.forecast import Forecast as Forecast
from nbkit.analysis.forecast import Workload as Workload
from nbkit.analysis.forecast import limits_of, order_s
from nbkit.analysis.hardware import Hardware
from nbkit.analysis.in_flight_forecast import simulate_in_flight
from nbkit.errors import InputError, shorten
from nbkit.inference import schedule
from nbkit.records.engine_spec import MOST_SEQUENCES
from nbkit.records.settings import AUTO, Settings


def simulate(model: CostModel, workload: Workload, settings: Settings, ranks: int) -> Forecast:
    """The run that ``ranks`` ranks would make of a workload.

    Parameters
    ----------
    model : CostModel
        Fitted to runs of the engine that ``settings`` name, in the dtype of interest.
    workload : Workload
        At least one prompt.
    settings : Settings
        ``batch_size``, ``token_budget``, ``split``, ``order`` and ``pad_to_multiple_of`` take
        effect; lengths are the workload's. A batch that does not fit into memory is split evenly into as few as do;
        of an engine in flight as many sequences are under way as fit.
    ranks : int
        At least 1.

    Raises
    ------
    InputError
        There is no prompt, no rank, the model was fitted to another engine, or a prompt alone does not fit
        into memory.
    """
    _check(model, workload, settings, ranks)
    if model.is_in_flight:
        return simulate_in_flight(model, workload, settings, ranks)
    asked = _deal(workload, settings, ranks)
    dealt, owner, shapes = _split_to_fit(model.hardware, *asked, workload, settings, ranks)
    prefill_s, decode_s = model.seconds(shapes, ranks)
    tokenize_s = _per_token_s(model.tokenize_s, shapes.prompt_tokens)
    detokenize_s = _per_token_s(model.detokenize_s, shapes.new_tokens)
    batch_s = tokenize_s + prefill_s + decode_s + detokenize_s + model.between_s
    begin_s, done_s = _begins(batch_s, owner, ranks, order_s(model, workload, settings, ranks))
    gather_s = model.gather_s(ranks, len(workload))
    wall_s = float(done_s.max()) + gather_s
    first_token_s = tokenize_s + prefill_s
    prompts = len(workload)
    asked_shapes = _shapes(asked[0], workload, settings)
    fitted_s = float(np.sum(model.fitted_s(shapes, ranks)))
    return Forecast(
        ranks=ranks,
        settings=settings,
        prompts=prompts,
        wall_s=wall_s,
        tokens_per_second=float(workload.new_tokens.sum()) / wall_s if wall_s else 0.0,
        mean_ttft_s=float((first_token_s * shapes.sequences).sum()) / prompts,
        mean_first_token_s=float(((begin_s + first_token_s) * shapes.sequences).sum()) / prompts,
        mean_tpot_s=float(decode_s.sum() / max(1.0, shapes.decode_steps.sum())),
        busy=float(batch_s.sum()) / (ranks * wall_s) if wall_s else 0.0,
        batches=len(batch_s),
        gather_s=gather_s,
        largest_batch=int(shapes.sequences.max()),
        memory_bytes=float(model.hardware.memory_of(shapes).max()) if model.hardware is not None else None,
        fits=len(dealt) == len(asked[0]),
        limits=tuple(limits_of(model, asked_shapes, shapes, float(np.sum([prefill_s, decode_s])), fitted_s, ranks)),
        beyond=model.measured.beyond(shapes, ranks) if model.measured is not None else (),
    )


def _check(model: CostModel, workload: Workload, settings: Settings, ranks: int) -> None:
    if not len(workload):
        raise InputError("a workload needs at least one prompt.")
    if not isinstance(ranks, int) or isinstance(ranks, bool) or ranks < 1:
        raise InputError(f"ranks must be a whole number of at least 1, not {shorten(ranks)}.")
    if settings.engine != model.engine:
        raise InputError(
            f"the cost model was fitted to the engine {model.engine}, not {settings.engine}; fit one to runs of "
            f"{settings.engine}."
        )


def _deal(workload: Workload, settings: Settings, ranks: int) -> tuple[schedule.Batches, schedule.Indices | None]:
    """All batches, and in the static split the rank of each; by rank then, in the order it takes them."""
    lengths = workload.prompt_tokens if settings.order == "by_length" else None
    prompts = len(workload)

    size = settings.prompts_a_batch
    if size == AUTO:
        size = schedule.even_batch_size(prompts, ranks, MOST_SEQUENCES)

    def cut(indices: range) -> schedule.Batches:
        here = slice(indices.start, indices.stop)
        budget = None
        if settings.token_budget is not None:
            budget = schedule.TokenBudget(
                settings.token_budget, workload.prompt_tokens[here], settings.max_new_tokens, _multiple(settings)
            )
        return schedule.batches(indices, int(size), None if lengths is None else lengths[here], budget)

    if settings.split == "dynamic":
        return cut(range(prompts)), None
    indices = [schedule.static_share(prompts, ranks, rank) for rank in range(ranks)]
    shares = [cut(own) for own in indices]
    starts = [share.starts + own.start for share, own in zip(shares, indices, strict=True)]
    dealt = schedule.Batches(np.concatenate([share.indices for share in shares]), np.concatenate(starts))
    return dealt, np.repeat(np.arange(ranks), [len(share) for share in shares])


def _split_to_fit(
    hardware: Hardware | None,
    dealt: schedule.Batches,
    owner: schedule.Indices | None,
    workload: Workload,
    settings: Settings,
    ranks: int,
) -> tuple[schedule.Batches, schedule.Indices | None, BatchShapes]:
    """The batches that fit into memory, the rank of each and their shapes: what does not fit is cut evenly."""
    shapes = _shapes(dealt, workload, settings)
    if hardware is None:
        return dealt, owner, shapes
    most = hardware.most_sequences(shapes, ranks)
    if most.min() < 1:
        worst = int(most.argmin())
        raise InputError(
            f"a prompt of {shapes.length[worst]:,.0f} tokens and its {shapes.steps[worst]:,.0f} new ones do not fit "
            f"into the memory of {hardware.name} beside the model; take fewer tokens."
        )
    if (shapes.sequences <= most).all():
        return dealt, owner, shapes
    parts = np.ceil(shapes.sequences / most).astype(np.int64)
    sizes = np.ceil(shapes.sequences / parts).astype(np.int64)
    # Of so large parts fewer may do.
    parts = np.ceil(shapes.sequences / sizes).astype(np.int64)
    number = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    cut = schedule.Batches(dealt.indices, np.repeat(dealt.starts, parts) + number * np.repeat(sizes, parts))
    return cut, None if owner is None else np.repeat(owner, parts), _shapes(cut, workload, settings)


def _shapes(dealt: schedule.Batches, workload: Workload, settings: Settings) -> BatchShapes:
    prompt_tokens, new_tokens = workload.prompt_tokens[dealt.indices], workload.new_tokens[dealt.indices]
    multiple = _multiple(settings)
    longest = np.maximum.reduceat(prompt_tokens, dealt.starts)
    return BatchShapes(
        sequences=np.diff(dealt.starts, append=len(dealt.indices)).astype(np.float64),
        length=np.ceil(longest / multiple) * multiple,
        steps=np.maximum.reduceat(new_tokens, dealt.starts).astype(np.float64),
        prompt_tokens=np.add.reduceat(prompt_tokens, dealt.starts).astype(np.float64),
        new_tokens=np.add.reduceat(new_tokens, dealt.starts).astype(np.float64),
    )


def _multiple(settings: Settings) -> int:
    """Tokens that prompts are padded to a multiple of."""
    return settings.pad_to_multiple_of if settings.engine_spec.pads else 1


def _begins(batch_s: Floats, owner: schedule.Indices | None, ranks: int, order_s: float) -> tuple[Floats, Floats]:
    """When each batch begins (batches,), and when each rank is done (ranks,)."""
    if owner is not None:
        done_s = np.bincount(owner, weights=batch_s, minlength=ranks)
        before_rank_s = np.cumsum(done_s) - done_s
        begin_s = order_s + np.cumsum(batch_s) - batch_s - before_rank_s[owner]
        return np.asarray(begin_s), np.asarray(order_s + done_s)
    free_s = [order_s] * ranks
    begins_s = []
    for seconds in batch_s.tolist():
        begins_s.append(free_s[0])
        heapq.heapreplace(free_s, free_s[0] + seconds)
    return np.array(begins_s), np.array(free_s)


def _per_token_s(fixed_and_token_s: tuple[float, float], tokens: Floats) -> Floats:
    fixed_s, token_s = fixed_and_token_s
    return fixed_s + token_s * tokens
