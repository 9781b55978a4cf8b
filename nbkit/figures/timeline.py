"""The timeline: what each rank did when, and what of it was wasted."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from nbkit.figures.load import load_lines
from nbkit.figures.style import SINCE_BEGIN, Arrays, part_marker, rank_colour, rank_rows, show_rows, styled
from nbkit.records import BatchRecord, BatchTotals, RankRecord
from nbkit.records.headline import headline
from nbkit.records.run import PAID_ONCE, Run

TIMELINE_PARTS = (
    *("warm-up", "tokenise", "compile", "prefill", "padding"),
    *("decode", "after the end", "detokenise", "waiting"),
)
MOST_BARS = 160
"""Of each part: with more batches, neighbours of a rank are drawn as one bar."""


def timeline(
    batches: Sequence[BatchRecord],
    begin_s: float,
    ranks: Sequence[int],
    title: str = "",
    rank_records: Sequence[RankRecord] = (),
) -> go.Figure:
    """Each of the ranks' batches over time, a bar a batch, split into its parts; one trace a part.

    Prefill is divided into prompt and ``padding`` by their numbers of tokens, and decode
    into new tokens and those computed ``after the end`` of a sequence: a position costs
    the same whatever is in it. Of an engine whose sequences join one by one, a bar is a
    window of time, its parts summed up.
    """
    figure = go.Figure()
    bars = timeline_bars(batches, begin_s, rank_records)
    for part in TIMELINE_PARTS:
        figure.add_bar(**bars[part], name=part, marker=part_marker(part))
    figure.update_traces(orientation="h", hovertemplate="%{customdata}<extra>%{fullData.name}</extra>")
    figure.update_layout(barmode="overlay", bargap=0.3)
    figure.update_xaxes(title=SINCE_BEGIN, rangemode="tozero")
    show_rows(figure, rank_rows(ranks))
    return styled(figure, title, height=150 + 42 * min(len(ranks), 16))


def timeline_bars(
    batches: Sequence[BatchRecord], begin_s: float, rank_records: Sequence[RankRecord] = ()
) -> dict[str, Arrays]:
    """What the timeline's traces show, by part: bar lengths ``x`` and bases in seconds, rows ``y``, hover texts."""
    bars: dict[str, Arrays] = {part: {"x": [], "base": [], "y": [], "customdata": []} for part in TIMELINE_PARTS}
    for several in _neighbours(batches):
        at = several[0].begin_s - begin_s
        for part, seconds in _seconds(several).items():
            _add(bars[part], several[0].rank, at, seconds, _in_words(several, seconds))
            at += seconds
    for record in rank_records:
        words = f"{record.cold_start_s:.3f} s that are paid once"
        _add(bars["warm-up"], record.rank, record.begin_s - begin_s, record.cold_start_s, words)
        waits_from = record.end_s - record.gather_s - record.waiting_s - begin_s
        words = f"{record.waiting_s:.3f} s waiting for the slowest rank"
        _add(bars["waiting"], record.rank, waits_from, record.waiting_s, words)
    for part in PAID_ONCE:
        bars[part]["showlegend"] = bool(bars[part]["x"])
    return bars


def run_timeline(run: Run) -> go.Figure:
    """The timeline of a Run, titled with what came of it; over it, if it was watched, how busy each rank was."""
    figure = timeline(run.batches, run.begin_s, run.rank_numbers, headline(run), run.ranks)
    for name, line in load_lines(run.load_samples, run.begin_s).items():
        if line["busy_x"]:
            colour = rank_colour(int(name.split()[1]))
            figure.add_scatter(
                x=line["busy_x"],
                y=line["busy_y"],
                name=f"{name} busy",
                yaxis="y2",
                line={"color": colour, "width": 2},
            )
    if run.load_samples:
        axis = {"title": "busy, %", "overlaying": "y", "side": "right", "rangemode": "tozero", "showgrid": False}
        figure.update_layout(yaxis2=axis, margin_r=62)
    return figure


def _add(bars: Arrays, rank: int, at_s: float, seconds: float, words: str) -> None:
    if seconds > 0:
        bars["x"].append(round(seconds, 5))
        bars["base"].append(round(at_s, 5))
        bars["y"].append(f"rank {rank}")
        bars["customdata"].append(words)


def _neighbours(batches: Sequence[BatchRecord]) -> list[Sequence[BatchRecord]]:
    """Batches to draw as one bar: each alone, or, where there are too many, neighbours of a rank."""
    by_rank: dict[int, list[BatchRecord]] = {}
    for batch in batches:
        by_rank.setdefault(batch.rank, []).append(batch)
    together = max(1, -(-len(batches) // MOST_BARS))
    return [own[i : i + together] for own in by_rank.values() for i in range(0, len(own), together)]


def _seconds(batches: Sequence[BatchRecord]) -> dict[str, float]:
    """The seconds of each part, in the order in which they are drawn."""
    seconds = dict.fromkeys(TIMELINE_PARTS[:-1], 0.0)
    for batch in batches:
        padding = batch.prefill_s * batch.padding_tokens / max(1, batch.prompt_tokens + batch.padding_tokens)
        after_the_end = batch.decode_s * (1 - batch.new_tokens / max(1, batch.computed_tokens))
        seconds["tokenise"] += batch.tokenize_s
        seconds["compile"] += batch.compile_s
        seconds["prefill"] += batch.prefill_s - padding
        seconds["padding"] += padding
        seconds["decode"] += batch.decode_s - after_the_end
        seconds["after the end"] += after_the_end
        seconds["detokenise"] += batch.detokenize_s
    return seconds


def _in_words(batches: Sequence[BatchRecord], seconds: float) -> str:
    totals = BatchTotals()
    for batch in batches:
        totals.add(batch)
    several = f"{len(batches)} batches, " if len(batches) > 1 else ""
    return (
        f"{seconds:.3f} s; {several}{totals.prompts} prompt(s)<br>"
        f"{totals.prompt_tokens} prompt + {totals.padding_tokens} padding tokens<br>"
        f"{totals.new_tokens} new of {totals.computed_tokens} computed tokens"
    )
