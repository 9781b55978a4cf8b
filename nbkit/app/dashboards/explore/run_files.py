"""Runs to files and back: saved, loaded, exported, and offered for download."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import ipywidgets

from nbkit.app.dashboards.parts.download import download_link
from nbkit.app.dashboards.parts.served import check_may_read, check_may_replace, check_may_write, is_served
from nbkit.app.dashboards.parts.workers_control import StatusLine
from nbkit.errors import InputError, NbkitError
from nbkit.figures.html.report import write_report
from nbkit.files.atomic_write import path_of
from nbkit.records.export import CSV_TABLES, csv_path, export_csv, export_json, load_runs
from nbkit.records.run import Run

BEGINS_ANEW = "This page begins anew when it is reloaded: save the runs that you want to keep."


class RunFiles:
    """A line to save the chosen runs and one to load others.

    Files are written into the folder of the notebook, and offered as a download too:
    who sees the dashboard as a web page has no other way to them. A visitor of such a page
    writes below ``results`` only, and replaces no file but those that this page has written.
    """

    def __init__(self, chosen: Callable[[], Mapping[str, Run]], load: Callable[[str, Run], None]) -> None:
        self._chosen = chosen
        self._load = load
        self._written: set[Path] = set()
        self._stem = ipywidgets.Text(
            "results/runs", description="save as", style={"description_width": "70px"}, layout={"width": "250px"}
        )
        self._path = ipywidgets.Text(
            placeholder="results/runs.json",
            description="load",
            style={"description_width": "70px"},
            layout={"width": "250px"},
        )
        self._upload = ipywidgets.FileUpload(description="Upload", accept=".json", tooltip="Load from your computer")
        self._said = StatusLine()
        if is_served():
            self._said.say(BEGINS_ANEW)
        save = [
            self._button("JSON", "The chosen runs whole; can be loaded again", self._save_json),
            self._button("CSV", "Two tables: the chosen runs, and their outputs", self._save_csv),
            self._button("HTML", "A page with figures and tables, readable without a network", self._save_page),
        ]
        load_path = self._button("Load", "Load runs from a file beside the notebook", self._load_path)
        self._upload.observe(lambda _: self._try(self._load_upload), "value")
        wrap = {"flex_flow": "row wrap"}
        self.widget = ipywidgets.VBox(
            [
                ipywidgets.HBox([self._stem, *save], layout=wrap),
                ipywidgets.HBox([self._path, load_path, self._upload], layout=wrap),
                self._said,
            ]
        )

    def _button(self, name: str, tooltip: str, act: Callable[[], None]) -> ipywidgets.Button:
        button = ipywidgets.Button(description=name, tooltip=tooltip, layout={"width": "72px"})
        button.on_click(lambda _: self._try(act))
        return button

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except (NbkitError, OSError) as error:
            self._said.say_error(error)

    def _target(self, ending: str, *tables: str) -> Path:
        """The file to save, or the one whose stem those of these tables have."""
        stem = Path(self._stem.value.strip())
        if stem.name in ("", ".."):
            raise InputError("name the file to save: for example results/runs.")
        target = stem.with_name(stem.name + ending)
        for written in [csv_path(target, table) for table in tables] or [target]:
            check_may_replace(check_may_write(written), self._written)
        return target

    def _save_json(self) -> None:
        self._offer([export_json(self._chosen(), self._target(".json"))])

    def _save_csv(self) -> None:
        self._offer(export_csv(self._chosen(), self._target(".csv", *CSV_TABLES)))

    def _save_page(self) -> None:
        runs = self._chosen()
        if not runs:
            raise InputError("there are no runs to export; tick at least one.")
        self._offer([write_report(runs, self._target(".html"), title="nbkit runs")])

    def _offer(self, paths: list[Path]) -> None:
        """Say where the files are, and let the browser fetch them."""
        self._written.update(path.resolve() for path in paths)
        links = "; ".join(f"{html.escape(str(path))}{download_link(path)}" for path in paths)
        self._said.value = f"<div class='nbkit-status' role='status'>Saved {links}</div>"

    def _load_path(self) -> None:
        path = self._path.value.strip() or self._path.placeholder
        self._add(load_runs(check_may_read(path)))

    def _load_upload(self) -> None:
        for file in self._upload.value:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / path_of(file.name).name
                path.write_bytes(file.content)
                self._add(load_runs(path))
        if self._upload.value:
            self._upload.value = ()

    def _add(self, runs: Mapping[str, Run]) -> None:
        for name, run in runs.items():
            self._load(name, run)
        self._said.say(f"Loaded {len(runs)} run{'s' if len(runs) != 1 else ''}: {', '.join(runs)}.")
