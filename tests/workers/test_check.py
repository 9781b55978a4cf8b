"""``nbkit check`` for real, on this machine: what it finds is in its file, and nothing of it is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import psutil
import pytest

from nbkit.app.check.catalog import CHECKS
from nbkit.inference.workers import Workers
from nbkit.measure.plain_generate import plain_generate_on_rank
from nbkit.records.engine_spec import ENGINES

CHECK = [sys.executable, "-m", "nbkit", "check"]


def check(tmp_path, *arguments: str, timeout_s: float = 280) -> tuple[str, dict[str, Any]]:
    """What the command prints, in a folder without notebooks, and what its file holds."""
    command = [*CHECK, "--out", "found.json", *arguments]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=timeout_s)
    assert "Traceback" not in ran.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["ended"] == "whole"
    # Whether figures meet their aims is the machine's matter; that the code tells of it is not.
    assert ran.returncode == (1 if found["counts"]["failed"] else 0), ran.stdout
    for finding in found["findings"]:
        assert finding["said"]
        assert finding["outcome"] in ran.stdout
    return ran.stdout, found


def of(found: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return [finding for finding in found["findings"] if finding["check"] == name]


def outcomes(found: dict[str, Any], *names: str) -> set[str]:
    return {finding["outcome"] for name in names for finding in of(found, name)}


@pytest.mark.slow
def test_ranks_are_checked(tmp_path):
    _, found = check(tmp_path, "--only", "doctor,hello,errors,kills")
    assert {finding["check"] for finding in found["findings"]} == {"doctor", "hello", "errors", "kills"}
    assert outcomes(found, "hello", "kills") <= {"passed", "skipped"}
    assert all(each["numbers"]["same_ranks"] for each in of(found, "errors"))
    assert found["command"].startswith("nbkit check --out found.json")


def test_what_the_time_is_too_short_for_is_named(tmp_path):
    printed, found = check(tmp_path, "--only", "texts,speed,first-runs", "--minutes", "0.001")
    assert outcomes(found, "texts", "speed", "first-runs") == {"skipped"}
    assert "no time left" in printed


def test_an_interrupt_writes_what_is_found_and_ends_the_ranks(tmp_path, gone_within):
    out = tmp_path / "found.json"
    process = subprocess.Popen(
        [*CHECK, "--only", "doctor,hello,errors,kills", "--out", str(out)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("passed   hello"):
            break
    children = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped by Ctrl-C" in rest
    found = json.loads(out.read_text())
    assert found["ended"] == "interrupted"
    assert "passed" in outcomes(found, "hello")
    assert children
    assert gone_within(children, 10)


@pytest.mark.model
def test_plain_generate_counts_what_users_get():
    with Workers(1) as one:
        [found] = one.run(plain_generate_on_rank, "tiny-random", "float32", ["one", "two", "three"], 5, 2, 2)
    assert (found.cache, found.batch_size, found.new_tokens) == ("dynamic", 2, 15)
    assert found.wall_s > 0 and found.first_call_s > 0
    assert found.tokens_per_second == 15 / found.wall_s


@pytest.mark.model
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_everything_is_checked(tmp_path):
    printed, found = check(tmp_path, timeout_s=580)
    assert {finding["check"] for finding in found["findings"]} == set(CHECKS)
    assert [each["part"] for each in of(found, "texts")] == list(ENGINES)
    assert outcomes(found, "texts") <= {"passed", "skipped"}
    speeds = {each["part"]: each for each in of(found, "speed")}
    assert speeds["compiled, 16 at once"]["numbers"]["limit_share"] > 0
    assert speeds["transformers' generate, 16 at once"]["numbers"]["cache"] == "dynamic"
    assert "warm_up_s" in speeds["compiled, 16 at once"]["numbers"]
    firsts = [each for each in of(found, "first-runs") if each["outcome"] != "skipped"]
    assert all(len(runs) == 3 for each in firsts for runs in each["numbers"]["tokens_per_s"])
    assert [each["said"] for each in of(found, "load")] == ["the GPUs' load: there is no GPU"]
    assert outcomes(found, "notebooks") == {"skipped"}
    assert "there is no folder notebooks here" in printed.replace("\n" + " " * 21, " ")
