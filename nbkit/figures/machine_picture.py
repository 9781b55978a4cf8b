"""A picture of the machine: nodes, processes, devices, and who talks to whom in a gather."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import plotly.graph_objects as go

from nbkit.figures.style import GREEN, GREY, rank_colour, styled
from nbkit.inference.hello import HelloGather
from nbkit.runtime.wire import RankInfo

KERNEL_Y, HOST_Y, RANK_Y, DEVICE_Y = 3.0, 2.15, 1.2, 0.2
GATHER_COLOUR = GREEN
MOST_ARROWS = 64


def machine_picture(ranks: Sequence[RankInfo], hello: HelloGather | None = None, kernel_pid: int = 0) -> go.Figure:
    """Nodes as boxes; in them kernel, host and ranks (circles) with their devices (squares); the gather as a ring.

    Both gloo and, by default, NCCL pass the parts of an all-gather on from rank to
    rank round a ring until everyone has all of them (gloo/allgather.cc).

    Parameters
    ----------
    ranks : sequence of RankInfo
        In rank order; they may be some of the workers' ranks.
    hello : HelloGather, optional
        A gather that has taken place; its seconds go into the title.
    kernel_pid : int
        The process id of the notebook's kernel.
    """
    figure = go.Figure()
    middle = (len(ranks) - 1) / 2
    _add_nodes(figure, ranks)
    for x, info in enumerate(ranks):
        _add_arrow(figure, (middle, HOST_Y), (x, RANK_Y), GREY)
        _add_line(figure, (x, RANK_Y), (_device_x(info, ranks), DEVICE_Y))
    _add_arrow(figure, (middle, KERNEL_Y), (middle, HOST_Y), GREY)
    if len(ranks) > 1:
        _add_ring(figure, len(ranks))
    _add_marks(figure, [middle], KERNEL_Y, ["notebook kernel"], [f"process {kernel_pid}: submits jobs"], "hexagon")
    _add_marks(figure, [middle], HOST_Y, ["host"], ["calls notebook_launcher, which forks the ranks"], "hexagon")
    _add_ranks(figure, ranks)
    _add_devices(figure, ranks)
    figure.update_xaxes(visible=False, range=[-0.9, len(ranks) - 0.1])
    figure.update_yaxes(visible=False, range=[-0.75, 3.6])
    figure.update_layout(showlegend=False)
    styled(figure, _title(ranks, hello), height=430)
    return figure.update_layout(margin={"l": 8, "r": 8, "t": 50, "b": 8})


def _title(ranks: Sequence[RankInfo], hello: HelloGather | None) -> str:
    if hello is None:
        return f"{len(ranks)} ranks"
    slowest_ms = 1000 * max(hello.gather_s)
    return f"{len(ranks)} greetings gathered in {slowest_ms:.1f} ms"


def _add_nodes(figure: go.Figure, ranks: Sequence[RankInfo]) -> None:
    for node, group in groupby(enumerate(ranks), key=lambda placed: placed[1].node):
        own = [x for x, _ in group]
        left, right = own[0] - 0.45, own[-1] + 0.45
        top = KERNEL_Y + 0.5 if own[0] == 0 else RANK_Y + 0.65
        line = {"color": GREY, "width": 1}
        figure.add_shape(type="rect", x0=left, x1=right, y0=-0.5, y1=top, line=line, layer="below")
        figure.add_annotation(
            x=left, y=-0.5, text=f"node {node}", showarrow=False, xanchor="left", yanchor="bottom", xshift=6, yshift=2
        )


def _add_ranks(figure: go.Figure, ranks: Sequence[RankInfo]) -> None:
    details = [
        f"rank {i.rank} of {i.world_size}, process {i.pid} on {i.node}, {i.device}, group {i.backend}" for i in ranks
    ]
    figure.add_scatter(
        x=list(range(len(ranks))),
        y=[RANK_Y] * len(ranks),
        mode="markers+text",
        text=[str(info.rank) for info in ranks],
        textfont={"color": "#FFFFFF", "size": 14},
        hovertext=details,
        hoverinfo="text",
        marker={"size": 32, "color": [rank_colour(info.rank) for info in ranks]},
    )
    # Many ranks leave no room for more than their numbers; the rest is in the hover texts.
    for x, info in enumerate(ranks) if len(ranks) <= 8 else ():
        # On the side that the host's arrow does not come from.
        is_left = x < (len(ranks) - 1) / 2
        side = "right" if is_left else "left"
        figure.add_annotation(
            x=x,
            y=RANK_Y,
            text=f"rank {info.rank}<br>process {info.pid}",
            showarrow=False,
            align=side,
            xanchor=side,
            xshift=-19 if is_left else 19,
            yshift=22,
            font={"size": 11},
        )


def _add_devices(figure: go.Figure, ranks: Sequence[RankInfo]) -> None:
    devices = {(info.node, info.device): info for info in ranks}
    xs = [_device_x(info, ranks) for info in devices.values()]
    names = [info.device for info in devices.values()]
    details = [f"{info.device} of {info.node}: {info.device_name}" for info in devices.values()]
    _add_marks(figure, xs, DEVICE_Y, names, details, "square")


def _device_x(info: RankInfo, ranks: Sequence[RankInfo]) -> float:
    sharing = [x for x, other in enumerate(ranks) if (other.node, other.device) == (info.node, info.device)]
    return sum(sharing) / len(sharing)


def _add_marks(
    figure: go.Figure, xs: Sequence[float], y: float, names: Sequence[str], details: Sequence[str], symbol: str
) -> None:
    figure.add_scatter(
        x=xs,
        y=[y] * len(xs),
        mode="markers+text",
        text=names,
        textposition="middle right" if symbol == "hexagon" else "bottom center",
        hovertext=details,
        hoverinfo="text",
        marker={"symbol": symbol, "size": 26, "color": GREY},
    )


def _add_line(figure: go.Figure, begin: tuple[float, float], end: tuple[float, float]) -> None:
    line = {"color": GREY, "width": 1, "dash": "dot"}
    figure.add_shape(type="line", x0=begin[0], y0=begin[1], x1=end[0], y1=end[1], line=line, layer="below")


def _add_arrow(
    figure: go.Figure, begin: tuple[float, float], end: tuple[float, float], colour: str, width: float = 1.0
) -> None:
    figure.add_annotation(
        x=end[0],
        y=end[1],
        ax=begin[0],
        ay=begin[1],
        xref="x",
        yref="y",
        axref="x",
        ayref="y",
        showarrow=True,
        arrowhead=2,
        arrowsize=1,
        arrowwidth=width,
        arrowcolor=colour,
        standoff=15,
        startstandoff=14,
    )


def _add_ring(figure: go.Figure, count: int) -> None:
    """Each rank to the next, and, in a bow, the last to the first."""
    for x in range(min(count - 1, MOST_ARROWS)):
        _add_arrow(figure, (x, RANK_Y + 0.03), (x + 1, RANK_Y + 0.03), GATHER_COLOUR, width=2.5)
    last, depth = count - 1, RANK_Y - 0.62
    bow = f"M {last - 0.05},{RANK_Y - 0.13} C {last - 0.1},{depth} 0.1,{depth} 0.05,{RANK_Y - 0.13}"
    figure.add_shape(type="path", path=bow, line={"color": GATHER_COLOUR, "width": 2.5}, layer="below")
    figure.add_annotation(
        x=last / 2,
        y=RANK_Y - 0.47,
        text="gather: round the ring",
        showarrow=False,
        font={"size": 12},
        yshift=-10,
    )
