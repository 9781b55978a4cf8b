"""What if: the throughput that any number of ranks would bring, where their time would go, and what it would cost."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from nbkit.analysis.advice import Advice
from nbkit.analysis.what_if import Forecast
from nbkit.figures.scaling import IDEAL_COLOUR
from nbkit.figures.style import PART_COLOURS, RUN_COLOURS, USEFUL_COLOUR, WASTE_COLOUR, logarithmic, styled

LINE = {"color": USEFUL_COLOUR, "width": 3}
MARKER = {"color": WASTE_COLOUR, "size": 13, "symbol": "diamond", "line": {"color": "#FFFFFF", "width": 1}}


def what_if(forecasts: Sequence[Forecast], chosen: Forecast | None = None) -> go.Figure:
    """Tokens per second that users get against ranks, and the ideal: for each rank as many as for one."""
    figure = go.Figure()
    ranks = [forecast.ranks for forecast in forecasts]
    rates = [forecast.tokens_per_second for forecast in forecasts]
    if forecasts:
        ideal = [rates[0] * count / ranks[0] for count in ranks]
        line = {"color": IDEAL_COLOUR, "dash": "dash", "width": 1.5}
        figure.add_scatter(x=ranks, y=ideal, name="ideal", mode="lines", line=line, hoverinfo="skip")
    hover = "%{x} ranks: %{y:.4s} tokens/s<extra></extra>"
    figure.add_scatter(x=ranks, y=rates, name="simulated", mode="lines+markers", line=LINE, hovertemplate=hover)
    if chosen is not None:
        figure.add_scatter(
            x=[chosen.ranks],
            y=[chosen.tokens_per_second],
            name="chosen",
            mode="markers",
            marker=MARKER,
            hovertemplate=hover,
        )
    figure.update_xaxes(title="ranks", type="log", tickvals=_ticks(ranks))
    figure.update_yaxes(logarithmic("tokens/s users get", rates))
    figure.update_layout(showlegend=True)
    return styled(figure, _what_if_title(forecasts, chosen), height=380)


def what_if_time(forecasts: Sequence[Forecast], chosen: Forecast | None = None) -> go.Figure:
    """Where the ranks' time would go, in percent: batches, waiting for the last rank, the gather."""
    figure = go.Figure()
    rows = [str(forecast.ranks) for forecast in forecasts]
    gather = [100 * forecast.gather_s / forecast.wall_s if forecast.wall_s else 0.0 for forecast in forecasts]
    busy = [100 * forecast.busy for forecast in forecasts]
    waiting = [max(0.0, 100 - b - g) for b, g in zip(busy, gather, strict=True)]
    for name, values, colour in (
        ("batches", busy, PART_COLOURS["prefill"]),
        ("waiting", waiting, PART_COLOURS["decode"]),
        ("gather", gather, PART_COLOURS["gather"]),
    ):
        figure.add_bar(
            x=rows,
            y=values,
            name=name,
            marker_color=colour,
            hovertemplate="%{x} ranks: %{y:.1f}%<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(barmode="stack", bargap=0.2, showlegend=True)
    figure.update_xaxes(title="ranks", type="category")
    figure.update_yaxes(title="% of the ranks' time", range=[0, 100])
    return styled(figure, _time_title(chosen), height=380)


def cost_and_time(advice: Advice | None, price_per_gpu_hour: float) -> go.Figure:
    """Wall time against price of all that advice was chosen from, a line a batch size; the advised one marked."""
    figure = go.Figure()
    forecasts = advice.forecasts if advice is not None else []
    for number, size in enumerate(sorted({forecast.settings.prompts_a_batch for forecast in forecasts})):
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
            hovertemplate=f"{best.ranks} ranks: %{{x:.4s}} s, %{{y:.4s}}<extra></extra>",
        )
    figure.update_xaxes(logarithmic("wall time, seconds", [f.wall_s for f in forecasts]))
    prices = [forecast.gpu_hours * price_per_gpu_hour for forecast in forecasts]
    figure.update_yaxes(logarithmic("price of all GPU-hours", prices))
    figure.update_layout(showlegend=True)
    return styled(figure, _cost_title(advice), height=380)


def _add_offers(
    figure: go.Figure, own: Sequence[Forecast], name: str, number: int, price_per_gpu_hour: float
) -> None:
    figure.add_scatter(
        x=[forecast.wall_s for forecast in own],
        y=[forecast.gpu_hours * price_per_gpu_hour for forecast in own],
        customdata=[[forecast.ranks] for forecast in own],
        name=name,
        mode="lines+markers",
        line={"color": (*RUN_COLOURS, USEFUL_COLOUR)[number % 5], "width": 2},
        marker={"size": 7},
        hovertemplate="%{customdata[0]} ranks: %{x:.4s} s, %{y:.4s}<extra>%{fullData.name}</extra>",
    )


def _ticks(ranks: Sequence[int]) -> list[int]:
    return [count for count in ranks if count & (count - 1) == 0 or count == ranks[-1]]


def _what_if_title(forecasts: Sequence[Forecast], chosen: Forecast | None) -> str:
    if not forecasts or chosen is None or not forecasts[0].tokens_per_second:
        return "Throughput against ranks"
    times = chosen.tokens_per_second / (forecasts[0].tokens_per_second / forecasts[0].ranks)
    share = 100 * times / chosen.ranks
    return f"{chosen.ranks} ranks: {times:.1f} times one, {share:.0f}% efficiency"


def _time_title(chosen: Forecast | None) -> str:
    if chosen is None:
        return "Where the ranks' time would go"
    return f"{chosen.ranks} ranks: busy {100 * chosen.busy:.0f}% of the time"


def _cost_title(advice: Advice | None) -> str:
    if advice is None:
        return "Price against time"
    best = advice.best
    return f"For {advice.goal}: {best.ranks} ranks, batch size {best.settings.prompts_a_batch}"
