"""The wall with real processes: learners in kernels of their own, by a folder and at an address; limits, reset."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import nbkit
from nbkit.app import doctor, reset
from nbkit.app.wall import server as wall_server_module
from nbkit.app.wall.address import Address, AddressSender, id_of, read_address
from nbkit.app.wall.folder import make_wall
from nbkit.app.wall.server import Refused, SentEntries, WallServer, wall_server
from nbkit.app.wall.source import Wall
from nbkit.errors import InputError
from nbkit.files import machine
from nbkit.records.wall_entry import MOST_BYTES, WallEntry
from nbkit.runtime import Log
from nbkit.runtime.launchers import host
from nbkit.runtime.pool import Pool

LEARNER = """
import nbkit, sys
nbkit.join_wall(sys.argv[1], name=sys.argv[2])
with nbkit.Workers(1) as workers:
    for size in (1, 2):
        workers.generate(["a secret prompt"] * 2, model="tiny-random", max_new_tokens=3, batch_size=size)
"""
NOBODY = 65534


@contextlib.contextmanager
def served(server: WallServer) -> Iterator[str]:
    """A server in a thread of its own; its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> str:
        return server.start()

    yield asyncio.run_coroutine_threadsafe(start(), loop).result(20)
    loop.call_soon_threadsafe(server.stop)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)


@pytest.fixture
def address() -> Iterator[str]:
    with served(wall_server(None, 3)) as made:
        yield made


def learners(where: str, *names: str) -> list[subprocess.Popen[str]]:
    return [
        subprocess.Popen([sys.executable, "-c", LEARNER, where, name], stderr=subprocess.PIPE, text=True)
        for name in names
    ]


def all_end_well(running: list[subprocess.Popen[str]]) -> None:
    for each in running:
        _, error = each.communicate(timeout=120)
        assert each.returncode == 0, error
        assert "without the wall" not in error


def sent(number: int, key: str) -> str:
    return WallEntry(id_of(key), f"L{number}", 1000.0, 1000.0, 0, []).to_json()


def get(url: str, method: str = "GET", body: bytes | None = None) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, method=method), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_three_kernels_are_on_the_wall_in_a_folder(tmp_path):
    made = make_wall(tmp_path / "wall")
    all_end_well(learners(str(made), "Ada", "Bob", "Ada"))
    wall = Wall.at(made, ["Ada", "Bob", "Cy"])
    board = wall.board(wall.read())
    assert sorted(learner.name for learner in board.ranked) == ["Ada", "Ada (2)", "Bob"]
    assert [learner.runs_done for learner in board.learners] == [2, 2, 2]
    assert board.missing == ["Cy"]
    assert all("secret" not in file.read_text() for file in made.iterdir())


@pytest.mark.slow
def test_two_kernels_and_a_dashboard_meet_at_an_address(address):
    all_end_well(learners(address, "Ada", "Bob"))
    wall = Wall.at(address)
    board = wall.board(wall.read())
    assert sorted(learner.name for learner in board.ranked) == ["Ada", "Bob"]
    assert board.notes == []


def test_without_the_token_nothing_is_answered(address):
    base, _, token = address.partition("/?token=")
    for path in ("", "board", "entries"):
        assert get(f"{base}/{path}")[0] == 403
        assert get(f"{base}/{path}?token=x{token}")[0] == 403
        assert get(f"{base}/{path}?token={token}")[0] == 200
    assert get(f"{base}/entry", "PUT", sent(1, "k" * 32).encode())[0] == 403
    assert read_address(Address(address)).entries == []


def test_what_is_sent_is_bounded_and_an_entry_is_its_senders(address):
    wall = Address(address)
    wall.ask("PUT", "entry", sent(1, "a" * 32), "a" * 32)
    for body, key, why in (
        (sent(2, "a" * 32), "b" * 32, "another's"),
        (sent(2, "short"), "short", "another's"),
        ("[" * 30_000, "c" * 32, "no entry"),
        ("x" * (MOST_BYTES + 1), "d" * 32, "wall"),
        (sent(3, "a" * 32), "a" * 32, "too often"),
    ):
        with pytest.raises(InputError, match=why):
            wall.ask("PUT", "entry", body, key)
    wall.ask("DELETE", "entry", key="e" * 32)
    assert [entry.name for entry in read_address(wall).entries] == ["L1"]


