"""Every script in benchmarks/ says what it takes, and runs to its end on a small model."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    path.name for path in (ROOT / "benchmarks").glob("*.py") if '__name__ == "__main__"' in path.read_text()
)
TINY = ("--model", "tiny-random")
FEW = ("--prompts", "4", "--max-new-tokens", "3")
SHORT_RUNS: dict[str, tuple[str, ...]] = {
    "bulk.py": (
        *(*TINY, *FEW, "--rounds", "1", "--kills", "1", "--disk-full", "1", "--killed-prompts", "2000"),
        *("--many-prompts", "1500", "--first-look", "500", "--large-MB", "5"),
    ),
    "classroom.py": (*TINY, "--workers", "1", "--counts", "1", "2", "--prompts", "2", "--new-tokens", "3"),
    "compare.py": (*TINY, *FEW, "--rounds", "1", "--only", "kit compiled"),
    "dashboard_cost.py": (*TINY, *FEW, "--pairs", "1", "--batch-size", "2", "--seconds", "0.5"),
    "dashboard_soak.py": ("--cell-runs", "2", "--runs", "25"),
    "decode_bound.py": (*TINY, *FEW, "--rounds", "1", "--contenders", "simple", "compiled:2", "static:2"),
    "demos.py": (*TINY, *FEW, "--pairs", "1", "--batch-size", "2"),
    "first_runs.py": (*TINY, *FEW, "--processes", "1", "--engines", "compiled", "simple"),
    "memory.py": (*TINY, "--counts", "1", "2", "--dtypes", "float32", "--repeats", "1"),
    "pinning.py": (*TINY, *FEW, "--rounds", "1"),
    "precision.py": (*TINY, *FEW, "--rounds", "1"),
    "proof.py": (*TINY, "--dtypes", "float32", "--rounds", "1"),
    "schedules.py": (*TINY, "--prompts", "24", "--max-new-tokens", "6", "--words", "5", "--rounds", "1"),
    "start_up.py": (
        *(*TINY, "--prompts", "2", "--jobs", "3", "--launches", "1", "--live-jobs", "1"),
        *("--counts", "2", "--rounds", "1"),
    ),
    "what_if.py": (*TINY, "--rounds", "2", "--shorter", "10"),
    "workshop.py": (*TINY, "--rounds", "1"),
}
"""Scripts that write a result, and the options with which they do so soon."""


def run(script: str, *arguments: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
    """Run a benchmark from the repository, as its README says."""
    command = [sys.executable, f"benchmarks/{script}", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout_s
    )


@pytest.mark.ranks
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_benchmark_says_what_it_takes(script):
    ran = run(script, "--help")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(f"usage: {script}")


@pytest.mark.slow
@pytest.mark.parametrize("script", SHORT_RUNS)
def test_every_benchmark_runs_and_writes_its_result(script, tmp_path):
    out = tmp_path / "result.json"
    ran = run(script, *SHORT_RUNS[script], "--out", str(out))
    # The simulation of a model as small as this one may miss its target: that is a finding, too.
    assert ran.returncode in ((0, 1) if script == "what_if.py" else (0,)), ran.stderr
    result = json.loads(out.read_text())
    assert result["question"].endswith("?")
    assert result["command"].startswith(f"python benchmarks/{script} ")
    assert f"written to {out}" in ran.stdout


def test_every_benchmark_is_tried():
    others = {
        "dashboard_latency.py",
        "fresh_launch.py",
        "llama_cpp_peer.py",
        "random_llama.py",
        "vllm_peer.py",
    }
    assert {*SHORT_RUNS, *others} == set(SCRIPTS)


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="there is no Chromium")
def test_the_time_from_a_slider_to_the_figure_is_measured(tmp_path):
    out = tmp_path / "result.json"
    ran = run("dashboard_latency.py", "--moves", "2", "--out", str(out))
    assert ran.returncode == 0, ran.stderr
    assert len(json.loads(out.read_text())["moves"]) == 2


@pytest.mark.slow
def test_a_contender_that_refuses_is_named_and_the_others_go_on(tmp_path):
    out = tmp_path / "result.json"
    ran = run(
        "decode_bound.py", *TINY, *FEW, "--rounds", "1", "--contenders", "warp:2", "compiled:2", "--out", str(out)
    )
    assert ran.returncode == 0, ran.stderr
    result = json.loads(out.read_text())
    assert [row["contender"] for row in result["table"]] == ["compiled:2"]
    assert result["refused"]["warp:2"].startswith("InputError: engine must be one of")
    assert "warp:2: InputError: engine must be one of" in ran.stdout


@pytest.mark.slow
def test_a_fresh_launch_prints_its_moments():
    ran = run("fresh_launch.py", "2", "tiny-random", "float32")
    assert ran.returncode == 0, ran.stderr
    [moments] = [line for line in ran.stdout.splitlines() if line.startswith("moments:")]
    assert json.loads(moments.removeprefix("moments:"))["processes"] == 2


@pytest.mark.slow
def test_a_model_of_random_weights_is_written(tmp_path):
    ran = run("random_llama.py", str(tmp_path), "--layers", "1")
    assert ran.returncode == 0, ran.stderr
    assert json.loads((tmp_path / "config.json").read_text())["hidden_size"] == 4096
    assert list(tmp_path.glob("*.safetensors"))


@pytest.mark.ranks
@pytest.mark.parametrize(
    ("script", "package", "what"), [("vllm_peer.py", "vllm", "folder"), ("llama_cpp_peer.py", "llama_cpp", "file")]
)
def test_a_peer_that_is_not_installed_is_named(script, package, what):
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    ran = run(script, what, "float32")
    assert ran.returncode == 1
    assert ran.stderr.strip().startswith(f"{package} is not installed for {sys.executable}: python -m pip install ")
    assert len(ran.stderr.strip().splitlines()) == 1


@pytest.mark.ranks
def test_a_browser_that_is_not_there_is_named(tmp_path):
    environment = {**os.environ, "PATH": str(tmp_path)}
    command = [sys.executable, "benchmarks/dashboard_latency.py", "--out", str(tmp_path / "result.json")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert ran.returncode == 1
    assert ran.stderr.strip() == (
        "dashboard_latency.py drives Chromium: apt-get install chromium; python -m pip install playwright"
    )
