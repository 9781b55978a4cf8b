"""Sweep report: every figure of a sweep, and the page that holds them."""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import plotly.graph_objects as go

from nbkit import figures
from nbkit.analysis.distinctions import besides_batch_size, distinctions
from nbkit.analysis.scaling import ScalingPoint, explain_all, points_by_series
from nbkit.errors import InputError
from nbkit.figures.html.report import figure_html, html_table, write_page
from nbkit.measure.sweep import Sweep
from nbkit.records.run import Run
from nbkit.records.run_tables import shown_names


def with_several_ranks(points: Mapping[str, Sequence[ScalingPoint]]) -> dict[str, Sequence[ScalingPoint]]:
    """The series from which scaling can be told."""
    return {label: own for label, own in points.items() if len(own) > 1}


def has_account(points: Sequence[ScalingPoint]) -> bool:
    """Whether it can be told where the time of these points went."""
    return all(point.lost is not None for point in points)


def of_one_schedule(runs: Sequence[Run], like: Run) -> list[Run]:
    """The complete runs that differ from one in ranks and batch size at most."""
    wanted = besides_batch_size(like)
    return [run for run in runs if run.is_complete and besides_batch_size(run) == wanted]


def sweep_figures(runs: Sequence[Run]) -> dict[str, go.Figure]:
    """Every figure that a sweep's runs give, by a name."""
    scaled = with_several_ranks(points_by_series(runs))
    made = {"speed-up": figures.speed_up(scaled), "efficiency": figures.efficiency(scaled)}
    for label, own in scaled.items():
        if has_account(own):
            made[f"lost time: {label}"] = figures.lost_time(own)
            made[f"gap: {label}"] = figures.gap(own)
    for name, alike in _by_schedule(runs).items():
        made[f"ranks and batch size: {name}"] = figures.heat_map(alike)
    made["throughput and pace"] = figures.pareto(runs)
    return made


def write_sweep_report(sweep: Sweep, path: str | Path, title: str = "nbkit sweep") -> Path:
    """Write the figures and the table of a sweep as one HTML file, readable without a network; return its path.

    Raises
    ------
    InputError
        Nothing is measured yet, or the file cannot be written.
    """
    if not any(run.is_complete for run in sweep.runs):
        raise InputError("nothing of this sweep is measured yet; run it first.")
    said = [line for own in points_by_series(sweep.runs).values() for line in explain_all(own)]
    notes = [(each, figures.run_note(each.run)) for each in sweep.measurements]
    said += [f"{each.point.label}, repeat {each.repeat}: {note}." for each, note in notes if note]
    said += [f"{each.point.label}, repeat {each.repeat}, failed: {each.message}" for each in sweep.failures]
    sections = [html_table(map(shown_names, sweep.summary_rows()))]
    # Each once: series of one engine may have the same reason to be left out.
    sections += [f"<p>{html.escape(line)}</p>" for line in dict.fromkeys(said)]
    for number, (name, figure) in enumerate(sweep_figures(sweep.runs).items()):
        sections.append(f"<h2>{html.escape(name)}</h2>")
        # plotly.js goes into the file once, with the first figure.
        sections.append(figure_html(figure, with_plotly=number == 0))
    return write_page(path, title, sections)


def _by_schedule(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Complete runs that differ in ranks and batch size at most, by what they have in common and others have not."""
    complete = [run for run in runs if run.is_complete]
    by_name: dict[str, list[Run]] = defaultdict(list)
    for run, differing in zip(complete, distinctions(complete), strict=True):
        always = {"engine": run.engine_label, "dtype": run.dtype, "schedule": run.settings.schedule_label}
        others = [words for name, words in differing.items() if name not in always]
        by_name[", ".join((*always.values(), *others))].append(run)
    return by_name
