"""Report: one HTML file with the figures and tables of some Runs, readable without a network."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from pathlib import Path

from nbkit import figures
from nbkit.records import Run, write_atomically

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #222; }}
table {{ border-collapse: collapse; margin: 1rem 0; }}
th, td {{ border-bottom: 1px solid #ddd; }}
</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""
OUTPUTS_SHOWN = 10


def write_report(runs: Mapping[str, Run], path: str | Path, title: str = "nbkit demo") -> Path:
    """Write the report of named Runs and return its path.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    first = next(iter(runs.values()))
    sections = [
        _machine_line(first),
        html_table([run.summary() for run in runs.values()]),
        # plotly.js goes into the file once, with the first figure.
        figures.comparison(runs).to_html(full_html=False, include_plotlyjs=True),
    ]
    for name, run in runs.items():
        sections.append(f"<h2>{html.escape(name)}</h2>")
        for figure in (figures.run_timeline(run), figures.time_parts(run)):
            sections.append(figure.to_html(full_html=False, include_plotlyjs=False))
        sections.append(_outputs_table(run))
    return write_atomically(path, _PAGE.format(title=html.escape(title), body="\n".join(sections)))


def html_table(rows: Iterable[Mapping[str, object]]) -> str:
    """An HTML table of rows with the same columns; every value is escaped."""
    listed = list(rows)
    if not listed:
        return ""
    head = "".join(_cell("th", column, like=value) for column, value in listed[0].items())
    body = "".join(
        "<tr>" + "".join(_cell("td", value, like=value) for value in row.values()) + "</tr>" for row in listed
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def text_table(run: Run, most: int) -> str:
    """An HTML table of the first ``most`` prompts with their outputs: model text is shown as text."""
    pairs = list(zip(run.prompts, run.outputs, strict=True))[:most]
    rows = ({"prompt": prompt.strip(), "output": (output or "").strip()} for prompt, output in pairs)
    return html_table(rows)


def _cell(tag: str, text: object, like: object) -> str:
    """A cell aligned as its column's values are: numbers on the right."""
    align = "right" if isinstance(like, int | float) else "left"
    # Styled here: in a notebook the page's own style sheet would centre text and break words.
    style = (
        f"text-align:{align};vertical-align:top;white-space:pre-wrap;padding:2px 4px;font-size:12px;line-height:1.4"
    )
    return f'<{tag} style="{style}">{html.escape(str(text))}</{tag}>'


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
