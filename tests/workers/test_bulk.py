"""A bulk on real ranks: the outputs are those of ``generate``, whoever is killed on the way."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from architectures import ARCHITECTURES, build

import nbkit
from nbkit import figures
from nbkit.records.throughput import of_batches

ASKED = {"model": "tiny-random", "dtype": "float32", "max_new_tokens": 40, "ignore_eos": True}
OWNER = """
import json, resource, sys
import nbkit
source, folder, workers, asked, most_bytes = sys.argv[1:]
if int(most_bytes):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(most_bytes), int(most_bytes)))
with nbkit.Workers(int(workers)) as live:
    live.bulk(source, folder, **json.loads(asked))
"""


def varied(count: int) -> list[str]:
    """Prompts that all differ, of many lengths."""
    return [f"{number}: {line} {'ha ' * (number % 20)}" for number, line in enumerate(nbkit.first_lines(count))]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("source") / "prompts.txt"
    file.write_text("\n".join(varied(600)))
    return file


@pytest.fixture(scope="module")
def undisturbed(workers, source, tmp_path_factory) -> bytes:
    """The outputs of a bulk that nobody disturbed."""
    made = workers.bulk(source, tmp_path_factory.mktemp("bulk"), **ASKED)
    return (made.folder / "outputs.jsonl").read_bytes()


def outputs_of(folder: Path) -> bytes:
    return (folder / "outputs.jsonl").read_bytes()


@contextlib.contextmanager
def owner(source, folder, workers=2, most_bytes=0, **changes):
    command = [sys.executable, "-c", OWNER, source, folder, workers, json.dumps(ASKED | changes), most_bytes]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_outputs(folder: Path, count: int) -> None:
    """Until so many are done."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with contextlib.suppress(nbkit.InputError):
            if sum(1 for _ in nbkit.Bulk.open(folder)) >= count:
                return
        time.sleep(0.05)
    raise AssertionError(f"no {count} outputs in time")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"temperature": 0.9, "seed": 3},
        {"engine": "batched", "batch_size": 16, "token_budget": 3000},
        {"engine": "simple", "max_new_tokens": 4},
    ],
)
def test_a_bulk_gives_what_generate_gives(workers, tmp_path, changes):
    prompts, asked = varied(60), ASKED | changes
    made = workers.bulk(iter(prompts), tmp_path / "bulk", **asked)
    run = workers.generate(prompts, **asked)
    rows = list(made)
    assert [row["output"] for row in rows] == run.outputs
    assert [row["prompt"] for row in rows] == prompts
    for column in ("prompt_tokens", "new_tokens"):
        assert [row[column] for row in rows] == getattr(run, column)


def test_a_prompt_that_the_model_cannot_be_given_is_recorded(workers, tmp_path):
    prompts = ["a good one", "x" * 300, "", "another"]
    made = workers.bulk(prompts, tmp_path / "bulk", **ASKED)
    rows = list(made)
    assert [row["error"] is None for row in rows] == [True, False, False, True]
    assert "prompt 1 has 300 tokens" in rows[1]["error"]
    assert workers.generate([prompts[0], prompts[3]], **ASKED).outputs == [rows[0]["output"], rows[3]["output"]]
    with pytest.raises(nbkit.PromptError, match="prompt 1 has 300 tokens"):
        workers.bulk(prompts[:2], tmp_path / "stopped", on_error="stop", **ASKED)
    with pytest.raises(nbkit.InputError, match="max_new_tokens=256 leaves no room for a prompt"):
        workers.bulk(prompts, tmp_path / "none", **ASKED | {"max_new_tokens": 256})


@pytest.mark.parametrize("name", ["llama, dynamic NTK", "phi3, longrope"])
def test_prompts_that_are_computed_otherwise_beside_longer_ones_go_apart(workers, tmp_path, name):
    model = str(build(next(each for each in ARCHITECTURES if each.name == name), tmp_path / "model"))
    prompts = [text * times for times in (1, 3, 4, 1) for text in ("the cat sat ", "hello there ")]
    asked = {"model": model, "dtype": "float32", "max_new_tokens": 8}
    made = workers.bulk(prompts, tmp_path / "bulk", batch_size=4, **asked)
    assert [row["output"] for row in made] == workers.generate(prompts, engine="simple", **asked).outputs
    assert "go in a way of their own" in (tmp_path / "bulk" / "log.txt").read_text()


def test_a_killed_rank_is_no_end(source, undisturbed, tmp_path):
    folder = tmp_path / "bulk"
    with owner(source, folder) as process:
        wait_for_outputs(folder, 100)
        host = psutil.Process(process.pid).children()[0]
        host.children()[-1].kill()
        assert process.wait(120) == 0
    assert outputs_of(folder) == undisturbed
    assert "was killed (SIGKILL)" in (folder / "log.txt").read_text()


