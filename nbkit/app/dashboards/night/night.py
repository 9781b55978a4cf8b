"""The night dashboard: prompts, a folder, Start; and how far it is, there or from another notebook."""

from __future__ import annotations

import html
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import ipywidgets

from nbkit.app.dashboards.explore.controls import Controls
from nbkit.app.dashboards.night.night_view import NightView, state_in_words
from nbkit.app.dashboards.night.prompts_control import PromptsControl
from nbkit.app.dashboards.parts.background import Background
from nbkit.app.dashboards.parts.dashboard import Dashboard
from nbkit.app.dashboards.parts.download import download_link
from nbkit.app.dashboards.parts.field import Field, dropdown
from nbkit.app.dashboards.parts.fold import Fold
from nbkit.app.dashboards.parts.kernel_interrupt import stop_at_interrupt
from nbkit.app.dashboards.parts.panel import control_grid
from nbkit.app.dashboards.parts.served import RESULTS, check_may_read, check_may_replace, check_may_write
from nbkit.app.dashboards.parts.workers_control import StatusLine
from nbkit.errors import InputError, NbkitError, shorten
from nbkit.inference.bulk import Bulk, BulkStatus
from nbkit.inference.bulk.driver import ON_ERROR, run_bulk
from nbkit.inference.bulk.folder import BulkFolder
from nbkit.inference.bulk.record import EXPORT_ENDINGS
from nbkit.inference.workers import Workers
from nbkit.models import check_name
from nbkit.records.request import PromptLike
from nbkit.records.settings import Settings

FIRST = ("engine", "batch_size", "max_new_tokens", "model", "dtype")
NOT_IN_BULK = ("split",)
"""Settings without effect in a bulk."""
ASKED = "Prompts and settings"
EXPORTS: dict[str, tuple[str, Literal["rows", "openai"]]] = {
    **{ending: (ending, "rows") for ending in EXPORT_ENDINGS},
    "OpenAI batch": ("-openai.jsonl", "openai"),
}
"""What the buttons say: how the file's name ends beside the folder's, and its form."""
LOOK_EVERY_S = 1.0
LOOK_SHARE = 0.04
"""The most of one core that looking may take."""
WAIT_S = 0.2


class _Stopped(Exception):
    """Stop was pressed."""


