"""A real JupyterLab in a real Chromium: what the browser tests drive."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect

CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_TIMEOUT_S = 90
KERNEL_TIMEOUT_MS = 120_000


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
        self._browser = browser
        self._token = secrets.token_hex(16)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._server = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"),
                f"--port={self._port}",
                f"--IdentityProvider.token={self._token}",
                f"--ServerApp.root_dir={folder}",
                "--LabApp.expose_app_in_browser=True",
                "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            ],
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._wait_for_server()

    def _wait_for_server(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), urllib.request.urlopen(self._url("api"), timeout=2):
                return
            time.sleep(0.2)
        raise TimeoutError(f"JupyterLab did not start within {START_TIMEOUT_S} s")

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._port}/{path}?token={self._token}"

    def open(self, notebook: str, width: int = 1280, height: int = 1400) -> OpenNotebook:
        """Open a notebook of the folder in a page of its own."""
        page = self._browser.new_page(viewport={"width": width, "height": height})
        page.goto(self._url(f"lab/tree/{notebook}") + "&reset")  # without the tabs of the page before
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=KERNEL_TIMEOUT_MS)
        opened = OpenNotebook(page)
        opened.wait_until_idle()
        return opened

    def stop(self) -> None:
        """End the server with its kernels."""
        self._server.send_signal(signal.SIGINT)
        self._server.send_signal(signal.SIGINT)
        try:
            self._server.wait(15)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()


class OpenNotebook:
    """A notebook in a browser page, with the moves of a person."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def wait_until_idle(self, timeout_ms: float = KERNEL_TIMEOUT_MS) -> None:
        idle = self.page.locator('.jp-NotebookPanel:not(.lm-mod-hidden) [data-status="idle"]')
        expect(idle.first).to_be_attached(timeout=timeout_ms)

    def run_all(self) -> None:
        """Run every cell: the menu's command, given when the kernel is there to take it."""
        self.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.ready")
        self.page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
        taken = self.page.locator(".jp-InputPrompt", has_text=re.compile(r"\[(\*|\d+)\]"))
        expect(taken).not_to_have_count(0, timeout=KERNEL_TIMEOUT_MS)

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

    def scroll_to(self, target: Locator) -> None:
        """Bring something to the top of the page, and let the figures settle."""
        target.evaluate("element => element.scrollIntoView({block: 'start'})")
        self.page.wait_for_timeout(1500)

    def close(self) -> None:
        self.page.close()


@contextlib.contextmanager
def lab_on(folder: Path, browser: Browser) -> Iterator[Lab]:
    """A Lab that is stopped at the end."""
    lab = Lab(folder, browser)
    try:
        yield lab
    finally:
        lab.stop()
