"""A browser and a JupyterLab on copies of the notebooks, shared by the browser tests."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

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
    with lab_on(folder, browser) as lab:
        yield lab


@pytest.fixture
def open_notebook(lab: Lab) -> Iterator[Callable[..., OpenNotebook]]:
    """Open a notebook of the lab; at the end of the test its kernel ends, whatever the test came to."""
    with contextlib.ExitStack() as opened:
        yield lambda *args, **size: opened.enter_context(contextlib.closing(lab.open(*args, **size)))


@pytest.fixture
def open_with(lab: Lab) -> Iterator[Callable[..., OpenNotebook]]:
    """Open a notebook with some code, on the kernel that all such share; its page closes with the test."""
    with contextlib.ExitStack() as opened:
        yield lambda *args, **size: opened.enter_context(contextlib.closing(lab.open_with(*args, **size)))


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
