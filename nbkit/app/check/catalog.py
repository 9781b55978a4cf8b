"""The catalog: every check by its name, in the order in which they run: what others stand on first."""

from __future__ import annotations

from nbkit.app.check.first_runs import first_runs
from nbkit.app.check.installed import installed
from nbkit.app.check.load import load
from nbkit.app.check.notebooks import notebooks
from nbkit.app.check.ranks import errors, hello, kills
from nbkit.app.check.runner import Check
from nbkit.app.check.speed import speed
from nbkit.app.check.texts import texts

_ALL = (
    Check("doctor", "What is installed and present?", installed),
    Check("hello", "Does every rank answer a gather, whatever they meet over?", hello),
    Check("errors", "Does an error on one rank free the others, and do the ranks serve the next job?", errors),
    Check("kills", "Is a killed rank named, replaced, and nothing left of it?", kills),
    Check("texts", "Do the engines give the same greedy texts in float32?", texts),
    Check("speed", "How near to the device's limit are decode steps, and how much of a run are they?", speed),
    Check("load", "Are the GPUs' load, memory and power told?", load, share=0.04),
    Check("first-runs", "Is the first run of fresh workers as fast as the second?", first_runs, share=0.16),
    Check("notebooks", "Do the notebooks run to their ends?", notebooks),
)

CHECKS = {check.name: check for check in _ALL}
