"""What killed processes leave behind is removed, and nothing that a live one has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from nbkit.files.atomic_write import write_atomically
from nbkit.files.owned_folder import OWNER, OwnedFolder

HOLD_A_FOLDER = """
import sys, tempfile, time
from nbkit.files.owned_folder import OwnedFolder
tempfile.tempdir = sys.argv[1]
folder = OwnedFolder("nbkit-")
(folder.path / "deep").mkdir()
(folder.path / "deep" / "file").write_text("of the owner")
print(folder.path, flush=True)
time.sleep(60)
"""
HOLD_A_FILE = """
import os, sys, time
from pathlib import Path
from nbkit.files.atomic_write import write_atomically
os.replace = lambda *names: (print(*names, flush=True), time.sleep(60))
write_atomically(Path(sys.argv[1]) / "run.json", "half")
"""


def started(code: str, folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process that holds something in a folder, and what."""
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().split()[0])


def end(process: subprocess.Popen[str], how: int) -> None:
    process.send_signal(how)
    process.communicate()


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_is_closed_to_others_and_goes_when_asked_to(temporary):
    folder = OwnedFolder("nbkit-")
    assert folder.path.parent == temporary
    assert folder.path.stat().st_mode & 0o777 == 0o700
    folder.remove()
    folder.remove()
    assert list(temporary.iterdir()) == []


def test_a_forgotten_folder_goes(temporary):
    OwnedFolder("nbkit-")
    assert list(temporary.iterdir()) == []


@pytest.mark.ranks
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_the_next_folder_sweeps_those_of_dead_owners_and_no_other(temporary, how):
    (dead, left), (live, held) = started(HOLD_A_FOLDER, temporary), started(HOLD_A_FOLDER, temporary)
    foreign = temporary / "nbkit-of-an-older-version"
    foreign.mkdir()
    try:
        end(dead, how)
        assert left.exists()
        mine, beside = OwnedFolder("nbkit-"), OwnedFolder("nbkit-")
        assert {path.name for path in temporary.iterdir()} == {
            held.name,
            foreign.name,
            mine.path.name,
            beside.path.name,
        }
        assert (held / "deep" / "file").read_text() == "of the owner"
    finally:
        end(live, signal.SIGKILL)


@pytest.mark.ranks
def test_a_forked_child_does_not_take_the_folder_along(temporary):
    folder = OwnedFolder("nbkit-")
    if (child := os.fork()) == 0:
        folder.remove()
        os._exit(0)
    os.waitpid(child, 0)
    assert folder.path.exists()


def test_a_link_in_the_place_of_a_folder_is_not_followed(temporary, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / OWNER).touch()
    (elsewhere / "precious").touch()
    (temporary / "nbkit-link").symlink_to(elsewhere)
    OwnedFolder("nbkit-").remove()
    assert (elsewhere / "precious").exists()


@pytest.mark.ranks
def test_the_next_writer_sweeps_what_killed_ones_left_and_nothing_that_is_being_written(tmp_path):
    (dead, left), (live, held) = started(HOLD_A_FILE, tmp_path), started(HOLD_A_FILE, tmp_path)
    other = tmp_path / ".notes.partial"
    other.touch()
    try:
        end(dead, signal.SIGKILL)
        assert left.read_text() == "half"
        write_atomically(tmp_path / "run.json", "whole")
        assert {path.name for path in tmp_path.iterdir()} == {"run.json", held.name, other.name}
        assert (tmp_path / "run.json").read_text() == "whole"
    finally:
        end(live, signal.SIGKILL)