def test_a_wall_of_entries_is_full_some_day():
    now = [0.0]
    entries = SentEntries(clock=lambda: now[0])
    for number in range(wall_server_module.MOST_FROM_ONE_HOST):
        now[0] += 1
        key = f"{number:032}"
        entries.put("one", key, sent(number, key).encode())
    with pytest.raises(Refused, match="full: 100 entries are from one"):
        entries.put("one", "x" * 32, sent(0, "x" * 32).encode())
    entries.put("two", "x" * 32, sent(0, "x" * 32).encode())
    with pytest.raises(Refused, match="too often"):
        for _ in range(wall_server_module.MOST_A_SECOND + 1):
            entries.put("two", "z" * 32, sent(0, "z" * 32).encode())


def test_a_server_that_starts_again_has_its_learners_again():
    sender = AddressSender("http://127.0.0.1:1/?token=x")
    with served(wall_server(None)) as first:
        sender._address = Address(first)
        begun = sender.begin(WallEntry("0" * 16, "Ada", 1000.0, 1000.0, 0, []))
    with served(wall_server(None)) as second:
        sender._address = Address(second)
        sender.send(begun)
        assert [entry.name for entry in read_address(Address(second)).entries] == ["Ada"]


def test_a_wall_that_is_gone_is_told_on_the_page_and_found_again(tmp_path):
    made = make_wall(tmp_path / "wall")
    with served(wall_server(made)) as address:
        base, _, token = address.partition("/?token=")
        shutil.rmtree(made)
        status, said = get(f"{base}/board?token={token}")
        assert (status, "cannot be read" in said) == (500, True)
        make_wall(made)
        assert get(f"{base}/board?token={token}")[0] == 200
        assert get(f"{base}/entry?token={token}", "PUT", b"{}")[1].startswith("learners join this wall by its folder")
        assert get(f"{base}/board?token={token}&shown=[1]")[0] == 400
        board = json.loads(get(f"{base}/board?token={token}&shown=%5B%22a%22,%22b%22%5D")[1])
        assert board["shown"] == ["a", "b"]


def test_what_answers_and_is_no_wall_is_said(address):
    base, _, token = address.partition("/?token=")
    with pytest.raises(InputError, match="is no wall"):
        reading = Address(f"{base}/?token={token}")
        reading.ask = lambda *_: b"[1]"
        read_address(reading)


def test_the_command_makes_the_wall_says_how_to_join_and_ends_when_interrupted(tmp_path):
    command = [sys.executable, "-m", "nbkit", "wall", str(tmp_path / "wall"), "--expect", "Ada,Bob"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    lines = [running.stdout.readline() for _ in range(3)]
    address = lines[0].split()[-1]
    try:
        assert address.startswith("http://127.0.0.1:")
        assert f"nbkit.join_wall('{tmp_path}/wall', name='...')" in lines[1]
        assert "this machine alone" in lines[2]
        assert get(address)[0] == 200
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=20)
    assert running.returncode == 130


# A shared node.


@pytest.mark.parametrize("name", [machine.MAX_RANKS, machine.MAX_CORES])
def test_a_limit_that_is_no_number_starts_nobody(monkeypatch, name):
    monkeypatch.setenv(name, "many")
    with Pool(1) as workers, pytest.raises(nbkit.WorkersError, match=f"{name}='many'"):
        workers.run(int)


