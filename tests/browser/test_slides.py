"""Slides and handout in Chromium: opened from the disk, nothing hangs over a slide's edge, and A4 pages come out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Request

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT = 1280, 720
HANGING_OVER = """async ([width, height]) => {
  const found = [];
  for (const slide of Reveal.getSlides()) {
    const at = Reveal.getIndices(slide);
    Reveal.slide(at.h, at.v);
    await new Promise(done => setTimeout(done, 30));
    const name = slide.querySelector("h1, h2, h3")?.textContent.trim() ?? `${at.h}/${at.v}`;
    const box = slide.getBoundingClientRect();
    if (box.left < 0 || box.right > width + 1) found.push(`${name}: from ${box.left} to ${box.right}`);
    if (slide.scrollHeight > height || slide.scrollWidth > width)
      found.push(`${name}: ${slide.scrollWidth} x ${slide.scrollHeight}`);
    for (const code of slide.querySelectorAll("pre code"))
      if (code.scrollWidth > code.clientWidth || code.scrollHeight > code.clientHeight)
        found.push(`${name}: code is cut`);
    for (const image of slide.querySelectorAll("img"))
      if (!image.complete || !image.naturalWidth) found.push(`${name}: a picture is missing`);
    for (const figure of slide.querySelectorAll(".plotly-graph-div"))
      if (!figure.querySelector(".main-svg")) found.push(`${name}: a figure is not drawn`);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def decks(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    out = tmp_path_factory.mktemp("slides")
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "revealjs", "docs/slides", str(out)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return sorted(out.glob("*.html"))


@pytest.mark.slow
def test_every_slide_holds_its_content_and_needs_no_network(decks: list[Path], browser: Browser) -> None:
    assert len(decks) == 1 + len(list((ROOT / "notebooks").glob("[0-9]*.ipynb")))
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
    asked: list[Request] = []
    failed: list[Request] = []
    page.on("request", lambda request: asked.append(request))
    page.on("requestfailed", lambda request: failed.append(request))
    seen = {}
    for deck in decks:
        page.goto(deck.as_uri())
        page.wait_for_function("window.Reveal && Reveal.isReady()")
        seen[deck.stem] = page.evaluate(HANGING_OVER, [WIDTH, HEIGHT])
    page.close()
    assert {name: found for name, found in seen.items() if found} == {}
    assert [request.url for request in failed] == []
    assert {request.url.split(":")[0] for request in asked} <= {"file", "data", "blob"}


@pytest.mark.usefixtures("browser")
@pytest.mark.slow
def test_the_handout_is_two_to_four_pages(tmp_path: Path) -> None:
    out = tmp_path / "handout.pdf"
    command = [sys.executable, "docs/handout/handout.py", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b(?!s)", out.read_bytes())) <= 4
