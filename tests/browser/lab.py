"""A real JupyterLab in a real Chromium: what the browser tests drive."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import nbformat
import psutil
from playwright.sync_api import Browser, Error, Locator, Page, expect

CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SHARED = "dashboard_in_the_tests.ipynb"
WORKERS = """import nbkit
from nbkit import dashboards
if "workers" not in globals():
    workers = nbkit.Workers(2)
if workers.world_size != 2:
    workers.resize(2)"""
START_TIMEOUT_S = 90
KERNEL_TIMEOUT_MS = 120_000


class Server:
    """A server of notebooks in a process of its own."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command, f"--port={self.port}"],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def wait_for(self, path: str) -> None:
        """Wait until the server answers."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(self.url(path), timeout=5):
                return
            time.sleep(0.2)
        raise TimeoutError(f"the server did not start within {START_TIMEOUT_S} s")

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    def ranks(self) -> list[psutil.Process]:
        """The processes of ranks of all its kernels; a rank is forked by a host."""
        found = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "nbkit.runtime.launchers.host" in " ".join(process.parent().cmdline()):
                    found.append(process)
        return found

    def stop(self) -> None:
        """End the server with its kernels."""
        self._process.send_signal(signal.SIGINT)
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Lab:
    """A JupyterLab server on a folder, and pages of a browser on it."""

    def __init__(self, folder: Path, browser: Browser) -> None:
        own = folder / ".jupyter"  # neither settings nor open tabs of the person who runs the tests
        no_news = own / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
        no_news.parent.mkdir(parents=True)
        no_news.write_text('{"fetchNews": "false"}')
        environment = {
            "JUPYTER_CONFIG_DIR": str(own / "config"),
            "JUPYTERLAB_SETTINGS_DIR": str(own / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(own / "workspaces"),
        }
        self.folder = folder
        self._browser = browser
        self._opened = 0
        self._token = secrets.token_hex(16)
        self.server = Server(
            [
                *("jupyter", "lab", "--no-browser", "--allow-root"),
                f"--IdentityProvider.token={self._token}",
                f"--ServerApp.root_dir={folder}",
                "--LabApp.expose_app_in_browser=True",
                "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            ],
            environment,
        )
        self.server.wait_for(f"api?token={self._token}")

    def open(self, notebook: str, width: int = 1280, height: int = 1400) -> OpenNotebook:
        """Open a copy of a notebook of the folder, with a kernel of its own, in a page of its own."""
        self._opened += 1
        name = f"{self._opened}-{notebook}"
        shutil.copy(self.folder / notebook, self.folder / name)
        return self._in_a_page(OpenNotebook, name, width, height)

    def open_with(self, code: str, width: int = 1280, height: int = 1400) -> SharedNotebook:
        """Open a notebook with this code, for which two ``workers`` are there, in a page of its own.

        All such notebooks have one kernel and its workers, which start once; a dashboard replaces the one before.
        """
        write_notebook(self.folder / SHARED, WORKERS, code)
        return self._in_a_page(SharedNotebook, SHARED, width, height)

    def _in_a_page(self, kind: type[Opened], name: str, width: int, height: int) -> Opened:
        page = self._browser.new_page(viewport={"width": width, "height": height})
        # Without the tabs of the page before.
        page.goto(self.server.url(f"lab/tree/{name}?token={self._token}&reset"))
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=KERNEL_TIMEOUT_MS)
        opened = kind(page)
        opened.wait_until_idle()
        return opened


def write_notebook(path: Path, *cells: str) -> None:
    """Write a notebook; a cell's id is its place, by which a dashboard knows the one that it replaces."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(code, id=f"cell-{place}") for place, code in enumerate(cells)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.write(notebook, path)