def test_a_run_is_opened_of_one_that_lost_a_rank_and_its_owner(source, tmp_path, workers):
    few, folder, asked = tmp_path / "few.txt", tmp_path / "bulk", ASKED | {"engine": "batched", "batch_size": 2}
    few.write_text("\n".join(varied(60)))
    with owner(few, folder, workers=2, **asked) as process:
        wait_for_outputs(folder, 10)
        psutil.Process(process.pid).children()[0].children()[-1].kill()
        wait_for_outputs(folder, 30)
        process.kill()
        process.wait()
    workers.bulk(few, folder, **asked)
    run = nbkit.Run.open(folder)
    assert run.summary()["prompts"] == "60 of 60"
    assert run.prompts == varied(60)
    assert run.outputs == workers.generate(varied(60), **asked).outputs
    assert run.attempts >= 2 and run.paused_s > 0 and run.untimed_prompts <= 8
    assert run.tokens_per_second > 0
    for rank in run.rank_numbers:
        parts = run.time_parts(rank)
        assert sum(parts.values()) == pytest.approx(run.wall_s)
        assert min(parts.values()) > -1e-3
    # Told after the outputs: what was written in the moment before a kill has none.
    assert run.latencies.ttft.count >= 60 - 8
    for tokens, times in zip(run.new_tokens, run.times, strict=True):
        assert times is None or times.inter_token.count == tokens - 1
        assert times is None or 0 <= times.taken_s <= times.end_s <= run.end_s
    assert figures.run_timeline(run).data
    assert figures.throughput_over_time(of_batches(run.batches, run.begin_s), run.rank_numbers).data
    assert nbkit.Run.load(run.save(tmp_path / "run.json")) == run


def test_who_was_killed_is_gone_on_with_by_another_number_of_ranks(source, undisturbed, tmp_path, workers):
    folder = tmp_path / "bulk"
    with owner(source, folder, workers=1) as process:
        wait_for_outputs(folder, 50)
        with pytest.raises(nbkit.InputError, match="another process is at the bulk"):
            workers.bulk(source, folder, **ASKED)
        process.kill()
        process.wait()
    status = nbkit.Bulk.open(folder).status()
    assert not status.is_running and not status.is_complete
    workers.bulk(source, folder, **ASKED | {"batch_size": 16, "order": "as_given"})
    assert outputs_of(folder) == undisturbed


def test_an_interrupted_one_is_gone_on_with(source, undisturbed, tmp_path, workers):
    folder = tmp_path / "bulk"
    with owner(source, folder) as process:
        wait_for_outputs(folder, 50)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
    workers.bulk(source, folder, **ASKED)
    assert outputs_of(folder) == undisturbed


def test_where_nothing_more_can_be_written_it_stops_with_a_sentence(source, undisturbed, tmp_path, workers):
    folder = tmp_path / "bulk"
    with owner(source, folder, most_bytes=60_000) as process:
        _, said = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "nothing more can be written in" in said
    assert nbkit.Bulk.open(folder).status().finished == sum(1 for _ in nbkit.Bulk.open(folder)) > 0
    workers.bulk(source, folder, **ASKED)
    assert outputs_of(folder) == undisturbed


def test_a_full_disk_is_told_and_with_room_it_goes_on(tmp_path, workers):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        with pytest.raises(nbkit.NbkitError, match=r"nothing more can be written in .* \(No space left on device\)"):
            workers.bulk(varied(1500), disk / "bulk", **ASKED)
        made = nbkit.Bulk.open(disk / "bulk")
        assert made.status().finished == sum(1 for _ in made)
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        made = workers.bulk(varied(1500), disk / "bulk", **ASKED)
        assert [row["output"] for row in made] == workers.generate(varied(1500), **ASKED).outputs
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_command_makes_a_folder_and_goes_on_with_it(tmp_path):
    prompts = tmp_path / "p.csv"
    prompts.write_text("prompt,id\none,1\n,2\ntwo\nthree,3\n")
    command = [sys.executable, "-m", "nbkit", "generate", prompts, "--out", tmp_path / "night"]
    asked = ["--model", "tiny-random", "--max-new-tokens", "4", "--workers", "1"]
    for _ in range(2):
        ran = subprocess.run([*map(str, command), *asked], capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stderr
        assert "saved 3 outputs in" in ran.stdout.replace("\n", " ")
    rows = list(nbkit.Bulk.open(tmp_path / "night"))
    assert [row["prompt"] for row in rows] == ["one", None, "three"]
    refused = subprocess.run([*map(str, command), *asked, "--seed", "4"], capture_output=True, text=True, timeout=120)
    assert refused.returncode == 2
    assert "seed 0, not 4" in refused.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_and_a_full_disk_at_random_moments_change_no_output(workers, tmp_path):
    source, dice, folder, done = tmp_path / "many.txt", random.Random(5), tmp_path / "bulk", []
    source.write_text("\n".join(long_tailed(12_000)))
    undisturbed = outputs_of(workers.bulk(source, tmp_path / "undisturbed", **ASKED).folder)
    while not (folder / "outputs.jsonl").exists():
        with owner(source, folder, workers=dice.choice((1, 2, 3))) as process:
            while process.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(dice.uniform(3, 10))
                if process.poll() is None and len(done) < 10:
                    done.append(disturb(process, dice, full=len(done) == 3))
    assert len(done) >= 5
    assert outputs_of(folder) == undisturbed


def long_tailed(count: int) -> list[str]:
    """Prompts that all differ, of log-normal lengths, about 1% of them as long as the context allows."""
    dice = random.Random(1)
    lengths = [min(215, max(9, round(dice.lognormvariate(3.1, 1.0)))) for _ in range(count)]
    return [f"{number}: {'the cat sat on it ' * 12}"[:length].strip() for number, length in enumerate(lengths)]


def disturb(process: subprocess.Popen[str], dice: random.Random, full: bool) -> str:
    """Kill or interrupt a process of a bulk, or let none of them write more than a few bytes into a file."""
    processes = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    with contextlib.suppress(psutil.NoSuchProcess):
        if full:
            for each in processes:
                each.rlimit(psutil.RLIMIT_FSIZE, (4096, psutil.RLIM_INFINITY))
            return "no room"
        dice.choice(processes).send_signal(dice.choice((signal.SIGKILL, signal.SIGINT)))
    return "signal"
