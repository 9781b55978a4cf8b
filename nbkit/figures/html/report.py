"""Report: one HTML file with the figures and tables of some Runs, readable without a network."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import plotly.graph_objects as go

from nbkit import figures
from nbkit.analysis.comparison import OutputComparison, compare_outputs, settings_that_differ, word_diff
from nbkit.errors import InputError
from nbkit.figures.html.player import grids_of, player_html, player_script
from nbkit.files.atomic_write import write_atomically
from nbkit.records.headline import longest_wait
from nbkit.records.run import Run
from nbkit.records.run_tables import shown_names

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #222; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
th, td {{ border-bottom: 1px solid #ddd; }}
@media (prefers-color-scheme: dark) {{
body {{ background: #181818; color: #ddd; }}
th, td {{ border-color: #444; }}
.plotly-graph-div {{ background: white; border-radius: 8px; overflow: hidden; color-scheme: light; }}
}}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""
LATENCY_WORDS = (
    "<p>Latencies: TTFT from when a prompt was taken to its first new token, ITL from each token to the next, "
    "end-to-end to its last. They count finished outputs, ITL their tokens after the first.</p>"
)
OUTPUTS_SHOWN = 10
MOST_CHARACTERS = 1000
"""The most characters of one text that are shown."""
AGREEMENT_CHARACTERS = 200
"""The most characters of agreement shown before a difference, and after it."""
# A line through or under says it without colours; the tints let the text's own colour show, light or dark.
_MARKED = {
    "same": "{}",
    "removed": '<del style="text-decoration:line-through;background:rgba(230,80,80,.2)">{}</del>',
    "added": '<ins style="text-decoration:underline;background:rgba(60,170,90,.2)">{}</ins>',
}


def write_report(runs: Mapping[str, Run], path: str | Path, title: str = "nbkit") -> Path:
    """Write the report of named Runs and return its path.

    Several Runs are also compared: the settings that differ, and the outputs of the
    first two that have the same prompts.

    Raises
    ------
    InputError
        There are no Runs, or the file cannot be written.
    """
    if not runs:
        raise InputError("there are no Runs to report; give at least one, for example {'batched': run}.")
    first = next(iter(runs.values()))
    sections = [
        _machine_line(first),
        html_table([_summary(run) for run in runs.values()]),
        *_latency_tables(runs),
        # plotly.js goes into the file once, with the first figure.
        figure_html(figures.comparison(runs), with_plotly=True),
        *_comparisons(runs),
    ]
    for name, run in runs.items():
        sections.append(f"<h2>{html.escape(name)}</h2>")
        if note := figures.run_note(run):
            sections.append(f"<p>{html.escape(note)}.</p>")
        if waited := longest_wait(run):
            sections.append(f"<p>{html.escape(waited.words)}.</p>")
        if playback := player_html(grids_of([("", run)])):
            sections += ["<h3>The batch, token by token</h3>", playback]
        drawn = [figures.run_timeline(run), figures.time_parts(run)]
        if run.latencies.ttft is not None:
            drawn.append(figures.latency_distribution(run.times))
        for figure in drawn:
            sections.append(figure_html(figure))
        sections.append(_outputs_table(run))
    sections.append(player_script())
    return write_page(path, title, sections)


def write_page(path: str | Path, title: str, sections: Iterable[str]) -> Path:
    """Write sections of HTML as one page and return its path.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    return write_atomically(path, _PAGE.format(title=html.escape(title), body="\n".join(sections)))


def figure_html(figure: go.Figure, with_plotly: bool = False) -> str:
    """A figure as a section of a page, without plotly's toolbar; a page needs plotly.js with one of its figures."""
    config = {"displayModeBar": False, "responsive": True}
    section: str = figure.to_html(full_html=False, include_plotlyjs=with_plotly, config=config)
    return section


def html_table(rows: Iterable[Mapping[str, object]]) -> str:
    """An HTML table of rows with the same columns; every value is escaped, and None a dash."""
    listed = list(rows)
    if not listed:
        return ""
    head = [_cell("th", column, like=value) for column, value in listed[0].items()]
    return _table(
        head, ([_cell("td", "-" if value is None else value, like=value) for value in row.values()] for row in listed)
    )


def text_table(run: Run, most: int) -> str:
    """An HTML table of the first ``most`` prompts with their outputs: model text is shown as text."""
    pairs = zip(run.prompts[:most], run.outputs[:most], strict=True)
    rows = ({"prompt": str(prompt).strip(), "output": (output or "").strip()} for prompt, output in pairs)
    return html_table(rows)


def differences_table(runs: Mapping[str, Run]) -> str:
    """The settings in which Runs differ, as an HTML table: a row a setting, a column a Run."""
    differing = settings_that_differ(runs)
    if not differing:
        return "<p>No settings differ.</p>"
    # All as text: a row's values are of one kind here, a column's are not.
    head = [_cell("th", name, like=name) for name in ("setting", *runs)]
    rows = ([_cell("td", text, like="") for text in (setting, *row.values())] for setting, row in differing.items())
    return _table(head, rows)