class Night(Dashboard):
    """A bulk from a notebook: started, stopped, gone on with, watched, exported.

    On a folder at which another process is, it shows how far that is, and changes nothing.

    Parameters
    ----------
    workers : Workers, optional
        Live workers to use; keep a name for them. Left out: the dashboard starts its own when
        it needs them, which ``close()`` ends.
    source : path or sequence of prompts, optional
        What to generate for, as for ``workers.bulk``; can be chosen in the dashboard.
    folder : path, optional
        Where the bulk is or will be; left out, ``results/night``. Of one that is there, the
        controls show what it was asked for, unless ``source`` or settings are given.
    **settings
        Values the controls begin with, by the names of ``Settings``.
    """

    def __init__(
        self,
        workers: Workers | None = None,
        source: str | Path | Sequence[PromptLike] | None = None,
        folder: str | Path | None = None,
        **settings: Any,
    ) -> None:
        asked = Settings.of(**settings)
        super().__init__(workers, starts_workers_later=True)
        self._stopping = threading.Event()
        self._runs_here = False
        self._news = ""
        self._exported: set[Path] = set()
        self._prompts = PromptsControl(source)
        self._controls = Controls(asked, self._workers.slider, lambda: None, FIRST, NOT_IN_BULK)
        self._on_error = dropdown("on error", ON_ERROR, ON_ERROR[0])
        on_error = Field(self._on_error, "record: the error stands in the output's place. stop: end there.")
        self._view = NightView()
        self._state = StatusLine()
        self._start_button = _button("Start", "primary", "play", "Generate for what is left to do")
        self._stop_button = _button("Stop", "danger", "stop", "Stop; what is done is kept")
        self._start_button.on_click(lambda _: self.run())
        self._stop_button.on_click(lambda _: self.stop())
        self._folder = ipywidgets.Text(
            str(folder if folder is not None else f"{RESULTS}/night"),
            description="folder",
            tooltip="Where outputs are written, and gone on with",
            continuous_update=False,
            style={"description_width": "50px"},
            layout={"width": "300px"},
        )
        self._folder.observe(lambda _: self._on_folder(), "value")
        self._exports = ipywidgets.HBox(
            [ipywidgets.Label("Export as"), *map(self._export_button, EXPORTS)],
            layout={"flex_flow": "row wrap", "align_items": "center"},
        )
        self._exports.layout.display = "none"
        asking = [
            control_grid([self._prompts.widget, on_error.widget]),
            self._controls.first,
            self._controls.more.widget,
        ]
        self._fold = Fold(asking, ASKED, "Show or hide what is asked for", is_open=True)
        bar = [self._start_button, self._stop_button, self._folder, self._exports]
        self._lay_out(
            self._fold.widget,
            ipywidgets.HBox(bar, layout={"flex_flow": "row wrap", "align_items": "center"}),
            self._state,
            self._status,
            self._view.widget,
        )
        self._looking = Background(self._state.say_error)
        stop_at_interrupt(self)
        if source is None and not settings:
            self._show_what_was_asked()
        if workers is not None:
            self._start_with_workers(self._get_ready)
        self._looking.request(self._look)

    @property
    def settings(self) -> Settings:
        """What the controls ask for.

        Raises
        ------
        InputError
            There is no such setting.
        """
        return self._controls.settings()

    @property
    def bulk(self) -> Bulk | None:
        """The bulk in the folder; None where there is none yet.

        Raises
        ------
        InputError
            The folder cannot be read, or holds a bulk that this nbkit does not know.
        """
        folder = check_may_read(self._folder_named())
        return Bulk.open(folder) if BulkFolder(folder).manifest.exists() else None

    def run(self) -> None:
        """Start or go on, as the button does; returns at once, and does nothing while the dashboard is busy."""
        if not self.is_busy:
            self._start_button.disabled = True
            self._stopping.clear()
            self._background.request(self._run)

    def stop(self) -> None:
        """Stop what runs here, as the Stop button does; what is done is kept, and ``run`` goes on."""
        if self._runs_here:
            self._stop_button.disabled = True
            self._status.say("Stopping.")
        self._stopping.set()

    def wait(self) -> None:
        """Wait until what was started here has ended; an interrupt of the kernel stops it, and is raised on.

        While a cell waits, the kernel takes no clicks.
        """
        try:
            while self.is_busy:
                time.sleep(WAIT_S)
        except KeyboardInterrupt:
            self.stop()
            raise

    def export(self, kind: str) -> None:
        """Write all outputs beside the folder, as the button that says ``kind`` does; returns at once.

        Raises
        ------
        InputError
            There is no such button.
        """
        if kind not in EXPORTS:
            raise InputError(f"outputs are exported as {', '.join(EXPORTS)}, not as {shorten(kind)}.")
        if not self.is_busy:
            self._background.request(lambda: self._export(*EXPORTS[kind]))

    def close(self) -> None:
        """Stop what runs here, remove the widgets, and end the workers if they are the dashboard's own."""
        self.stop()
        self._looking.close()
        super().close()
        self._prompts.close()

    def _get_ready(self) -> None:
        self._status.say("Ready.")
        self._looking.request(self._look)

    def _run(self) -> None:
        try:
            self._runs_here = True
            source, folder, settings = self._prompts.source(), check_may_write(self._folder_named()), self.settings
            check_name(settings.model)
            self._fold.is_open = False
            self._status.say("")
            self._stop_button.disabled = False
            workers = self._workers.get_resized()
            run_bulk(
                workers,
                source,
                folder,
                settings,
                column=self._prompts.column,
                on_error=self._on_error.value,
                tell=self._heed_stop,
                say=self._take_news,
            )
            self._status.say("")
        except _Stopped:
            self._status.say("Stopped; what is done is kept.")
        finally:
            self._news = ""
            self._runs_here = False
            self._looking.request(self._look)

    def _heed_stop(self, status: BulkStatus) -> None:
        if status.is_running and self._stopping.is_set():
            raise _Stopped

    def _take_news(self, line: str) -> None:
        # Shown when it is looked next: ranks can say more in a second than anybody reads.
        self._news = line

    def _export(self, ending: str, form: Literal["rows", "openai"]) -> None:
        bulk = self.bulk
        if bulk is None:
            raise InputError(f"there is no bulk in {self._folder.value} yet.")
        path = check_may_write(bulk.folder.with_name(bulk.folder.name + ending))
        check_may_replace(path, self._exported)
        self._status.say(f"Writing {path}.")
        bulk.export(path, form)
        self._exported.add(path.resolve())
        self._status.said = f"Saved {path}"
        link = f"{html.escape(str(path))}{download_link(path)}"
        self._status.value = f"<div class='nbkit-status' role='status'>Saved {link}</div>"

    def _export_button(self, kind: str) -> ipywidgets.Button:
        button = ipywidgets.Button(
            description=kind, tooltip=f"All outputs as {kind}, beside the folder", layout={"width": "auto"}
        )
        button.on_click(lambda _: self.export(kind))
        return button

    def _folder_named(self) -> str:
        named: str = self._folder.value.strip()
        if not named:
            raise InputError(f"name the folder: for example {RESULTS}/night.")
        return named

    def _on_folder(self) -> None:
        self._show_what_was_asked()
        self._looking.request(self._look)

    def _show_what_was_asked(self) -> None:
        """Let the controls ask for what the bulk in the folder was asked for."""
        try:
            bulk = self.bulk
            if bulk is not None:
                self._fold.is_open = False
                self._controls.show(bulk.settings)
                self._prompts.show(bulk.source)
        except (NbkitError, OSError) as error:
            self._state.say_error(error)

    def _look(self) -> None:
        """Draw how the folder stands, and look again in a while."""
        began_s = time.thread_time()
        try:
            if news := self._news:
                self._news = ""
                self._status.say(news)
            self._name_what_is_asked()
            bulk = self.bulk
            status = bulk.status() if bulk is not None else BulkStatus(0, 0)
            self._state.say(state_in_words(self._folder_named(), bulk, status, self._runs_here))
            self._offer(bulk, status)
            if bulk is None:
                self._view.hide()
            else:
                self._view.show(bulk, status)
        except (NbkitError, OSError) as error:
            self._offer(None, BulkStatus(0, 0))
            self._view.hide()
            self._state.say_error(error)
        finally:
            drawing_s = time.thread_time() - began_s
            if not self._looking.is_outdated:
                self._looking.request(self._look, after_s=max(LOOK_EVERY_S, drawing_s / LOOK_SHARE))

    def _name_what_is_asked(self) -> None:
        """On the button of the fold, for when it is closed."""
        asked = {name: self._controls.control(name).value for name in FIRST}
        self._fold.title = (
            f"{ASKED}: {self._prompts.named}; {asked['engine']}, batch size {asked['batch_size']}, "
            f"{asked['max_new_tokens']:,} new tokens, {asked['model']}"
        )

    def _offer(self, bulk: Bulk | None, status: BulkStatus) -> None:
        """Switch the buttons to what can be done."""
        self._start_button.description = "Start" if bulk is None or status.is_complete else "Go on"
        self._start_button.disabled = self.is_busy or status.is_running or status.is_complete
        self._stop_button.disabled = not self._runs_here or self._stopping.is_set()
        self._folder.disabled = self._runs_here
        self._exports.layout.display = "none" if status.is_running or not status.done else None


def _button(description: str, style: str, icon: str, tooltip: str) -> ipywidgets.Button:
    return ipywidgets.Button(description=description, button_style=style, icon=icon, tooltip=tooltip, disabled=True)
