"""A browser and a JupyterLab on copies of the notebooks, shared by the browser tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from lab import CHROMIUM_OPTIONS, Lab, OpenNotebook, lab_on
from playwright.sync_api import Browser, Locator, Page, sync_playwright

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", type=Path, help="also write the README's screenshots into this folder")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say("no Chromium here: install it (Debian: apt-get install chromium) to run the browser tests")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=CHROMIUM_OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    for notebook in NOTEBOOKS.glob("*.ipynb"):
        shutil.copy(notebook, folder)
    write_scaling_notebook(folder / "scaling_in_the_tests.ipynb")
    with lab_on(folder, browser) as lab:
        yield lab


def write_scaling_notebook(path: Path) -> None:
    """The scaling dashboard alone, with a sweep that takes seconds."""
    code = """import nbkit
from nbkit import dashboards
grid = nbkit.Grid(ranks=(1, 2), batch_sizes=(2, 5), repeats=2,
                  base=nbkit.Settings(max_new_tokens=6, ignore_eos=True))
workers = nbkit.Workers(2)
dashboards.Scaling(workers, nbkit.Sweep(grid, nbkit.first_lines(10)), path="sweep.json")"""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(code)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(notebook, path)


@pytest.fixture
def open_notebook(lab: Lab) -> Iterator[Callable[..., OpenNotebook]]:
    """Open a notebook of the lab; at the end of the test its kernel ends, whatever the test came to."""
    opened: list[OpenNotebook] = []

    def open_one(name: str, width: int = 1280, height: int = 1400) -> OpenNotebook:
        opened.append(lab.open(name, width, height))
        return opened[-1]

    yield open_one
    for notebook in opened:
        notebook.close()


@pytest.fixture
def screenshot(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Write a screenshot, if screenshots were asked for; only then wait until the figures have settled."""
    folder: Path | None = request.config.getoption("--screenshots", default=None)

    def take(page: Page, name: str, top: Locator | None = None, settle_ms: float = 1500) -> None:
        if folder is None:
            return
        if top is not None:
            top.evaluate("element => element.scrollIntoView({block: 'start'})")
        page.wait_for_timeout(settle_ms)
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png")

    return take
