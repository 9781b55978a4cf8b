"""Slide pages: a deck of slides as Markdown, from one notebook."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from lesson_text import BOLD, Lesson, Section

DOCS = Path(__file__).parents[1]
# What fits on a slide of 1280 x 720 at the sizes of slides.css: tests/browser/test_slides.py looks at each.
MOST_CHARACTERS, MOST_OF_A_SUMMARY = 340, 480
MOST_TOGETHER = 460
MOST_ITEMS = 5
MOST_ROWS = 9
MOST_CODE, LARGE_CODE = (26, 104), (17, 84)
"""Lines and columns of code."""
PLOTLY = "plotly.min.js"
DASHBOARD = re.compile(r"dashboards\.([A-Z]\w+)\(")
PICTURE = re.compile(r'<img src="\.\./docs/([\w.-]+)"')
FIGURE_WITHOUT_DATA = re.compile(r"figures\.(\w+)\(\)")


def deck(lesson: Lesson) -> str:
    """The deck as MyST: '#' the title, '##' a section to the right, '###' a slide below it."""
    lines = [f"# {lesson.title}", "", f":::{{container}} question\n{lesson.question}\n:::", ""]
    for section in lesson.sections:
        lines += [*_section(section, lesson.question), ""]
    return "\n".join(lines)


def index(all_lessons: list[Lesson]) -> str:
    """The first page: every deck with its question."""
    rows = [f"| [{lesson.title}]({lesson.name}.md) | {lesson.question} |" for lesson in all_lessons]
    hidden = "\n".join(lesson.name for lesson in all_lessons)
    return "\n".join(
        [
            *("# nbkit, slides", "", "| notebook | its question |", "|---|---|", *rows, ""),
            *("```{toctree}", ":hidden:", "", hidden, "```", ""),
        ]
    )


def _section(section: Section, question: str) -> Iterator[str]:
    marked = "##" if section.level <= 2 else "###"
    code = next((["```python", cell.strip(), "```"] for cell in section.cells if _teaches(cell)), [])
    if code and not _fits(code[1], LARGE_CODE):
        code = [":::{container} long", *code, ":::"]
    asked = [":::{container} predict", "\n\n".join(section.questions), ":::"] if section.questions else []
    below = [(heading, [picture]) for heading, picture in _pictures(section)]
    if section.level > 1:
        words, listed = [*_words(section, question), *asked], list(_table_or_items(section))
        if section.heading.startswith("Exercise"):
            code = []  # it holds the answer, or asks for it: the notebook's part
        if not words or sum(map(len, [*words, *listed])) <= MOST_TOGETHER:
            words, listed = words + listed, []
        if not words:
            words, code = code, []
        yield from (f"{marked} {section.heading}", "", *words, "")
        marked = "###"
        below = [(section.heading, listed), ("In code", code), *below]
    for heading, block in below:
        if block:
            yield from (f"{marked} {heading}", "", *block, "")


def _words(section: Section, question: str) -> Iterator[str]:
    """The sentences that carry it: the first two, and those with something in bold, as many as fit."""
    asked = section.questions
    told = [s for s in section.sentences if s not in asked and not s.startswith(("Next:", "[Solutions]"))]
    if asked:  # what comes after the question is of the cell below, and may hold the answer
        told = section.sentences[: section.sentences.index(asked[0])]
    told = [s for s in told if not s.endswith(":") and question.lower() not in s.lower()]
    is_summary = section.heading.startswith("What you have learned")
    length, most = 0, MOST_OF_A_SUMMARY if is_summary else MOST_CHARACTERS
    for number, sentence in enumerate(told):
        carries = number < 2 or is_summary or BOLD.search(sentence)
        if number == 0 or (carries and length + len(sentence) <= most):
            length += len(sentence)
            yield from (_without_links(sentence), "")


def _table_or_items(section: Section) -> Iterator[str]:
    for table in section.tables[:1]:
        rows = table.splitlines()
        yield from (*rows[: MOST_ROWS + 2], "")
    if not section.tables and section.items:
        yield from (*(f"- {_without_links(item)}" for item in section.items[:MOST_ITEMS]), "")


def _teaches(cell: str) -> bool:
    """A function that ranks run, which is what the notebooks teach, and short enough to be read."""
    return "accelerate" in cell and "def " in cell and _fits(cell.strip(), MOST_CODE)


def _fits(code: str, most: tuple[int, int]) -> bool:
    lines = code.splitlines()
    return len(lines) <= most[0] and max(map(len, lines)) <= most[1]


def _pictures(section: Section) -> Iterator[tuple[str, str]]:
    """Pictures of the text; dashboards by their screenshots; figures that need no measurement, drawn."""
    from nbkit import figures

    for file in PICTURE.findall("\n".join(section.blocks)):
        yield "In a picture", f"![{file}](../{file})"
    for cell in section.cells:
        for name in DASHBOARD.findall(cell):
            if (DOCS / f"{name.lower()}.png").exists():
                yield f"The dashboard: {name}", f"![{name}](../{name.lower()}.png)"
        if drawn := FIGURE_WITHOUT_DATA.fullmatch(cell.strip()):
            figure = getattr(figures, drawn[1])()
            # On a slide the heading is the figure's own finding.
            heading = re.sub(r"<[^>]+>", " ", figure.layout.title.text or drawn[1])
            figure.update_layout(title=None, width=1130, height=520, font_size=20, legend_font_size=20)
            figure.update_xaxes(title_font_size=20).update_yaxes(title_font_size=20).update_annotations(font_size=18)
            html = figure.to_html(full_html=False, include_plotlyjs=f"_static/{PLOTLY}")
            yield heading, f"```{{raw}} html\n{html}\n```"


def _without_links(text: str) -> str:
    return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text)


def write(all_lessons: list[Lesson], folder: Path) -> None:
    """Write ``index.md`` and a page for each lesson, in the place of those of an earlier version."""
    for old in folder.glob("*.md"):
        os.unlink(old)
    (folder / "index.md").write_text(index(all_lessons), encoding="utf-8")
    for lesson in all_lessons:
        (folder / f"{lesson.name}.md").write_text(deck(lesson), encoding="utf-8")
