from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time

import pytest

from nbkit.records import Run

NBKIT = [sys.executable, "-m", "nbkit"]
TINY = ["--model", "tiny-random", "--max-new-tokens", "4"]


def nbkit(*arguments) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*NBKIT, *map(str, arguments)], capture_output=True, text=True, timeout=120)


def test_help_names_the_commands():
    ran = nbkit("--help")
    assert ran.returncode == 0
    assert all(command in ran.stdout for command in ("demo", "generate", "sweep", "doctor"))


def test_doctor_says_what_there_is():
    ran = nbkit("doctor")
    assert ran.returncode == 0, ran.stdout
    assert "nbkit can run here" in ran.stdout
    assert "torch" in ran.stdout


def test_demo_runs_all_three_and_saves_what_it_says(tmp_path):
    ran = nbkit("demo", *TINY, "--workers", 2, "--prompts", 10, "--out", tmp_path / "results")

    assert ran.returncode == 0, ran.stderr
    for rank in (0, 1):
        assert re.search(rf"Hello this is (GPU|CPU worker) {rank} ", ran.stdout)
    assert "tokens/s" in ran.stdout
    for engine in ("simple", "batched"):
        run = Run.load(tmp_path / "results" / f"demo-{engine}.json")
        assert len(run.outputs) == 10
        assert run.is_complete
        assert run.settings.engine == engine
    assert (tmp_path / "results" / "report.html").stat().st_size > 1_000_000


def test_generate_writes_a_line_a_prompt_or_the_whole_run(tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one\ntwo\nthree\n")

    assert nbkit("generate", prompts, "--out", tmp_path / "o.jsonl", *TINY).returncode == 0
    assert nbkit("generate", prompts, "--out", tmp_path / "o.json", *TINY, "--workers", 1).returncode == 0

    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [(line["index"], line["prompt"]) for line in lines] == [(0, "one"), (1, "two"), (2, "three")]
    assert [line["output"] for line in lines] == Run.load(tmp_path / "o.json").outputs


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
        (["prompts.txt", "--out", "o.json", "--batch-size", "x"], "--batch-size"),
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
    for arguments, message in ((["--model", "nope"], "unknown model"), (["--workers", "1000"], "at most")):
        ran = nbkit("generate", prompts, "--out", tmp_path / "o.json", *arguments)
        assert ran.returncode == 1
        assert message in ran.stderr
        assert "Traceback" not in ran.stderr


def test_an_interrupt_saves_what_is_finished(tmp_path):
    prompts, out = tmp_path / "prompts.txt", tmp_path / "o.jsonl"
    prompts.write_text("once upon a time\n" * 20_000)
    process = subprocess.Popen(
        [*NBKIT, "generate", prompts, "--out", out, "--engine", "simple", "--max-new-tokens", "8"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    time.sleep(15)
    process.send_signal(signal.SIGINT)
    try:
        said, _ = process.communicate(timeout=30)
    finally:
        process.kill()

    assert process.returncode == 130, said
    assert "stopped." in said
    assert 0 < len(out.read_text().splitlines()) < 20_000
