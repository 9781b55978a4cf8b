"""Known machines: those that can be simulated, with what bounds them as far as this machine's files tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nbkit.analysis.cost_model import CostModel
from nbkit.analysis.known_hardware import known_hardware
from nbkit.analysis.published import published_cost_model
from nbkit.analysis.scaling import kinds
from nbkit.errors import InputError
from nbkit.records.run import Run

ARTICLE = "the article's RTX 3090s, Llama-2-7b"


@dataclass(frozen=True)
class KnownMachine:
    """A cost model to simulate with, and where it comes from, in sentences."""

    model: CostModel
    source: str


def known_machines(runs: Sequence[Run]) -> tuple[Mapping[str, KnownMachine], list[str]]:
    """The machines that can be simulated, those measured and the article's; and why others cannot be."""
    measured, left_out = {}, []
    for label, own in kinds(runs).items():
        try:
            model = CostModel.fit(own)
        except InputError as error:
            left_out.append(f"{label} cannot be simulated: {error}")
            continue
        hardware, why_not = known_hardware(own)
        percent = 100 * model.quality.median_error
        stretches = "stretches of steps" if model.is_in_flight else "batches"
        off = f"{percent:.0f}% more or less than measured (median)"
        source = f"Fitted to {len(own)} runs here; its {stretches} take {off}."
        said = [source, why_not] if why_not else [source]
        measured[f"this machine, {label}"] = KnownMachine(replace(model, hardware=hardware), " ".join(said))
    article = KnownMachine(
        published_cost_model(),
        "From the published table's first row: a batch takes 2.74 s, and more where the card's memory and arithmetic "
        "allow no less.",
    )
    return measured | {ARTICLE: article}, left_out