class DashboardPage:
    """A page with a dashboard, and the moves of a person on it."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def button(self, text: str) -> Locator:
        """The last enabled or disabled dashboard button with this text."""
        return self.page.locator("button.jupyter-button", has_text=re.compile(f"^{text}$")).last

    def slider(self, label: str) -> Locator:
        """The dashboard's slider with this label."""
        return self.page.locator(".widget-hslider", has=self.page.locator(f'label:text-is("{label}")')).last

    def set_slider(self, label: str, value: int) -> None:
        """Type a value into the slider's read-out, as a person can."""
        readout = self.slider(label).locator(".widget-readout")
        readout.click()
        readout.press("Control+a")
        readout.type(str(value))
        readout.press("Enter")
        expect(readout).to_have_text(str(value))

    def press(self, button: str) -> None:
        """Press a button as soon as it can be pressed."""
        expect(self.button(button)).to_be_enabled(timeout=KERNEL_TIMEOUT_MS)
        self.button(button).click()

    def figure(self, title: str) -> Locator:
        """The drawn figure with this in its title."""
        return self.page.locator(f'.nbkit-figure[aria-label*="{title}"]').last

    def dots(self, title: str) -> Locator:
        """The points that this figure draws: the runs so far, in the order of their kinds, then the one under way."""
        return self.figure(title).locator(".scatterlayer .point")

    def fits_on_screen(self, *parts: Locator) -> None:
        """Scroll to the top of the dashboard and see that all of these are on the screen with it."""
        # A page is scrolled by whole pixels, and a dashboard may begin between two.
        self.page.locator(".nbkit").last.evaluate(
            "element => { element.style.scrollMarginTop = '1px'; element.scrollIntoView({block: 'start'}); }"
        )
        for part in parts:
            expect(part).to_be_in_viewport(ratio=1)

    def lines(self, title: str) -> Locator:
        """The lines that this figure draws."""
        return self.figure(title).locator(".scatterlayer .js-line")

    @property
    def status(self) -> Locator:
        """What the dashboard says of what goes on, and of errors."""
        return self.page.locator(".nbkit-status, .nbkit-problem")

    @property
    def runs(self) -> Locator:
        """The rows of the runs so far, the newest first."""
        return self.page.locator(".nbkit-runs > .widget-hbox")

    def width_needed(self) -> int:
        """How many pixels wide the widest dashboard would like to be, beyond the room it has."""
        return self.page.evaluate(
            "Math.max(...[...document.querySelectorAll('.nbkit')].map(e => e.scrollWidth - e.clientWidth))"
        )

    def close(self) -> None:
        self.page.close()


class OpenNotebook(DashboardPage):
    """A notebook in a page of JupyterLab."""

    def wait_until_idle(self, timeout_ms: float = KERNEL_TIMEOUT_MS) -> None:
        idle = self.page.locator('.jp-NotebookPanel:not(.lm-mod-hidden) [data-status="idle"]')
        expect(idle.first).to_be_attached(timeout=timeout_ms)

    def run_all(self) -> None:
        """Run every cell: the menu's command, given when the kernel is there to take it."""
        self.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.ready")
        self.page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
        taken = self.page.locator(".jp-InputPrompt", has_text=re.compile(r"\[(\*|\d+)\]"))
        expect(taken).not_to_have_count(0, timeout=KERNEL_TIMEOUT_MS)

    def save_and_reload(self) -> None:
        """Save, as JupyterLab does by itself now and then, and reload the page."""
        self.page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
        self.page.reload()

    def close(self) -> None:
        """End the kernel and close the page."""
        with contextlib.suppress(Error):  # it may have ended in the test
            self.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        super().close()


class SharedNotebook(OpenNotebook):
    """A notebook whose kernel others go on with."""

    def close(self) -> None:
        """Close the page."""
        DashboardPage.close(self)


Opened = TypeVar("Opened", bound=OpenNotebook)


@contextlib.contextmanager
def lab_on(folder: Path, browser: Browser) -> Iterator[Lab]:
    """A Lab that is stopped at the end."""
    lab = Lab(folder, browser)
    try:
        yield lab
    finally:
        lab.server.stop()