def output_differences(first_name: str, first: Run, second_name: str, second: Run, most: int = 20) -> str:
    """How many outputs of two Runs are the same, and the first ``most`` that differ, word by word, as HTML."""
    compared = compare_outputs(first, second)
    sentence = f"<p>{_compared_sentence(compared)}</p>"
    if not compared.differences:
        return sentence
    shown = compared.differences[:most]
    key = (
        f"{_MARKED['removed'].format('Struck through')}: only in {html.escape(first_name)}. "
        f"{_MARKED['added'].format('Underlined')}: only in {html.escape(second_name)}."
    )
    if len(shown) < compared.different:
        key = f"The first {len(shown)} that differ. {key}"
    head = [_cell("th", column, like=column) for column in ("prompt", "difference")]
    rows = (
        [_cell("td", each.prompt.strip(), like=""), _html_cell("td", _diff(each.first, each.second), like="")]
        for each in shown
    )
    return f"{sentence}<p>{key}</p>{_table(head, rows)}"


def _summary(run: Run) -> dict[str, object]:
    """A Run's summary without the percentiles, which have a table of their own."""
    others = {column for name in run.latencies.by_name for column in run.latencies.in_ms(name)}
    return shown_names({column: value for column, value in run.summary().items() if column not in others})


def _latency_tables(runs: Mapping[str, Run]) -> list[str]:
    """Percentiles of each Run that knows them, a row a latency; nothing where none does."""
    rows = [{"run": name, **row} for name, run in runs.items() for row in run.latencies.rows()]
    return [LATENCY_WORDS, html_table(rows)] if rows else []


def _comparisons(runs: Mapping[str, Run]) -> list[str]:
    """What a report of several Runs says of them together."""
    if len(runs) < 2:
        return []
    sections = [*_race(runs), "<h2>Settings that differ</h2>", differences_table(runs)]
    pairs = itertools.combinations(runs.items(), 2)
    alike = next((pair for pair in pairs if pair[0][1].prompts == pair[1][1].prompts), None)
    if alike:
        (first_name, first), (second_name, second) = alike
        sections.append(f"<h2>Outputs of {html.escape(first_name)} and {html.escape(second_name)}</h2>")
        sections.append(output_differences(first_name, first, second_name, second))
    return sections


def _race(runs: Mapping[str, Run]) -> list[str]:
    """The first and the last Run on one clock."""
    named = list(runs.items())
    grids = grids_of([named[0], named[-1]])
    return ["<h2>Two runs on one clock</h2>", player_html(grids)] if len(grids) > 1 else []


def _compared_sentence(compared: OutputComparison) -> str:
    total = compared.same + compared.different + compared.not_comparable
    clauses = [f"{compared.same} of {total} outputs are the same"]
    if compared.different:
        clauses.append(f"{compared.different} {'differs' if compared.different == 1 else 'differ'}")
    if compared.not_comparable:
        clauses.append(f"{compared.not_comparable} cannot be compared (no output in one of them, or other prompts)")
    return "; ".join(clauses) + "."


def _diff(first: str, second: str) -> str:
    """A diff as HTML, cut as long texts are, but so that the first differences are seen."""
    parts = word_diff(first, second)
    shown, length, hidden = [], 0, 0
    for number, (kind, text) in enumerate(parts):
        if length >= 2 * MOST_CHARACTERS:  # as much as one text on each side
            hidden += len(text)
            continue
        cut = _agreement(text, number == 0, number == len(parts) - 1) if kind == "same" else text[:MOST_CHARACTERS]
        shown.append(_MARKED[kind].format(html.escape(cut)))
        if kind != "same":
            shown.append(_more(len(text) - len(cut)))
        length += len(cut)
    return "".join(shown) + _more(hidden)


def _agreement(text: str, is_first: bool, is_last: bool) -> str:
    """What two texts have in common, cut where it is far from any difference."""
    before = 0 if is_first else AGREEMENT_CHARACTERS
    after = 0 if is_last else AGREEMENT_CHARACTERS
    hidden = len(text) - before - after
    if hidden <= AGREEMENT_CHARACTERS:
        return text
    return f"{text[:before]}... ({hidden:,} more characters) ...{text[len(text) - after :]}"


def _cut(text: str) -> str:
    return text[:MOST_CHARACTERS] + _more(len(text) - MOST_CHARACTERS)


def _more(hidden: int) -> str:
    return f"... ({hidden:,} more characters)" if hidden > 0 else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already."""
    body = "".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return f"<table><thead><tr>{''.join(head)}</tr></thead><tbody>{body}</tbody></table>"


def _cell(tag: str, text: object, like: object) -> str:
    """A cell aligned as its column's values are: numbers on the right."""
    return _html_cell(tag, html.escape(_cut(str(text))), like)


def _html_cell(tag: str, content: str, like: object) -> str:
    # A text's own first letters say from which side it is read, and there it begins.
    align, direction = ("right", "") if isinstance(like, int | float) else ("start", ' dir="auto"')
    # Styled here: in a notebook the page's own style sheet would centre text and break words.
    style = (
        f"text-align:{align};vertical-align:top;white-space:pre-wrap;padding:2px 4px;font-size:12px;line-height:1.4"
    )
    return f'<{tag}{direction} style="{style}">{content}</{tag}>'


def _machine_line(run: Run) -> str:
    machine = run.machine
    devices = sorted({rank.device for rank in run.ranks})
    memory_gb = machine["memory_bytes"] / 1e9
    words = (
        f"Model {run.settings.model} on {', '.join(devices)} of {machine['node']}: {machine['processor']}, "
        f"{machine['cores']} cores, {memory_gb:.0f} GB; {run.created}."
    )
    return f"<p>{html.escape(words)}</p>"


def _outputs_table(run: Run) -> str:
    shown = min(OUTPUTS_SHOWN, len(run.prompts))
    return f"<details><summary>The first {shown} outputs</summary>{text_table(run, OUTPUTS_SHOWN)}</details>"
