"""Lesson text: what slides and handout take from the notebooks, so that neither can drift from them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import nbformat

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
QUESTION = re.compile(r"\*\*The question of this notebook: ([^*]+)\*\*")
LISTED = re.compile(r"[-*] |\d+\. ")
BOLD = re.compile(r"\*\*.+?\*\*")
SENTENCE_END = re.compile(r"(?<=[.?!])[*)]{0,2}\s+(?=\D)")


@dataclass
class Section:
    """What stands under one heading: blocks of Markdown, and code cells."""

    heading: str
    level: int
    blocks: list[str] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)

    @cached_property
    def sentences(self) -> list[str]:
        """Of the paragraphs, in order; tables, lists and code left out."""
        return [sentence for block in self.blocks if _is_prose(block) for sentence in split_sentences(block)]

    @cached_property
    def questions(self) -> list[str]:
        """Sentences that ask the learner for a prediction or a count, with the questions beside them."""
        asks = [_asks(sentence) for sentence in self.sentences]
        ends = [sentence.rstrip("*").endswith("?") for sentence in self.sentences]
        near = [any(asks[max(0, at - 2) : at + 3]) for at in range(len(asks))]
        rows = zip(self.sentences, asks, ends, near, strict=True)
        return [sentence for sentence, ask, end, is_near in rows if ask or (end and is_near)]

    @property
    def items(self) -> list[str]:
        """Of the lists, the first sentence of each."""
        return [split_sentences(item)[0] for block in self.blocks if LISTED.match(block) for item in _items_of(block)]

    @property
    def tables(self) -> list[str]:
        return [block for block in self.blocks if block.startswith("|")]


@dataclass
class Lesson:
    """One notebook: its name, title, question, and its sections."""

    name: str
    title: str
    question: str
    sections: list[Section]


def lessons(folder: Path = NOTEBOOKS) -> list[Lesson]:
    """The numbered notebooks, in order."""
    return [read_lesson(path) for path in sorted(folder.glob("[0-9]*.ipynb"))]


def read_lesson(path: Path) -> Lesson:
    """Read one notebook.

    Raises
    ------
    ValueError
        It has no title, or no sentence 'The question of this notebook: ...' in bold.
    """
    sections = list(_sections(nbformat.read(path, as_version=4)))
    if not sections or sections[0].level != 1:
        raise ValueError(f"{path.name} has to begin with a title, '# ...'")
    prose = [" ".join(block.split()) for section in sections for block in section.blocks]
    asked = next((found for block in prose if (found := QUESTION.search(block))), None)
    if asked is None:
        raise ValueError(f"{path.name} has no sentence '**The question of this notebook: ...**'")
    question = asked[1][0].upper() + asked[1][1:]
    return Lesson(path.stem, sections[0].heading, question, sections)


def split_sentences(text: str) -> list[str]:
    """The sentences of a paragraph; one in bold is not cut."""
    whole = " ".join(text.split())
    cut = [0]
    for end in SENTENCE_END.finditer(whole):
        # Within bold or code the count of marks before the cut is odd.
        before = whole[: end.end()].rstrip()
        if before.count("**") % 2 == 0 and before.count("`") % 2 == 0:
            cut.append(end.end())
    return [
        part for start, stop in zip(cut, [*cut[1:], len(whole)], strict=True) if (part := whole[start:stop].strip())
    ]


def _sections(notebook: nbformat.NotebookNode) -> Iterator[Section]:
    current: Section | None = None
    for cell in notebook.cells:
        if cell.cell_type == "code":
            if current is not None:
                current.cells.append(cell.source)
            continue
        # What a learner unfolds is no matter for a slide.
        for block in re.split(r"\n\s*\n", re.sub(r"(?s)<details>.*?</details>", "", cell.source)):
            lines = block.strip()
            while heading := re.match(r"(#+) (.+)", lines):
                if current is not None:
                    yield current
                current = Section(heading[2].strip(), len(heading[1]))
                lines = lines[heading.end() :].strip()
            if lines and current is not None:
                current.blocks.append(lines)
    if current is not None:
        yield current


def _asks(sentence: str) -> bool:
    if QUESTION.search(sentence):
        return False
    bold = BOLD.findall(sentence)
    ends = (sentence, *bold)
    return "**Predict" in sentence or (bool(bold) and any(end.rstrip("*").endswith("?") for end in ends))


def _is_prose(block: str) -> bool:
    return not (LISTED.match(block) or block.startswith(("|", "```", "<", ">", "![", "!{")))


def _items_of(block: str) -> list[str]:
    return [" ".join(item.split()) for item in re.split(r"(?m)^(?:[-*] |\d+\. )", block) if item.strip()]
