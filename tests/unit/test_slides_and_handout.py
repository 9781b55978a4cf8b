"""Slides and handout: all that they say of the notebooks is the notebooks' own; the guide's timetables add up."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import nbformat
import pytest

import nbkit
from nbkit.app.cli import commands

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
GUIDE = (DOCS / "workshop.md").read_text()


@pytest.fixture(scope="module", autouse=True)
def docs_on_the_path() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for folder in (DOCS, DOCS / "slides", DOCS / "handout"):
            patch.syspath_prepend(str(folder))
        yield


@pytest.fixture
def lesson_text() -> ModuleType:
    return importlib.import_module("lesson_text")


@pytest.fixture
def slide_pages() -> ModuleType:
    return importlib.import_module("slide_pages")


@pytest.fixture
def handout() -> ModuleType:
    return importlib.import_module("handout")


def markdown_of(path: Path) -> str:
    return "\n\n".join(
        cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"
    )


def in_words(text: str) -> str:
    """Text as one line, without marks and links."""
    return " ".join(re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", re.sub(r"(?m)^(- |\d+\. |:::.*|#+ )", "", text)).split())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_deck_has_the_title_the_question_and_every_heading(path, lesson_text, slide_pages):
    lesson = lesson_text.read_lesson(path)
    lines = slide_pages.deck(lesson).splitlines()
    headings = re.findall(r"(?m)^(##+) (.+)$", markdown_of(path))
    assert len(headings) > 3
    assert lines[0] == f"# {lesson.title}"
    assert lesson.question in lines
    for marks, heading in headings:
        assert f"{marks[:3]} {heading}" in lines


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_deck_says_nothing_that_the_notebook_does_not(path, lesson_text, slide_pages):
    lesson = lesson_text.read_lesson(path)
    whole = in_words(markdown_of(path))
    for section in lesson.sections:
        for sentence in slide_pages._words(section, lesson.question):
            assert in_words(sentence) in whole
        for question in section.questions:
            assert in_words(question) in whole


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_prediction_that_is_asked_for_is_on_a_slide(path, lesson_text, slide_pages):
    deck = in_words(slide_pages.deck(lesson_text.read_lesson(path)))
    asked = [
        in_words(bold) for bold in re.findall(r"\*\*[^*]+\*\*", markdown_of(path)) if bold.startswith("**Predict")
    ]
    assert [prediction for prediction in asked if prediction not in deck] == []


def test_a_notebook_without_a_question_is_named(lesson_text, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 7. Nothing asked")])
    nbformat.write(notebook, tmp_path / "07_nothing.ipynb")
    with pytest.raises(ValueError, match=r"07_nothing\.ipynb has no sentence"):
        lesson_text.lessons(tmp_path)


def test_sentences_are_cut_at_their_ends_only(lesson_text):
    text = "It takes 0.7 ms. **Predict:** what\nelse? **One. Two.** `a. b` is code. bfloat16 too."
    assert lesson_text.split_sentences(text) == [
        "It takes 0.7 ms.",
        "**Predict:** what else?",
        "**One. Two.**",
        "`a. b` is code.",
        "bfloat16 too.",
    ]


def test_the_handout_has_every_question_and_word(lesson_text, handout):
    lessons = lesson_text.lessons()
    page = handout.page(lessons)
    assert len(lessons) == len(NOTEBOOKS)
    assert [lesson.question for lesson in lessons if lesson.question not in page] == []
    asked_for = {"rank", "world size", "prefill", "decode", "TTFT", "ITL, TPOT", "throughput", "speed-up"}
    assert asked_for | {"efficiency", "KV cache", "padding"} <= set(handout.WORDS)
    assert all(re.fullmatch(r"[A-Z].+\.", said) for said in handout.WORDS.values())


def test_the_commands_of_handout_and_guide_exist(handout):
    known = {command.callback.__name__ for command in commands.app.registered_commands}
    text = handout.COMMANDS + GUIDE
    assert set(re.findall(r"(?m)(?:^|`)nbkit ([a-z]+)", text)) <= known
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    assert set(re.findall(r"(?m)(?:^|`)make ([a-z-]+)", text)) <= targets
    for name in re.findall(r"nbkit\.(\w+)", handout.CELL):
        assert hasattr(nbkit, name)
    compile(handout.CELL, "cell", "exec")


@pytest.mark.parametrize("minutes", [60, 120, 240])
def test_the_timetables_add_up(minutes):
    [table] = re.findall(rf"### {minutes} minutes.*?\n\n(\|.+?)\n\n", GUIDE, re.DOTALL)
    assert sum(int(found) for found in re.findall(r"(?m)^\| (\d+) \|", table)) == minutes


@pytest.mark.ranks
def test_a_browser_that_is_not_there_is_named(handout, tmp_path):
    command = [sys.executable, str(DOCS / "handout" / "handout.py"), "--out", str(tmp_path / "handout.pdf")]
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.strip() == handout.SAY_BROWSER