def test_the_most_ranks_of_a_learner_are_heeded_and_said(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    monkeypatch.setenv(machine.MAX_RANKS, "1")
    with Pool(None) as workers:
        job = workers.submit(os.getpid)
        assert len(job.result()) == 1
    assert any("NBKIT_MAX_RANKS=1" in event.text for event in job.events() if isinstance(event, Log))
    with Pool(2) as workers, pytest.raises(nbkit.WorkersError, match="2 workers are asked for; NBKIT_MAX_RANKS=1"):
        workers.run(int)


def test_doctor_says_the_limits_of_a_learner(monkeypatch):
    for name, value in ((machine.MAX_RANKS, "2"), (machine.MAX_CORES, "none"), ("CUDA_VISIBLE_DEVICES", "3")):
        monkeypatch.setenv(name, value)
    found = [(check.mark, check.found) for check in doctor._limits()]
    assert [mark for mark, _ in found] == ["ok", "!", "ok"]
    assert "NBKIT_MAX_RANKS=2: at most so many workers" in found[0][1]
    assert "NBKIT_MAX_CORES='none'" in found[1][1]
    assert "CUDA_VISIBLE_DEVICES=3" in found[2][1]


def test_the_most_cores_of_a_learner_give_the_threads_of_its_ranks(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(64))
    monkeypatch.setattr(machine.cgroups, "cores", lambda root: iter(()))
    assert machine.usable_cores() == 64
    monkeypatch.setenv(machine.MAX_CORES, "8")
    assert (machine.usable_cores(), host._threads(2)) == (8, 4)
    monkeypatch.setenv(machine.MAX_CORES, "100")
    assert machine.usable_cores() == 64


def python_of(user: list[str]) -> str:
    """A Python like this one that another user can run: a virtual environment may lead into a home folder."""
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        tried = subprocess.run([*user, "sh", "-c", f"{python} -c 'import torch'"], env=for_all(), capture_output=True)
        if tried.returncode == 0:
            return python
    pytest.skip("another user can run no Python with these packages")


def for_all() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="becoming another user takes root")
def test_reset_ends_and_removes_what_is_this_users_and_nothing_else(tmp_path):
    """As nobody, beside workers of this user: they, and what is not below nobody's home, stay."""
    with Pool(1) as others, tempfile.TemporaryDirectory() as home:
        [own_pid] = others.run(os.getpid)
        for path in ("cache/nbkit/models/m", "results", "thesis", "cache/nbkit/notes"):
            (Path(home) / path).mkdir(parents=True)
        (Path(home) / "linked").symlink_to(tmp_path)
        subprocess.run(["chown", "-hR", str(NOBODY), home], check=True)
        (Path(home) / "mine").mkdir()  # this user's, in nobody's home
        os.chmod(home, 0o755)
        as_nobody = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
        python = python_of(as_nobody)
        environment = {**for_all(), "HOME": home, "XDG_CACHE_HOME": f"{home}/cache"}
        environment.pop("NBKIT_CACHE", None)
        hold = (
            "from nbkit.runtime.pool import Pool; import sys; p = Pool(1); p.run(int); print(1, flush=True); input()"
        )
        kernel = subprocess.Popen(
            [*as_nobody, python, "-c", hold],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert kernel.stdout.readline() == "1\n"
        folders = [
            word for name in ("results", "linked", "mine", "nowhere") for word in ("--results", f"{home}/{name}")
        ]
        command = [*as_nobody, python, "-m", "nbkit", "reset", *folders]

        asked = subprocess.run(command, input="n\n", capture_output=True, text=True, env=environment, timeout=60)
        assert "Nothing was done." in asked.stdout, asked.stderr
        assert (Path(home) / "results").exists()

        ran = subprocess.run([*command, "--yes"], capture_output=True, text=True, env=environment, timeout=60)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.count("ends      workers of process") == 1
        for said in (
            f"removes   {home}/results",
            f"leaves    {home}/linked: it is a link",
            "mine: it is another user's",
        ):
            assert said in ran.stdout
        left = {str(path.relative_to(home)) for path in Path(home).rglob("*")}
        assert left == {"cache", "cache/nbkit", "cache/nbkit/notes", "thesis", "linked", "mine"}
        assert others.run(os.getpid) == [own_pid]
        kernel.communicate("\n", timeout=30)


def test_a_cache_that_all_share_stays(monkeypatch, tmp_path):
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path / "shared"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "shared" / "models").mkdir(parents=True)
    found = reset.find_leftovers([tmp_path])
    assert found.paths == []
    assert len(found.kept) == 2
