from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import nbkit
from nbkit.models.embedded import SMOLLM2_REQUIREMENT

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


FOR_RANKS = ("torch", "transformers", "accelerate")
FOR_NOTEBOOKS = ("ipywidgets", "plotly", "jupyterlab")


@pytest.mark.parametrize(
    ("imported", "heavy"),
    [
        ("nbkit", (*FOR_RANKS, *FOR_NOTEBOOKS, "pandas")),
        (
            "nbkit.app.cli.commands, nbkit.app.doctor, nbkit.inference.generation",
            (*FOR_RANKS, *FOR_NOTEBOOKS, "pandas"),
        ),
        ("nbkit.app.dashboards, nbkit.figures.html.report", (*FOR_RANKS, "pandas")),
    ],
)
def test_imports_load_nothing_heavy_that_they_can_do_without(imported, heavy):
    """Ranks want torch; a notebook, a dashboard and the command line would wait seconds for it in vain."""
    code = f"import {imported}, sys; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_workers_and_command_line_need_no_notebook_packages():
    code = (
        "import sys\n"
        "for name in ('ipywidgets', 'plotly', 'jupyterlab', 'anywidget', 'IPython'):\n    sys.modules[name] = None\n"
        "import nbkit, nbkit.app.cli.commands, nbkit.inference.generation, nbkit.app.doctor\n"
        "print(nbkit.launch(int, num_processes=1))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.strip() == "[0]", ran.stderr


def test_every_public_name_is_there():
    assert nbkit.__all__ == sorted(nbkit._HOME)
    for name in nbkit.__all__:
        assert getattr(nbkit, name) is not None
    assert set(nbkit.__all__) <= set(dir(nbkit))


def test_the_version_is_the_projects():
    assert nbkit.__version__ == PROJECT["version"]


def test_environment_yml_is_in_step():
    pip = re.findall(r"^      - (.+)$", (ROOT / "environment.yml").read_text(), re.MULTILINE)
    assert [line for line in pip if not line.startswith("-")] == PROJECT["dependencies"]


def test_every_direct_dependency_is_pinned():
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    # vllm is for machines with a GPU, and brings a torch of its own choice.
    extras = [own for name, own in PROJECT["optional-dependencies"].items() if name != "vllm"]
    wanted = [*PROJECT["dependencies"], *(each for extra in extras for each in extra)]
    names = [re.match(r"[A-Za-z0-9_-]+", each).group() for each in wanted]
    assert [name for name in names if name not in pins] == []


def test_the_embedded_models_version_is_the_same_everywhere():
    for file in ("Makefile", "README.md", "environment.yml"):
        assert SMOLLM2_REQUIREMENT in (ROOT / file).read_text(), file
