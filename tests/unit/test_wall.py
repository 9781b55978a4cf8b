"""The wall: entries, folders with hostile files, names told apart, what is shown, and joining."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from example_runs import run as example_run
from hypothesis import given
from hypothesis import strategies as st
from shown_widgets import words

import nbkit
from nbkit import figures
from nbkit.analysis.wall import Names
from nbkit.app.dashboards import wall as dashboard
from nbkit.app.wall import folder as wall_folder
from nbkit.app.wall import joining
from nbkit.app.wall.folder import FolderSender, make_wall, read_wall
from nbkit.app.wall.in_words import headline_html, table_html
from nbkit.app.wall.source import FolderSource, Wall
from nbkit.errors import InputError
from nbkit.inference import finished_runs
from nbkit.records.stored import Damaged
from nbkit.records.wall_entry import MOST_BYTES, MOST_RUNS, WallEntry, WallRun, check_learner_name, entry_from

NOBODY = 65534
MARKUP = "<b onclick=a>x</b>&amp;"
as_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="becoming another user takes root"
)


def entry(number: int, name: str = "Ada", runs: tuple[WallRun, ...] = (), **changes: object) -> WallEntry:
    made = WallEntry(f"{number:016x}", name, 1000.0 + number, 1000.0 + number, 0, [])
    for each in runs:
        made = made.with_run(each)
    return dataclasses.replace(made, **changes)


def a_run(batch_size: int = 4, speed: float = 100.0, **changes: object) -> WallRun:
    made = WallRun("tiny-random", "batched", "float32", "cpu", 2, batch_size, 10, 70, speed, 1000.0)
    return dataclasses.replace(made, **changes)


@pytest.fixture
def wall(tmp_path):
    return make_wall(tmp_path / "wall")


@pytest.fixture
def wall_for_all():
    """A wall that other users can reach: pytest's own folders are their user's alone."""
    with tempfile.TemporaryDirectory() as above:
        os.chmod(above, 0o755)
        yield make_wall(Path(above) / "wall")


@pytest.fixture(autouse=True)
def on_no_wall_afterwards():
    yield
    for each in joining._joined:
        each._end()
    joining._joined.clear()


def put(wall, number, data):
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    (wall / f"{number:016x}.json").write_bytes(text)


def finish(run) -> None:
    """A run finishes in this kernel, as Workers tell it."""
    for observer in list(finished_runs._observers):
        observer(run)


# Entries.


def test_an_entry_has_of_a_run_its_numbers_and_neither_prompt_nor_output():
    run = example_run()
    shown = entry(1).with_run(WallRun.of(run)).to_json()
    assert run.prompts[0] in str(run.to_dict())
    assert "prompt 0" not in shown
    assert "output" not in shown
    assert json.loads(shown)["runs"][0]["batch_size"] == run.batch_size
    assert entry_from(shown).runs[0].tokens_per_second == pytest.approx(run.tokens_per_second, abs=0.01)


def test_of_a_folder_of_the_learners_only_the_last_name_is_shown(tmp_path):
    for model in (str(tmp_path / "secret"), "~/secret", "./secret"):
        assert WallRun.of(example_run(model=model)).model == "secret"
    assert WallRun.of(example_run(model="someone/model")).model == "someone/model"


def test_only_the_best_of_a_kind_is_kept_and_every_run_is_counted():
    made = entry(1, runs=(a_run(4, 100), a_run(4, 90), a_run(8, 50), a_run(4, 120)))
    assert [(run.batch_size, run.tokens_per_second) for run in made.runs] == [(8, 50), (4, 120)]
    assert made.with_run(None).runs_done == 5


def test_an_entry_is_never_larger_than_a_wall_takes():
    made = entry(1, name="é" * 24)
    for number in range(2 * MOST_RUNS):
        made = made.with_run(a_run(number + 1, model="\U0001f600" * 80))
    assert len(made.to_json()) <= MOST_BYTES
    assert entry_from(made.to_json()).runs_done == 2 * MOST_RUNS


@pytest.mark.parametrize("name", ["", "  ", "a" * 25, "a\nb\x07", "‮desrever", "z" + "́" * 9, 7, None, "\ud800"])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(InputError, match="name for the wall"):
        check_learner_name(name)


def test_names_of_all_scripts_are_names():
    for name in ("Ada", "Zoë", "Đỗ Ánh", "张伟", "مريم", "नेहा", MARKUP[:24]):
        assert entry_from(entry(1, name=check_learner_name(name)).to_json()).name
    assert check_learner_name("  Ada   L ") == "Ada L"


BAD = {
    "a list": [],
    "nothing": b"",
    "half": entry(1).to_json().encode()[:40],
    "deep": b"[" * 30_000,
    "deep, in a field": b'{"version":1,"runs":' + b"[" * 30_000,
    "a long number": b'{"version":' + b"1" * 30_000 + b"}",
    "no utf-8": b'{"version":1,"name":"\xff\xfe"}',
    "nan": entry(1, runs=(a_run(),)).to_json().replace("100.0", "NaN").encode(),
    "infinity": entry(1, runs=(a_run(),)).to_json().replace("100.0", "1e999").encode(),
    "another version": dataclasses.asdict(entry(1)) | {"version": 2},
    "version true": dataclasses.asdict(entry(1)) | {"version": True},
    "a field too many": dataclasses.asdict(entry(1)) | {"output": "text"},
    "a field too few": {"version": 1, "id": "0" * 16},
    "wrong type": dataclasses.asdict(entry(1)) | {"name": 7},
    "surrogate": b'{"version":1,"name":"\\ud800"}',
    "control": dataclasses.asdict(entry(1)) | {"name": "a\x1b[2Jb"},
    "too many runs": dataclasses.asdict(entry(1, runs=(a_run(),))) | {"runs_done": 0},
    "batch size 0": dataclasses.asdict(entry(1, runs=(a_run(0),))),
    "batch size absurd": dataclasses.asdict(entry(1, runs=(a_run(10**9),))),
    "speed absurd": dataclasses.asdict(entry(1, runs=(a_run(4, 1e12),))),
    "speed 0": dataclasses.asdict(entry(1, runs=(a_run(4, 0),))),
    "below zero": dataclasses.asdict(entry(1)) | {"seen_s": -5},
    "another's id": dataclasses.asdict(entry(2)),
    "engine with a line": dataclasses.asdict(entry(1, runs=(a_run(engine="a\nb"),))),
    "10 MB": b" " * 10_000_000,
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_counted_and_said_and_hurts_nobody(wall, what):
    put(wall, 1, BAD[what])
    put(wall, 9, dataclasses.asdict(entry(9, "Eve")))
    reading = read_wall(wall)
    assert [each.name for each in reading.entries] == ["Eve"]
    assert len(reading.notes) == 1
    assert reading.notes[0].startswith("1 file on the wall left out, for example: ")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([f.name for f in dataclasses.fields(WallEntry)]), json_values))
def test_whatever_a_field_is_it_is_shown_whole_or_refused(changes):
    data = dataclasses.asdict(entry(1, runs=(a_run(),))) | changes
    try:
        made = entry_from(json.dumps(data))
    except InputError:
        return
    board = Names().board([made])
    assert figures.wall(board).to_json()
    assert table_html(board)
    assert entry_from(made.to_json()) == made


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_an_input_error(text):
    with pytest.raises(InputError):
        entry_from(text)


# Folders.


def test_links_pipes_folders_and_other_names_are_not_opened(wall, tmp_path):
    (tmp_path / "secret").write_text(entry(3, "Link").to_json())
    (wall / f"{3:016x}.json").symlink_to(tmp_path / "secret")
    os.mkfifo(wall / f"{4:016x}.json")
    (wall / f"{5:016x}.json").mkdir()
    (wall / "notes.txt").write_text("hello")
    (wall / f"{6:016x}.json").symlink_to("/dev/zero")
    put(wall, 9, dataclasses.asdict(entry(9, "Eve")))
    reading = read_wall(wall)
    assert [each.name for each in reading.entries] == ["Eve"]
    assert "5 files on the wall left out" in reading.notes[0]


def test_an_account_has_so_many_entries_and_no_more(wall, monkeypatch):
    monkeypatch.setattr(wall_folder, "MOST_OF_A_USER", 3)
    for number in range(5):
        put(wall, number, dataclasses.asdict(entry(number)))
    reading = read_wall(wall)
    assert len(reading.entries) == 3
    assert "2 files of account" in reading.notes[0]


def test_who_was_there_is_not_hidden_by_files_that_come_later(wall, monkeypatch):
    monkeypatch.setattr(wall_folder, "MOST_FILES", 3)
    put(wall, 9, dataclasses.asdict(entry(9, "Eve")))
    source = FolderSource(wall)
    assert [each.name for each in source.read().entries] == ["Eve"]
    for number in range(20):
        (wall / f"junk{number}").touch()
    reading = source.read()
    assert [each.name for each in reading.entries] == ["Eve"]
    assert any("more than 3 files" in note for note in reading.notes)


def test_a_wall_is_open_to_all_and_nobody_can_touch_anothers_file(tmp_path):
    made = make_wall(tmp_path / "new" / "wall")
    assert made.stat().st_mode & 0o7777 == 0o1777
    assert make_wall(made) == made


def test_a_folder_with_other_files_or_a_link_or_a_file_becomes_no_wall(tmp_path):
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home" / "thesis.txt").touch()
    (tmp_path / "link").symlink_to(tmp_path / "home")
    for name, why in (("home", "other files"), ("link", "cannot be"), ("home/thesis.txt", "cannot be")):
        with pytest.raises(InputError, match=why):
            make_wall(tmp_path / name)
    assert (tmp_path / "home").stat().st_mode & 0o7777 == 0o700


def test_two_that_write_at_once_leave_whole_entries(wall):
    senders = [FolderSender(wall) for _ in range(2)]

    def write(number: int) -> None:
        for count in range(60):
            senders[number].send(entry(number, f"Learner {number}", runs_done=count))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert read_wall(wall).notes == []
    assert [each.runs_done for each in read_wall(wall).entries] == [59, 59]
    assert len(os.listdir(wall)) == 2


def test_a_file_is_readable_to_the_instructor_whatever_the_umask(wall):
    before = os.umask(0o077)
    try:
        FolderSender(wall).send(entry(1))
    finally:
        os.umask(before)
    assert (wall / f"{1:016x}.json").stat().st_mode & 0o777 == 0o644


def test_a_link_in_the_place_of_the_own_file_is_replaced_and_not_followed(wall, tmp_path):
    (tmp_path / "precious").write_text("precious")
    (wall / f"{1:016x}.json").symlink_to(tmp_path / "precious")
    FolderSender(wall).send(entry(1))
    assert (tmp_path / "precious").read_text() == "precious"
    assert [each.id for each in read_wall(wall).entries] == [f"{1:016x}"]


@pytest.mark.ranks
@as_root
def test_another_user_can_add_but_not_change_remove_or_take_over(wall_for_all):
    wall = wall_for_all
    sender = FolderSender(wall)
    sender.begin(entry(1, "Ada", seen_s=1.0))
    victim = wall / f"{1:016x}.json"
    as_nobody = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
    for tried in (
        'echo x > "$0"',
        'rm -f "$0"',
        'echo x > "$0.new"; mv -f "$0.new" "$0"',
        'mv "$0" "$0.old"',
        'chmod 666 "$0"',
    ):
        ran = subprocess.run([*as_nobody, "sh", "-c", tried, str(victim)], capture_output=True, text=True, timeout=20)
        assert ran.returncode != 0, tried
    join = f"import nbkit; print(nbkit.join_wall({str(wall)!r}, name='Ada'))"
    joined = subprocess.run([*as_nobody, sys.executable, "-c", join], capture_output=True, text=True, timeout=60)
    assert "<Ada on the wall" in joined.stdout, joined.stderr
    reading = read_wall(wall)
    assert next(each for each in reading.entries if each.id == f"{1:016x}").seen_s == 1.0
    assert sorted(each.name for each in Names().board(reading.entries).learners) == ["Ada", "Ada (2)"]


# What is shown.


def test_two_of_one_name_are_told_apart_by_when_they_were_first_seen():
    names = Names()
    assert [each.name for each in names.board([entry(5, joined_s=50.0)]).learners] == ["Ada"]
    later = [entry(6, joined_s=1.0), entry(5, joined_s=50.0), entry(7, "Ada (2)", joined_s=2.0)]
    board = names.board(later)
    assert [each.name for each in board.learners] == ["Ada", "Ada (2)", "Ada (2) (2)"]
    assert board.learners[0].number == 0


def test_learners_who_have_left_are_not_remembered_without_end(monkeypatch):
    monkeypatch.setattr("nbkit.analysis.wall.MOST_REMEMBERED", 3)
    names = Names()
    for number in range(1, 20):
        board = names.board([entry(0, "Ada"), entry(number, "Ada")])
        assert [each.name for each in board.learners] == ["Ada", "Ada (2)"]
        assert board.learners[0].number == 0
    assert len(names._numbers) <= 4


def test_the_board_has_the_best_who_waits_and_who_is_missing():
    entries = [
        entry(1, "Ada", (a_run(4, 100), a_run(16, 300), a_run(16, 250, engine="simple"))),
        entry(2, "Bob", (a_run(8, 200),)),
        entry(3, "Cy"),
        entry(4, "Di", (a_run(1, 900, model="other"),)),
    ]
    board = Names().board(entries, expected=["Ada", "Eve"])
    assert board.headline == "Best so far: Ada, 300 tokens/s at batch size 16"
    assert board.presence == "4 of 2 joined, 3 started"
    assert ([each.name for each in board.waiting], board.missing) == (["Cy"], ["Eve"])
    assert [each.name for each in board.ranked] == ["Ada", "Bob"]
    assert board.others == [("other", "cpu")]
    other = Names().board(entries, shown=("other", "cpu"))
    assert [each.name for each in other.ranked] == ["Di"]
    words = table_html(board, now_s=1100.0)
    for said in ("Not started yet (1)", "Not here yet (1)", "With another model only (1)"):
        assert said in words


def test_what_learners_write_is_text_in_words_and_figure():
    board = Names().board([entry(1, "<img src=x>", (a_run(),)), entry(2, "<i>Eve")], notes=["<script>"])
    shown = headline_html(board) + table_html(board)
    assert "<img" not in shown
    assert "<i>" not in shown
    assert "<script" not in shown
    assert "<img" not in str(figures.wall(board).to_dict())


def test_an_empty_wall_and_one_of_forty_can_be_drawn():
    assert figures.wall(Names().board([])).layout.title.text == "Tokens/s by batch size"
    board = Names().board([entry(n, f"L{n}", (a_run(2 ** (n % 6), 100 + n),)) for n in range(40)])
    figure = figures.wall(board)
    looks = {(trace.marker.color, trace.marker.symbol) for trace in figure.data}
    assert len(looks) == 40
    named = [text for trace in figure.data for text in trace.text if text]
    assert named[0] in table_html(board)
    assert len(named) <= 3


# Joining.


def test_a_run_that_finishes_is_on_the_wall(wall, capsys):
    joined = nbkit.join_wall(wall, name="Ada")
    assert [each.name for each in Names().board(read_wall(wall).entries).waiting] == ["Ada"]
    finish(example_run())
    assert joined.wait_until_sent(10)
    board = Names().board(read_wall(wall).entries)
    assert (board.learners[0].runs_done, board.ranked[0].name) == (1, "Ada")
    assert "1 run(s)" in repr(joined)
    joined.leave()
    assert read_wall(wall).entries == []
    finish(example_run())
    assert read_wall(wall).entries == []


def test_a_cell_that_joins_again_goes_on_with_the_same_entry_under_its_new_name(wall):
    nbkit.join_wall(wall, name="Ada")
    finish(example_run())
    joined = nbkit.join_wall(wall, name="Countess")
    finish(example_run())
    assert joined.wait_until_sent(10)
    [only] = read_wall(wall).entries
    assert (only.name, only.runs_done) == ("Countess", 2)


def test_a_kernel_that_is_started_again_goes_on_with_its_entry_and_a_second_at_once_does_not(wall):
    first = FolderSender(wall)
    first.begin(entry(1, runs=(a_run(),)))
    second = FolderSender(wall).begin(entry(2))
    assert second.runs_done == 0
    first._hold(-1)  # as when its process ends
    third = FolderSender(wall).begin(entry(3))
    assert (third.id, third.runs_done) == (f"{1:016x}", 1)


def test_the_environment_names_the_wall_for_all(wall, monkeypatch):
    monkeypatch.setenv("NBKIT_WALL", str(wall))
    nbkit.join_wall(name="Ada")
    assert len(read_wall(wall).entries) == 1
    monkeypatch.delenv("NBKIT_WALL")
    with pytest.raises(InputError, match="which wall"):
        nbkit.join_wall(name="Ada")


def test_a_wall_that_is_not_there_is_said_at_once(tmp_path):
    for where in (tmp_path / "nowhere", "http://127.0.0.1:9/?token=x", "http://127.0.0.1/"):
        with pytest.raises(InputError, match="wall"):
            nbkit.join_wall(where, name="Ada")
    assert finished_runs._observers == []


def test_a_wall_that_goes_harms_no_run_is_said_once_and_is_found_again(wall, monkeypatch, capfd):
    monkeypatch.setattr(joining, "BETWEEN_S", 0.01)
    monkeypatch.setattr(joining, "AGAIN_AFTER_S", 0.05)
    joined = nbkit.join_wall(wall, name="Ada")
    shutil.rmtree(wall)
    for _ in range(3):
        finish(example_run())
        assert not joined.wait_until_sent(5)
    assert capfd.readouterr().err.count("go on without the wall") == 1
    with pytest.raises(InputError, match="cannot be read"):
        Wall.at(wall).read()
    make_wall(wall)
    deadline = time.monotonic() + 10
    while not read_wall(wall).entries:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert read_wall(wall).entries[0].runs_done == 3


def test_an_observer_that_raises_harms_nobody(monkeypatch):
    from nbkit.runtime.job import Job

    heard = []

    def raises(run):
        raise RuntimeError("mine")

    monkeypatch.setattr(finished_runs, "_observers", [raises, heard.append])
    job = Job("generate", lambda *_: None, lambda _: None)
    finished_runs.tell_when_done(job)
    job.set_result("a run")
    failed = Job("generate", lambda *_: None, lambda _: None)
    finished_runs.tell_when_done(failed)
    failed.set_exception(nbkit.JobCancelled())
    assert heard == ["a run"]
    assert job.result() == "a run"


def test_expected_is_a_number_or_names(wall):
    for wrong in (-1, True, "Ada", [1], 10**9):
        with pytest.raises(InputError, match="expected must be"):
            Wall.at(wall, wrong)
    assert isinstance(Damaged("x"), InputError)


# The dashboard.


def test_the_dashboard_follows_the_wall_and_survives_its_loss(wall, monkeypatch):
    monkeypatch.setattr(dashboard, "LOOK_EVERY_S", 0.02)
    FolderSender(wall).send(entry(1, MARKUP[:24], (a_run(),)))
    live = dashboard.WallDashboard(wall, expected=2)
    try:
        wait_for(lambda: "Best so far: " + MARKUP[:24] in words(live))
        assert "1 of 2 joined" in words(live)
        shutil.rmtree(wall)
        wait_for(lambda: "cannot be read" in live.status)
        assert "Best so far: " + MARKUP[:24] in words(live), "what was shown stays"
        make_wall(wall)
        FolderSender(wall).send(entry(2, "Bob", (a_run(8, 700), a_run(8, 900, model="other"))))
        FolderSender(wall).send(entry(3, "Cy", (a_run(8, 800),)))
        wait_for(lambda: "Best so far: Cy, 800 tokens/s" in words(live))
        live._choice.value = ("other", "cpu")
        wait_for(lambda: "Best so far: Bob, 900 tokens/s" in words(live))
        wait_for(lambda: "other on cpu" in live._figure.title)
    finally:
        live.close()
    assert not live.is_busy


def wait_for(holds) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
