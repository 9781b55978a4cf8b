"""The what-if panel: sliders for a run that nobody has made yet, and advice on which to make."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import ipywidgets

from nbkit import figures
from nbkit.analysis.advice import GOALS, Advice, advise, doublings
from nbkit.analysis.cost_model import CostModel
from nbkit.analysis.what_if import Forecast, Workload, simulate
from nbkit.app.dashboards.parts.background import Background
from nbkit.app.dashboards.parts.live_figure import LiveFigure
from nbkit.app.dashboards.parts.panel import TWO_COLUMNS, Panel, control_grid
from nbkit.app.dashboards.parts.workers_control import CONTROL, LABEL_WIDTH, StatusLine
from nbkit.app.dashboards.scaling.known_machines import KnownMachine
from nbkit.app.durations import duration
from nbkit.figures.html.report import html_table
from nbkit.prompts import LENGTH_DISTRIBUTIONS
from nbkit.records.engine_spec import ENGINES
from nbkit.records.settings import ORDERS, SPLITS, Settings

MOST_RANKS = 1000
RANKS = (*range(1, 9), 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, MOST_RANKS)
PROMPTS = (*(m * 10**k for k in range(1, 6) for m in (1, 2, 5)), 10**6)
BATCH_SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
ADVISED_BATCH_SIZES = (1, 4, 16, 64, 256)
MOST_BATCHES = 100_000
"""Batch sizes that would make more are not advised: simulating them would take seconds."""
TOKENS = (1, 2, 5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1000, 2000)
PAUSE_S = 0.1
SECONDS_A_MINUTE = 60


class WhatIfPanel:
    """Choose a machine, a workload, a schedule and ranks; see the run, and what more ranks would bring."""

    def __init__(self) -> None:
        self._machines: dict[str, KnownMachine] = {}
        self._left_out = StatusLine()
        self._status = StatusLine()
        self._thinking = Background(self._status.say_error)
        self._machine = ipywidgets.Dropdown(description="machine", options=[], style=LABEL_WIDTH, layout=CONTROL)
        self._ranks = _choice("ranks", RANKS, 8)
        self._batch_size = _choice("batch size", BATCH_SIZES, 16)
        self._prompts = _choice("prompts", PROMPTS, 1000)
        self._prompt_tokens = _choice("prompt tokens", TOKENS, 20)
        self._new_tokens = _choice("new tokens", TOKENS, 100)
        self._lengths = _dropdown("prompts are", LENGTH_DISTRIBUTIONS)
        self._new_lengths = _dropdown("outputs are", LENGTH_DISTRIBUTIONS)
        self._split = _dropdown("split", SPLITS)
        self._order = _dropdown("order", ORDERS)
        self._goal = _dropdown("goal", GOALS)
        self._price = _number("price", 2.0, "Of a GPU for an hour, in any currency.")
        self._deadline = _number("deadline", 0.0, "Minutes in which the run must end; 0: none.")
        self._curve = LiveFigure(figures.what_if([]))
        self._time = LiveFigure(figures.what_if_time([]))
        self._offers = LiveFigure(figures.cost_and_time(None, 1.0))
        self._facts = ipywidgets.HTML()
        self._panels = {part: Panel(part) for part in (self._curve, self._time, self._offers, self._facts)}
        self.widget = ipywidgets.VBox(
            [control_grid(self._controls()), self._left_out, self._status, _panel_grid(list(self._panels.values()))]
        )
        for control in self._controls():
            control.observe(lambda _: self._on_change(), "value")

    def _controls(self) -> list[ipywidgets.Widget]:
        return [
            self._machine,
            *(self._ranks, self._batch_size, self._split, self._order),
            *(self._prompts, self._prompt_tokens, self._lengths, self._new_tokens, self._new_lengths),
            *(self._goal, self._price, self._deadline),
        ]

    @property
    def is_busy(self) -> bool:
        """Whether it simulates, or is about to."""
        return self._thinking.is_busy

    @property
    def status(self) -> str:
        """Where the numbers come from, or what went wrong."""
        return self._status.said

    def offer(self, machines: Mapping[str, KnownMachine], left_out: Sequence[str] = ()) -> None:
        """Let these machines be chosen, by name; the one that is chosen stays, if it is among them.

        ``left_out`` says, in sentences, what cannot be simulated and why.
        """
        self._left_out.say(" ".join(left_out))
        self._left_out.layout.display = None if left_out else "none"
        chosen = self._machine.value
        self._machines = dict(machines)
        self._machine.options = list(machines)
        self._machine.value = chosen if chosen in machines else next(iter(machines))
        self._on_change()

    def close(self) -> None:
        """Simulate no more."""
        self._thinking.close()

    def _on_change(self) -> None:
        if self._machine.value is not None:
            self._thinking.request(self._think, after_s=PAUSE_S)

    def _think(self) -> None:
        machine = self._machines.get(self._machine.value)
        if machine is None:
            return
        began_s = time.monotonic()
        workload = Workload.drawn(
            self._prompts.value,
            self._prompt_tokens.value,
            self._new_tokens.value,
            self._lengths.value,
            self._new_lengths.value,
        )
        asked = self._settings(machine.model)
        chosen = simulate(machine.model, workload, asked, self._ranks.value)
        self._show_chosen(machine, chosen)
        curve = [simulate(machine.model, workload, asked, n) for n in doublings(MOST_RANKS)]
        if self._thinking.is_outdated:
            return
        self._panels[self._curve].draw(lambda: self._show_curve(curve, chosen))
        self._panels[self._time].draw(
            lambda: self._time.show(figures.what_if_time_traces(curve), figures.what_if_time_title(chosen))
        )
        self._panels[self._offers].draw(lambda: self._show_advice(machine.model, workload, asked))
        seconds = time.monotonic() - began_s
        self._status.say(" ".join((f"{machine.source} Simulated in {seconds:.1f} s.", *chosen.notes)))

    def _show_curve(self, curve: Sequence[Forecast], chosen: Forecast) -> None:
        self._curve.show(figures.what_if_traces(curve, chosen), figures.what_if_title(curve, chosen))

    def _settings(self, model: CostModel) -> Settings:
        return Settings(
            engine=model.engine,
            batch_size=self._batch_size.value,
            split=self._split.value,
            order=self._order.value,
        )

    def _show_chosen(self, machine: KnownMachine, chosen: Forecast) -> None:
        self._status.say(f"{machine.source} Simulating.")
        facts = _facts(chosen, self._price.value, machine.model.gather_basis)
        rows = [{"": name, f"{chosen.ranks} ranks": value} for name, value in facts.items()]
        self._panels[self._facts].draw(lambda: setattr(self._facts, "value", html_table(rows)))

    def _show_advice(self, model: CostModel, workload: Workload, asked: Settings) -> None:
        advice = self._advice(model, workload, asked)
        self._offers.begin(figures.cost_and_time(advice, self._price.value))
        facts = self._facts.value.split("<p")[0]
        self._facts.value = f"{facts}<p class='nbkit-status' role='status'><b>Advice</b>: {advice.because}</p>"

    def _advice(self, model: CostModel, workload: Workload, asked: Settings) -> Advice:
        minutes = self._deadline.value
        sizes = ADVISED_BATCH_SIZES if ENGINES[model.engine].batches else (1,)
        return advise(
            model,
            workload,
            asked,
            ranks=doublings(MOST_RANKS),
            batch_sizes=[size for size in sizes if model.is_in_flight or len(workload) <= size * MOST_BATCHES],
            goal=self._goal.value,
            price_per_gpu_hour=self._price.value,
            deadline_s=minutes * SECONDS_A_MINUTE if minutes else None,
        )


def _facts(chosen: Forecast, price: float, gather_basis: str) -> dict[str, str]:
    gather, memory = duration(chosen.gather_s), chosen.memory_bytes
    in_flight = chosen.settings.is_in_flight
    prefills, most = ("prefills", "most side by side") if in_flight else ("batches", "largest batch")
    return {
        "wall time": duration(chosen.wall_s),
        "tokens/s that users get": f"{chosen.tokens_per_second:,.0f}",
        "first token after, mean": duration(chosen.mean_first_token_s),
        "time per output token": f"{1000 * chosen.mean_tpot_s:.1f} ms",
        prefills: f"{chosen.batches:,}",
        most: f"{chosen.largest_batch:,}",
        "its weights and KV cache": f"{memory / 2**30:.1f} GiB" if memory is not None else "not known",
        "ranks busy": f"{100 * chosen.busy:.0f}%",
        "gather": f"{gather} ({gather_basis})" if gather_basis and chosen.gather_s else gather,
        "GPU-hours": f"{chosen.gpu_hours:.4g}",
        "price": f"{chosen.gpu_hours * price:.4g}",
    }


def _choice(description: str, options: Sequence[int], value: int) -> ipywidgets.SelectionSlider:
    return ipywidgets.SelectionSlider(
        description=description,
        options=[(f"{option:,}", option) for option in options],
        value=value,
        continuous_update=False,
        style=LABEL_WIDTH,
        layout=CONTROL,
    )


def _dropdown(description: str, options: Sequence[str]) -> ipywidgets.Dropdown:
    return ipywidgets.Dropdown(description=description, options=options, style=LABEL_WIDTH, layout=CONTROL)


def _number(description: str, value: float, tooltip: str) -> ipywidgets.BoundedFloatText:
    return ipywidgets.BoundedFloatText(
        description=description,
        value=value,
        min=0.0 if value == 0 else 0.01,
        max=1e6,
        tooltip=tooltip,
        style=LABEL_WIDTH,
        layout=CONTROL,
    )


def _panel_grid(panels: Sequence[Panel]) -> ipywidgets.GridBox:
    return ipywidgets.GridBox(
        list(panels), layout={"grid_template_columns": TWO_COLUMNS, "grid_gap": "8px", "width": "100%"}
    )
