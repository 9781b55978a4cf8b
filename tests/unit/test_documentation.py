"""The documentation: figures from the results, no dead link, a README that can be read in four minutes."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
FEWER_WORDS = 900


@pytest.fixture(scope="module")
def figures() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("measured", DOCS / "measured.py")
    measured = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(measured)
    return measured.figures()


def test_the_readme_is_short():
    assert len(README.split()) < FEWER_WORDS


def test_what_the_readme_links_to_is_there():
    linked = re.findall(r"\]\(([^)#]+)", README)
    assert "docs/bulk.md" in linked
    assert [link for link in linked if not link.startswith("https://") and not (ROOT / link).exists()] == []


def test_pages_name_every_figure_that_is_read_from_the_results_and_no_other(figures):
    text = "\n".join(page.read_text() for page in DOCS.glob("*.md"))
    named = set(re.findall(r"\{\{ (\w+) \}\}", text))
    assert named == set(figures)
    assert "`{{" not in text  # nothing is put in within code


def test_the_readmes_figures_are_those_of_the_results(figures):
    bfloat16, float32 = (f"{float(figures[name]):.1f}" for name in ("bfloat16_default", "float32_default"))
    sentences = (
        f"{bfloat16} times the tokens/s of the article's batched loop in bfloat16 and {float32} times in float32",
        f"an empty job takes {float(figures['round_trip_ms']):.1f} ms",
        f"is there {float(figures['slider_ms']) / 1000:.1f} s after its release",
        f"take {figures['ranks_memory']} times the memory of one",
        f"came through {figures['bulk_disturbances']} kills, interrupts and full disks",
    )
    in_one_line = " ".join(README.split())
    assert [sentence for sentence in sentences if sentence not in in_one_line] == []


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_has_no_dead_link(tmp_path):
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-D", "nb_execution_mode=off"]
    done = subprocess.run([*build, str(DOCS), str(tmp_path)], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    pages = {path: BeautifulSoup(path.read_text(), "html.parser") for path in tmp_path.rglob("*.html")}
    assert tmp_path / "notebooks/00_start_here.html" in pages
    anchors = {path: {tag["id"] for tag in page.find_all(id=True)} for path, page in pages.items()}
    dead = [
        f"{path.relative_to(tmp_path)}: {link}"
        for path, page in pages.items()
        for link in _links(page)
        if not _is_there(path, link, anchors)
    ]
    assert dead == []


def _links(page: BeautifulSoup) -> list[str]:
    found = [tag.get("href") or tag.get("src") or "" for tag in page.find_all(["a", "link", "img", "script"])]
    return [link for link in found if link and not urlsplit(link).scheme and not link.startswith("//")]


def _is_there(page: Path, link: str, anchors: dict[Path, set[str]]) -> bool:
    parts = urlsplit(link)
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_file():
        return False
    return not parts.fragment or target not in anchors or unquote(parts.fragment) in anchors[target]
