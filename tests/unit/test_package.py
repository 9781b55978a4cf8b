from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from test_floors import FLOORS

import nbkit
from nbkit.errors import MissingExtra
from nbkit.models.embedded import SMOLLM2_REQUIREMENT, build_smollm2

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


FOR_RANKS = ("torch", "transformers", "accelerate")
FOR_NOTEBOOKS = ("ipywidgets", "plotly", "jupyterlab")


@pytest.mark.ranks
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


@pytest.mark.ranks
def test_workers_and_command_line_need_no_notebook_packages():
    code = (
        "import sys\n"
        "for name in ('ipywidgets', 'plotly', 'jupyterlab', 'voila', 'anywidget', 'IPython', 'gguf'):\n"
        "    sys.modules[name] = None\n"
        "import nbkit, nbkit.app.cli.commands, nbkit.inference.generation, nbkit.app.doctor\n"
        "print(nbkit.launch(int, num_processes=1))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.strip() == "[0]", ran.stderr


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("wanted", "missing"), [("dashboards", "ipywidgets"), ("dashboards", "plotly"), ("figures", "plotly")]
)
def test_what_needs_an_extra_says_how_to_get_it(wanted, missing):
    code = f"import sys; sys.modules[{missing!r}] = None\nfrom nbkit import {wanted}"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    sentence = f'{missing} is not installed; run: python -m pip install "nbkit[lab]"'
    assert ran.stderr.splitlines()[-1] == f"nbkit.errors.MissingExtra: {sentence}"
    assert "During handling" not in ran.stderr


def test_a_missing_extra_is_caught_as_any_missing_package_is():
    assert issubclass(MissingExtra, ImportError)


def test_the_embedded_model_without_gguf_names_its_extra(monkeypatch, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "gguf" else found(name))
    with pytest.raises(nbkit.ModelError, match=r'run: python -m pip install "nbkit\[demo\]"$'):
        build_smollm2(tmp_path)


def test_every_public_name_is_there():
    assert sorted(nbkit.__all__) == sorted(nbkit._HOME)
    for name in nbkit.__all__:
        assert getattr(nbkit, name) is not None
    assert set(nbkit.__all__) <= set(dir(nbkit))


def test_the_version_is_the_projects():
    assert nbkit.__version__ == PROJECT["version"]


def test_environment_yml_is_in_step():
    pip = re.findall(r"^      - (.+)$", (ROOT / "environment.yml").read_text(), re.MULTILINE)
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["lab"], *extras["demo"]]
    assert [line for line in pip if not line.startswith("-")] == wanted


def test_every_file_of_the_package_is_installed():
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["nbkit"]
    installed = {path for pattern in patterns for path in (ROOT / "nbkit").glob(pattern)}
    others = {path for path in (ROOT / "nbkit").rglob("*.*") if path.suffix not in (".py", ".pyc")}
    assert others == installed
    assert all(path.with_name("__init__.py").exists() for path in (ROOT / "nbkit").rglob("*.py"))


def test_the_licence_is_the_one_that_is_named():
    assert PROJECT["license"] == "Apache-2.0"
    [file] = PROJECT["license-files"]
    assert (ROOT / file).read_text().split()[:4] == ["Apache", "License", "Version", "2.0,"]


def test_every_direct_dependency_is_pinned():
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    # vllm is for machines with a GPU, and brings a torch of its own choice.
    extras = [own for name, own in PROJECT["optional-dependencies"].items() if name != "vllm"]
    wanted = [*PROJECT["dependencies"], *(each for extra in extras for each in extra)]
    names = [re.match(r"[A-Za-z0-9_-]+", each).group() for each in wanted]
    assert [name for name in names if name not in pins] == []


def test_the_table_of_rooms_is_this_house():
    architecture = (ROOT / "docs/architecture.md").read_text()
    rooms = re.findall(r"^\| `nbkit/(\w+)(?:/|\.py)` \|", architecture, re.MULTILINE)
    assert rooms == FLOORS[::-1]


def test_modules_are_named_where_they_are():
    """In what people read; names of version 0.1 lead elsewhere and are not for new code."""
    readers = [
        ROOT / "README.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "benchmarks").glob("*.*"),
        *(ROOT / "lessons").glob("*/*.py"),
    ]
    text = "\n".join(path.read_text() for path in readers)
    modules = {
        *re.findall(r"^ *(?:from|import) (nbkit\.[\w.]+)", text, re.MULTILINE),
        *(path.replace("/", ".") for path in re.findall(r"\b(nbkit/[\w/]+)", text)),
    }
    assert "nbkit.analysis.scaling" in modules
    files = {module: ROOT / module.rstrip(".").replace(".", "/") for module in modules}
    assert [name for name, file in files.items() if not (file.is_dir() or file.with_suffix(".py").is_file())] == []


def test_the_embedded_models_version_is_the_same_everywhere():
    for file in ("Makefile", "docs/start.md", "environment.yml"):
        assert SMOLLM2_REQUIREMENT in (ROOT / file).read_text(), file
