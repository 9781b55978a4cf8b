"""What if: the throughput that any number of ranks would bring, where their time would go, and what it would cost."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from nbkit.analysis.advice import Advice, doublings
from nbkit.analysis.what_if import Forecast
from nbkit.figures.scaling import DASHES, IDEAL_COLOUR, SYMBOLS, with_room_for_legend
from nbkit.figures.style import PART_COLOURS, RUN_COLOURS, USEFUL_COLOUR, WASTE_COLOUR, Arrays, logarithmic, styled

LINE = {"color": USEFUL_COLOUR, "width": 3}
EXTRAPOLATED = {**LINE, "dash": "dot"}
MARKER = {"color": WASTE_COLOUR, "size": 13, "symbol": "diamond", "line": {"color": "#FFFFFF", "width": 1}}
TIME_COLOURS = {
    "batches": PART_COLOURS["prefill"],
    "waiting": PART_COLOURS["waiting"],
    "gather": PART_COLOURS["gather"],
}
RANKS, RATES = doublings(1024), (0.01, 1e9)
"""Ranks and tokens per second that the ticks reach over, so that they hold for whatever a live figure shows next."""


def what_if(forecasts: Sequence[Forecast], chosen: Forecast | None = None) -> go.Figure:
    """Tokens per second that users get against ranks, and the ideal: for each rank as many as for one.

    What lies beyond the measured (``Forecast.beyond``) is dotted.

    Parameters
    ----------
    forecasts : sequence of Forecast
        Of one workload with the same settings, from the fewest ranks on.
    chosen : Forecast, optional
        Marked, and what the title is about.
    """
    figure = go.Figure()
    hover = "%{x} ranks: %{y:.4s} tokens/s<extra>%{fullData.name}</extra>"
    ideal = {"color": IDEAL_COLOUR, "dash": "dash", "width": 2}
    forms: list[dict[str, object]] = [
        {"name": "ideal", "mode": "lines", "line": ideal, "hoverinfo": "skip"},
        {"name": "simulated", "mode": "lines+markers", "line": LINE, "hovertemplate": hover},
        {"name": "extrapolated", "mode": "lines+markers", "line": EXTRAPOLATED, "hovertemplate": hover},
        {"name": "chosen", "mode": "markers", "marker": MARKER, "hovertemplate": hover},
    ]
    for form, arrays in zip(forms, what_if_traces(forecasts, chosen), strict=True):
        figure.add_scatter(**form, **arrays)
    figure.update_xaxes(title="ranks", type="log", tickvals=RANKS, ticktext=[str(tick) for tick in RANKS])
    figure.update_yaxes(logarithmic("tokens/s users get", RATES))
    figure.update_layout(showlegend=True)
    return styled(figure, what_if_title(forecasts, chosen), height=380)


def what_if_traces(forecasts: Sequence[Forecast], chosen: Forecast | None = None) -> list[Arrays]:
    """What the traces of ``what_if`` show, always four: ideal, simulated, extrapolated, chosen."""
    ranks = [forecast.ranks for forecast in forecasts]
    rates = [forecast.tokens_per_second for forecast in forecasts]
    within = [not forecast.beyond for forecast in forecasts]
    # The dotted line begins where the other ends.
    dotted = [not all(within[max(0, at - 1) : at + 2]) for at in range(len(within))]
    marked = [chosen] if chosen is not None else []
    return [
        {"x": list(ranks), "y": [rates[0] * count / ranks[0] for count in ranks]},
        *({"x": list(ranks), "y": _where(shown, rates)} for shown in (within, dotted)),
        {"x": [forecast.ranks for forecast in marked], "y": [forecast.tokens_per_second for forecast in marked]},
    ]


def what_if_title(forecasts: Sequence[Forecast], chosen: Forecast | None = None) -> str:
    """The finding of ``what_if``: what the ranks chosen bring."""
    if not forecasts or chosen is None or not forecasts[0].tokens_per_second:
        return "Throughput against ranks"
    times = chosen.tokens_per_second / (forecasts[0].tokens_per_second / forecasts[0].ranks)
    share = 100 * times / chosen.ranks
    return f"{_in_words(chosen.ranks)}: {times:.1f} times one, {share:.0f}% efficiency{_extrapolated(chosen)}"


def what_if_time(forecasts: Sequence[Forecast], chosen: Forecast | None = None) -> go.Figure:
    """Where the ranks' time would go, in percent: batches, waiting for the last rank, the gather."""
    figure = go.Figure()
    for (name, colour), arrays in zip(TIME_COLOURS.items(), what_if_time_traces(forecasts), strict=True):
        figure.add_bar(
            **arrays,
            name=name,
            marker_color=colour,
            hovertemplate="%{x} ranks: %{y:.1f}%<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(barmode="stack", bargap=0.2, showlegend=True)
    figure.update_xaxes(title="ranks", type="category")
    figure.update_yaxes(title="% of the ranks' time", range=[0, 100])
    return styled(figure, what_if_time_title(chosen), height=380)


def what_if_time_traces(forecasts: Sequence[Forecast]) -> list[Arrays]:
    """What the traces of ``what_if_time`` show, in percent: batches, waiting, gather."""
    gather = [100 * forecast.gather_s / forecast.wall_s if forecast.wall_s else 0.0 for forecast in forecasts]
    busy = [100 * forecast.busy for forecast in forecasts]
    waiting = [max(0.0, 100 - b - g) for b, g in zip(busy, gather, strict=True)]
    rows = [str(forecast.ranks) for forecast in forecasts]
    return [{"x": list(rows), "y": list(values)} for values in (busy, waiting, gather)]


def what_if_time_title(chosen: Forecast | None = None) -> str:
    """The finding of ``what_if_time``: how busy the ranks chosen would be."""
    if chosen is None:
        return "Where the ranks' time would go"
    return f"{_in_words(chosen.ranks)}: busy {100 * chosen.busy:.0f}% of the time{_extrapolated(chosen)}"


def cost_and_time(advice: Advice | None, price_per_gpu_hour: float) -> go.Figure:
    """Wall time against price of all that advice was chosen from, a line a batch size; the advised one marked.

    Forecasts beyond the measured have open marks.
    """
    figure = go.Figure()
    forecasts = advice.forecasts if advice is not None else []
    sizes = sorted({forecast.settings.prompts_a_batch for forecast in forecasts})
    for number, size in enumerate(sizes):
        own = [forecast for forecast in forecasts if forecast.settings.prompts_a_batch == size]
        _add_offers(figure, sorted(own, key=lambda f: f.ranks), f"batch size {size}", number, price_per_gpu_hour)
    if advice is not None:
        best = advice.best
        figure.add_scatter(
            x=[best.wall_s],
            y=[best.gpu_hours * price_per_gpu_hour],
            name="advised",
            mode="markers",
            marker=MARKER,
            hovertemplate=f"{_in_words(best.ranks)}: %{{x:.4s}} s, %{{y:.4s}}<extra></extra>",
        )
    marks = " (open marks: extrapolated)" if any(f.beyond for f in forecasts) else ""
    figure.update_xaxes(logarithmic(f"wall time, seconds{marks}", [f.wall_s for f in forecasts]))
    prices = [forecast.gpu_hours * price_per_gpu_hour for forecast in forecasts]
    figure.update_yaxes(logarithmic("price of all GPU-hours", prices))
    figure.update_layout(showlegend=True)
    figure = styled(figure, _cost_title(advice), height=380)
    return with_room_for_legend(figure, [*(f"batch size {size}" for size in sizes), "advised"])


def _add_offers(
    figure: go.Figure, own: Sequence[Forecast], name: str, number: int, price_per_gpu_hour: float
) -> None:
    symbol = SYMBOLS[number % len(SYMBOLS)]
    figure.add_scatter(
        x=[forecast.wall_s for forecast in own],
        y=[forecast.gpu_hours * price_per_gpu_hour for forecast in own],
        customdata=[[forecast.ranks] for forecast in own],
        name=name,
        mode="lines+markers",
        line={"color": (*RUN_COLOURS, USEFUL_COLOUR)[number % 5], "width": 2.5, "dash": DASHES[number % len(DASHES)]},
        marker={"size": 8, "symbol": [f"{symbol}-open" if forecast.beyond else symbol for forecast in own]},
        hovertemplate="%{customdata[0]} ranks: %{x:.4s} s, %{y:.4s}<extra>%{fullData.name}</extra>",
    )


def _in_words(ranks: int) -> str:
    return f"{ranks} rank{'s' if ranks != 1 else ''}"


def _cost_title(advice: Advice | None) -> str:
    if advice is None:
        return "Price against time"
    best = advice.best
    size = best.settings.prompts_a_batch
    return f"For {advice.goal}: {_in_words(best.ranks)}, batch size {size}{_extrapolated(best)}"


def _extrapolated(forecast: Forecast) -> str:
    return ", extrapolated" if forecast.beyond else ""


def _where(shown: Sequence[bool], values: Sequence[float]) -> list[float | None]:
    """The values that are shown; a gap in the line for the others."""
    return [value if is_shown else None for is_shown, value in zip(shown, values, strict=True)]
