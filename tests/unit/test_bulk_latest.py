"""What a bulk has come to last, its failures, its log and its history, read from the ends of files."""

from __future__ import annotations

import json
import os

import pytest
from bulk_play import PlayedRanks, dies_at
from hypothesis import given
from hypothesis import strategies as st

from nbkit.inference.bulk import Bulk, history
from nbkit.inference.bulk.account import Account
from nbkit.inference.bulk.driver import run_bulk
from nbkit.inference.bulk.folder import BulkFolder
from nbkit.inference.bulk.history import HistoryWriter, read_history
from nbkit.inference.bulk.latest import BLOCK_BYTES, MOST_BYTES, MOST_CHARACTERS, last_lines
from nbkit.inference.bulk.lines import Head, failed_line, output_line
from nbkit.records import Output
from nbkit.records.bulk_manifest import Manifest
from nbkit.records.request import Request
from nbkit.records.settings import Settings

ASKED = Settings(model="tiny-random", dtype="float32", order="as_given")


def quiet(line):
    return None


def line_of(index, text="t"):
    return output_line(Request(index, f"p{index}"), Output(index, text, 1, 2, "stop"))


@given(
    lines=st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b"")), max_size=12),
    torn=st.sampled_from([b"", b"torn"]),
    count=st.integers(1, 14),
    long=st.booleans(),
)
def test_the_last_lines_are_the_last_whole_ones(tmp_path_factory, lines, torn, count, long):
    lines = [line + b"x" * (BLOCK_BYTES // 3 if long else 0) + b"\n" for line in lines]
    path = tmp_path_factory.mktemp("l") / "file"
    path.write_bytes(b"".join(lines) + torn)
    assert last_lines(path, count) == lines[-count:]


def test_of_a_file_of_any_size_little_is_read(tmp_path):
    path = tmp_path / "file"
    assert last_lines(path, 3) == []
    path.write_bytes(b"short\n" + b"x" * 2 * MOST_BYTES + b"\nlast\n")
    assert last_lines(path, 3) == [b"last\n"]


@pytest.fixture
def parts(tmp_path):
    """A folder with the parts of two ranks; the second has written later."""
    folder = BulkFolder(tmp_path)
    folder.parts.mkdir()
    folder.part(1, "rank-0").write_bytes(b"".join(map(line_of, (0, 2, 4))))
    folder.part(1, "rank-1").write_bytes(line_of(1) + failed_line(3, "p", "why") + line_of(5)[:20])
    os.utime(folder.part(1, "rank-0"), (1, 1))
    return folder


def test_the_latest_outputs_are_from_the_ends_of_all_parts(parts):
    bulk = Bulk(parts, Manifest(ASKED, {}))
    assert [row["index"] for row in bulk.latest(3)] == [1, 4, 2]
    assert [row["index"] for row in bulk.latest(10)] == [1, 4, 2, 0]
    assert bulk.latest_failures() == []


def test_failures_are_at_hand_while_it_runs_after_a_stop_and_at_the_end(tmp_path):
    prompts = ["a", 5, "b" * 2 * MOST_CHARACTERS, "c"]

    class Stopped(Exception):
        pass

    def stop(status):
        if status.is_running and status.done:
            raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nbkit.inference.bulk.driver.TELL_EVERY_S", 0.0)
        with pytest.raises(Stopped):
            run_bulk(PlayedRanks(), prompts, tmp_path / "n", ASKED, say=quiet, tell=stop)
    bulk = run_bulk(PlayedRanks(dies_at([2])), prompts, tmp_path / "n", ASKED, say=quiet)
    failures = bulk.latest_failures()
    assert {row["index"]: row["error"] for row in failures} == {row["index"]: row["error"] for row in bulk.failures()}
    assert bulk.latest_failures(1) == failures[:1]
    assert all(len(row["prompt"] or "") <= MOST_CHARACTERS + 4 for row in failures)
    assert [row["index"] for row in bulk.latest(2)] == [row["index"] for row in bulk if row["output"]][::-1][:2]


def test_the_log_ends_with_the_end(tmp_path):
    bulk = run_bulk(PlayedRanks(), ["a", "b"], tmp_path / "n", ASKED, say=quiet)
    begun, finished = bulk.log_lines()
    assert "begun, with nbkit" in begun
    assert "finished: 2 prompts." in finished
    assert bulk.log_lines(1) == [finished]


def test_the_history_goes_over_all_processes_and_counts_losses(tmp_path):
    prompts = [f"p{number}" for number in range(40)]
    bulk = run_bulk(PlayedRanks(dies_at([3], times=2)), prompts, tmp_path / "n", ASKED, say=quiet)
    [session] = bulk.history().sessions
    assert session.is_ended
    assert (session.samples[0].done, session.samples[0].losses) == (0, 0)
    latest = bulk.history().latest
    assert (latest.done, latest.failed, latest.new_tokens, latest.losses) == (40, 0, 80, 2)
    assert bulk.history().is_exact(is_running=False)


def test_a_killed_process_leaves_a_history_that_says_so(tmp_path):
    path, account = tmp_path / "h", Account()
    HistoryWriter(path, account).lost()
    with path.open("a") as file:
        file.write('[1, 2, "torn')
    account.take(Head(0, 7))
    second = HistoryWriter(path, account)
    read = read_history(path)
    assert len(read.sessions) == 2
    assert not read.is_exact(is_running=True)
    assert (read.latest.new_tokens, read.latest.losses) == (7, 1)
    second.close()
    assert [session.is_ended for session in read_history(path).sessions] == [False, True]


def test_a_month_has_few_samples(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(history.time, "monotonic", lambda: now[0])
    writer = HistoryWriter(tmp_path / "h", Account())
    while now[0] < 30 * 86_400:
        now[0] += max(0.5, now[0] / 1000)
        writer.look()
    read = read_history(tmp_path / "h")
    assert 500 < len(read.sessions[0].samples) < 1500
    assert read.seconds == pytest.approx(30 * 86_400, rel=0.02)
    assert all(json.loads(line) for line in (tmp_path / "h").read_text().splitlines() if line)
