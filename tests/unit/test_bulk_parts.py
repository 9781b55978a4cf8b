"""The parts of a bulk by themselves: lines, spool, pace, order."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbkit.app.cli.bulk import check_folder, in_words
from nbkit.errors import InputError, WorkersError
from nbkit.inference.bulk.account import Account
from nbkit.inference.bulk.folder import BulkFolder
from nbkit.inference.bulk.lines import Head, cut_torn_end, failed_line, head_of, heads, output_line, row_of
from nbkit.inference.bulk.ordering import order_outputs
from nbkit.inference.bulk.spool import CHUNK, SpoolReader, SpoolWriter
from nbkit.inference.bulk.status import BulkStatus, Pace
from nbkit.records import Output
from nbkit.records.request import Conversation, Request

TEXT = st.text(max_size=30)
WRITABLE = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(index=st.integers(0, 10**9), prompt=WRITABLE, text=TEXT, tokens=st.integers(0, 99))
def test_a_line_is_read_back(index, prompt, text, tokens):
    line = output_line(Request(index, prompt), Output(index, text, 3, tokens, "stop"))
    assert line.count(b"\n") == 1 and line.endswith(b"\n")
    assert head_of(line) == Head(index, tokens)
    row = row_of(line)
    assert (row["prompt"], row["error"], row["prompt_tokens"]) == (prompt, None, 3)
    failed = failed_line(index, prompt, text)
    assert head_of(failed) == Head(index, None)
    assert row_of(failed)["output"] is None


@given(
    count=st.integers(0, 5),
    cut=st.integers(0, 400),
    junk=st.sampled_from([b"", b"\0\0\0\n", b'{"index": 1,']),
)
def test_only_whole_lines_are_left_of_a_torn_file(tmp_path_factory, count, cut, junk):
    lines = [output_line(Request(i, "p" * i), Output(i, "t" * i, 1, 1, "stop")) for i in range(count)]
    path = tmp_path_factory.mktemp("p") / "part"
    whole = b"".join(lines)
    path.write_bytes(whole[: min(cut, len(whole))] + junk)
    cut_torn_end(path)
    left = path.read_bytes()
    assert whole.startswith(left)
    assert left.count(b"\n") == whole[: min(cut, len(whole))].count(b"\n")
    assert cut_torn_end(path) == 0


def test_a_growing_file_is_read_line_by_line():
    file = io.BytesIO()
    line = output_line(Request(4, "p"), Output(4, "t", 1, 1, "stop"))
    file.write(line[:10])
    file.seek(0)
    assert list(heads(file)) == []
    file.seek(0, 2)
    file.write(line[10:])
    file.seek(0)
    assert list(heads(file)) == [(0, Head(4, 1))]


@given(
    sizes=st.lists(st.integers(0, 300), max_size=5),
    unit=st.integers(1, 200),
    done=st.sets(st.integers(0, 900)),
    prompt=st.one_of(WRITABLE, st.builds(lambda text: Conversation.of([{"role": "u", "content": text}]), WRITABLE)),
)
def test_a_rank_finds_every_prompt_at_its_place(tmp_path_factory, sizes, unit, done, prompt):
    folder = tmp_path_factory.mktemp("s") / "spool"
    writer = SpoolWriter(folder)
    reader = SpoolReader(folder)
    spooled: list[Request] = []
    for size in sizes:
        new = [Request(len(spooled) + number, prompt) for number in range(size)]
        writer.add(new)
        spooled += new
    assert reader.first(50) == spooled[:50]
    places = range(len(spooled), len(spooled) + unit)
    assert reader.at(places) is None
    writer.end()
    found = [reader.at(range(begin, begin + unit)) for begin in range(0, len(spooled) + unit, unit)]
    assert reader.at(places) == []
    assert [request for batch in found for request in batch] == spooled
    for index in done:
        writer.done(index)
    assert writer.left() == [request for request in spooled if request.index not in done]
    assert writer.waiting == len(writer.left())
    writer.close()
    reader.close()


def test_chunks_go_when_all_in_them_is_done(tmp_path):
    writer = SpoolWriter(tmp_path / "spool")
    writer.add([Request(index, "p") for index in range(2 * CHUNK)])
    for index in range(CHUNK):
        writer.done(index)
    assert len(list((tmp_path / "spool").glob("0*"))) == 1
    writer.close()


def test_of_two_lines_of_one_prompt_the_first_counts(tmp_path):
    account = Account()
    assert account.take(Head(5, 3))
    assert not account.take(Head(5, 9))
    assert account.take(Head(2, None))
    assert (account.finished, account.failed, account.new_tokens) == (1, 1, 3)
    assert [index for index in range(8) if not account.is_open(index)] == [2, 5]


def test_outputs_are_put_in_order_whatever_part_they_are_in(tmp_path, monkeypatch):
    monkeypatch.setattr("nbkit.inference.bulk.ordering.MOST_OPEN", 2)
    folder = BulkFolder(tmp_path)
    folder.parts.mkdir()
    for index in range(1000):
        with folder.part(index * 7919 % 11, "rank-0").open("ab") as part:
            part.write(output_line(Request(index, "p"), Output(index, f"text {index}", 1, 1, "stop")))
    with folder.part(11, "rank-0").open("ab") as part:
        part.write(failed_line(3, "p", "too late"))
    order_outputs(folder, 1000)
    texts = [json.loads(line)["output"] for line in folder.outputs.read_text().splitlines()]
    assert texts == [f"text {index}" for index in range(1000)]
    assert not list(tmp_path.glob("*.partial"))
    with pytest.raises(WorkersError, match="prompt 1000 has neither an output nor an error"):
        order_outputs(folder, 1001)


def test_the_pace_is_that_of_the_last_minute():
    pace = Pace()
    assert (pace.tokens_per_second, pace.seconds_for(10)) == (0.0, None)
    for second in range(200):
        pace.count(
            done=second, tokens=10 * second if second < 100 else 1000 + 20 * (second - 100), now_s=float(second)
        )
    assert pace.tokens_per_second == pytest.approx(20.0)
    assert pace.seconds_for(10) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (BulkStatus(0, 0), "0 prompts, 0 failed"),
        (
            BulkStatus(1000, 24, None, 2000, 310.4, 125.0, is_running=True),
            "1,024 of about 2,000 prompts, 24 failed, 310 tokens/s, 2 min 05 s left",
        ),
        (BulkStatus(5, 0, 5, 5, is_complete=True), "5 of 5 prompts, 0 failed"),
    ],
)
def test_how_far_it_is_in_words(status, words):
    assert in_words(status) == words


@pytest.mark.parametrize("name", ["o.csv", "o.parquet", "o.jsonl.gz", "O.TXT"])
def test_a_folder_is_not_named_like_a_file(tmp_path, name):
    with pytest.raises(InputError, match=r"must end in \.json or \.jsonl, or name a folder"):
        check_folder(tmp_path / name, (".json", ".jsonl"))
    (tmp_path / name).mkdir()
    check_folder(tmp_path / name, (".json", ".jsonl"))
    check_folder(tmp_path / "night.v2", (".json", ".jsonl"))
