"""Pareto: tokens per second of all against the pace that one user sees."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from nbkit.analysis.distinctions import distinctions, place_of
from nbkit.figures.style import TOTAL_COLOUR, USEFUL_COLOUR, styled
from nbkit.records.run import Run
from nbkit.records.settings import ARTICLE, FIELDS


@dataclass(frozen=True, slots=True)
class Trade:
    """What a setting gives: ``tokens_per_second`` of all (more is better), ``tpot_ms`` for one (less is better)."""

    name: str
    tpot_ms: float
    tokens_per_second: float


def pareto(runs: Sequence[Run]) -> go.Figure:
    """Throughput against time per output token, a point a setting (medians over repeats); the best trades as a line.

    Runs whose batches have one token have no time per output token, and no point.
    """
    trades = _trades(runs)
    front = pareto_front(trades)
    others = [trade for trade in trades if trade not in front]
    figure = go.Figure()
    line = {"color": USEFUL_COLOUR, "width": 2.5}
    for name, some, mode, marker in (
        ("best trades", front, "lines+markers+text", {"color": USEFUL_COLOUR, "size": 11}),
        ("others", others, "markers", {"color": TOTAL_COLOUR, "size": 9, "symbol": "x"}),
    ):
        figure.add_scatter(
            x=[trade.tpot_ms for trade in some],
            y=[trade.tokens_per_second for trade in some],
            text=[trade.name for trade in some],
            # The line comes from below and goes on to the right.
            textposition="top left",
            textfont={"size": 12},
            name=name,
            mode=mode,
            line=line,
            marker=marker,
            cliponaxis=False,
            hovertemplate="%{text}: %{y:.1f} tokens/s, %{x:.1f} ms a token<extra></extra>",
        )
    figure.update_xaxes(title="time per output token, ms (labels: ranks × batch size)", range=_range(trades))
    figure.update_yaxes(title="tokens/s users get", rangemode="tozero")
    figure.update_layout(showlegend=True)
    return styled(figure, _title(front), height=380)


def pareto_front(trades: Sequence[Trade]) -> list[Trade]:
    """The trades that no other beats in both ways, from the fastest pace on.

    One trade beats another if it is no worse in either and better in one. Of equal trades the first is kept.
    """
    front: list[Trade] = []
    for trade in sorted(trades, key=lambda trade: (trade.tpot_ms, -trade.tokens_per_second)):
        if not front or trade.tokens_per_second > front[-1].tokens_per_second:
            front.append(trade)
    return front


def _trades(runs: Sequence[Run]) -> list[Trade]:
    timed = sorted((run for run in runs if run.is_complete and run.mean_tpot_s), key=place_of)
    by_setting: dict[tuple[object, ...], list[Run]] = defaultdict(list)
    names: dict[tuple[object, ...], str] = {}
    for run, differing in zip(timed, distinctions(timed), strict=True):
        setting = (run.world_size, *differing.values())
        by_setting[setting].append(run)
        names.setdefault(setting, _name(run, differing))
    return [
        Trade(
            names[setting],
            1000 * statistics.median(run.mean_tpot_s for run in own),
            statistics.median(run.tokens_per_second for run in own),
        )
        for setting, own in by_setting.items()
    ]


def _range(trades: Sequence[Trade]) -> list[float] | None:
    """Of the horizontal axis in ms, with room for a name to the left of the first point."""
    if not trades:
        return None
    first, last = (end(trade.tpot_ms for trade in trades) for end in (min, max))
    span = (last - first) or first
    return [first - 0.2 * span, last + 0.05 * span]


def _name(run: Run, differing: Mapping[str, str]) -> str:
    """In short: of engine and schedule what is not as in the article, of all else what differs between runs."""
    engine = "" if run.engine == ARTICLE["engine"] else f"{run.engine} "
    schedule = [
        FIELDS[name].in_words(value)
        for name in ("split", "order")
        for value in [getattr(run.settings, name)]
        if value != ARTICLE[name]
    ]
    others = [words for name, words in differing.items() if name not in ("engine", "schedule")]
    return " ".join((f"{engine}{run.world_size}×{run.batch_size}", *schedule, *others))


def _title(front: Sequence[Trade]) -> str:
    if len(front) < 2:
        return "Throughput against pace"
    slow, fast = front[-1], front[0]
    return f"{slow.name}: {slow.tokens_per_second / fast.tokens_per_second:.1f} times the tokens/s of {fast.name}"
