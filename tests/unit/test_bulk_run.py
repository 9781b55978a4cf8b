"""A finished bulk as a Run: read as it is asked for, and timed on one clock over all of its attempts."""

from __future__ import annotations

import json
import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from bulk_play import PlayedRanks, dies_at
from example_runs import batch, rank_record
from hypothesis import given
from hypothesis import strategies as st
from timelines import MODEL

from nbkit import figures
from nbkit.analysis.lost_time import lost_time
from nbkit.errors import InputError
from nbkit.inference.bulk import source
from nbkit.inference.bulk.driver import run_bulk
from nbkit.inference.bulk.folder import OWNER, BulkFolder
from nbkit.inference.bulk.lines import output_line
from nbkit.inference.bulk.merging import merge_records
from nbkit.inference.bulk.rank_records import RankBegun, RankRecords, note_end, read_told
from nbkit.records import Output
from nbkit.records.bulk_manifest import Manifest
from nbkit.records.request import Conversation, Request
from nbkit.records.run import PARTS, Run
from nbkit.records.settings import Settings
from nbkit.records.throughput import of_batches

ASKED = Settings(model="tiny-random", dtype="float32", order="as_given")
PROMPTS = [f"prompt {number}" for number in range(300)]
CHAT = [{"role": "user", "content": "Say é."}]


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    monkeypatch.setattr(source, "WINDOW", 64)


def bulk(folder, prompts=PROMPTS, ranks=None):
    return run_bulk(ranks or PlayedRanks(), prompts, folder, ASKED, say=lambda line: None)


def is_accounted_for(run: Run) -> None:
    for rank in run.rank_numbers:
        parts = run.time_parts(rank)
        assert tuple(parts) == PARTS
        assert sum(parts.values()) == pytest.approx(run.wall_s)
        assert min(parts.values()) > -1e-6


def test_columns_are_lists_that_stand_in_a_file(tmp_path):
    bulk(tmp_path / "b", ["one", CHAT, "", "four", *PROMPTS])
    run = Run.open(tmp_path / "b")
    prompts = ["one", Conversation.of(CHAT), "", "four", *PROMPTS]
    outputs = ["ONE", "USER: SAY É.", None, "FOUR", *(prompt.upper() for prompt in PROMPTS)]
    assert (len(run.prompts), len(run.outputs)) == (304, 304)
    assert run.prompts == prompts and prompts == run.prompts
    assert run.outputs == outputs and run.outputs != outputs[:-1] and run.prompts != outputs
    assert (run.outputs[0], run.outputs[-1], run.prompts[-2]) == ("ONE", "PROMPT 299", "prompt 298")
    assert run.outputs[-3:] == outputs[-3:]
    assert run.outputs[1:300:50] == outputs[1:300:50]
    assert run.outputs[::-1] == outputs[::-1]
    assert run.outputs[400:] == []
    assert run.finish_reasons[:4] == ["length", "length", None, "length"]
    assert list(run.new_tokens[:4]) == [2, 2, 0, 2]
    assert np.array(run.new_tokens).sum() == run.total_new_tokens == 606
    assert (run.finished_prompts, run.failed_prompts, run.is_complete) == (303, 1, True)
    assert run.summary()["prompts"] == "303 of 304, 1 failed"
    assert "1 prompts failed" in figures.run_note(run)
    for index in (304, -305):
        with pytest.raises(IndexError):
            run.outputs[index]
    assert len(run.table("outputs")) == 304


def test_nothing_is_read_until_it_is_asked_for(tmp_path):
    bulk(tmp_path / "b")
    run = Run.open(tmp_path / "b")
    kept = (tmp_path / "b" / "outputs.jsonl").rename(tmp_path / "away")
    assert run.wall_s > 0
    with pytest.raises(InputError, match=r"cannot read .*outputs\.jsonl"):
        len(run.prompts)
    kept.rename(tmp_path / "b" / "outputs.jsonl")
    assert len(run.prompts) == 300
    (tmp_path / "b" / "outputs.jsonl").write_text("something else\n" * 300)
    assert run.total_new_tokens == 600  # numbers are there
    with pytest.raises(InputError, match="is not what it was at the first look"):
        run.outputs[3]
    with pytest.raises(InputError, match=r"line 1: no output of the prompt 0; it is damaged"):
        len(Run.open(tmp_path / "b").prompts)


def test_when_tokens_came_is_told_of_every_output_on_the_clock_of_all_attempts(tmp_path):
    died = dies_at([100], times=2)
    ranks = PlayedRanks(died)
    bulk(tmp_path / "b", [*PROMPTS[:5], "", *PROMPTS[5:]], ranks=ranks)
    run = Run.open(tmp_path / "b")
    assert run.attempts > 2
    assert len(run.times) == len(run.outputs) == 301
    assert [number for number, times in enumerate(run.times) if times is None] == [5]
    assert (run.latencies.ttft.count, run.latencies.inter_token.count) == (300, 300)
    own = {index: batch for batch in run.batches for index in batch.indices}
    for index, times in enumerate(run.times):
        if times is not None:
            assert times.taken_s == pytest.approx(own[index].begin_s, abs=1e-5)
            assert times.end_s == pytest.approx(own[index].end_s, abs=1e-5)
            assert times.inter_token.count == run.new_tokens[index] - 1
    assert run.times[-3:] == list(run.times)[-3:]
    assert run.summary()["TTFT p99 ms"] == round(1000 * run.latencies.ttft.p99_s, 2)
    loaded = Run.load(run.save(tmp_path / "run.json"))
    assert loaded.times == run.times


def test_a_bulk_that_knows_no_times_or_some_says_none_of_the_others(tmp_path):
    bulk(tmp_path / "b")
    times = tmp_path / "b" / "times.jsonl"
    lines = times.read_text().splitlines(keepends=True)
    times.write_text("".join(lines[:10]))
    assert Run.open(tmp_path / "b").latencies.ttft.count == 10
    times.write_text("".join([*lines[10:20], *lines]))
    run = Run.open(tmp_path / "b")
    assert run.latencies.end_to_end.count == 300
    times.write_text("".join(reversed(lines)))
    with pytest.raises(InputError, match=r"times\.jsonl is not what it was at the first look"):
        list(run.times)
    times.unlink()
    assert list(Run.open(tmp_path / "b").times) == [None] * 300


def test_a_saved_one_is_a_usual_run(tmp_path):
    bulk(tmp_path / "b", ["a", CHAT, "b", "c", "d"])
    run = Run.open(tmp_path / "b")
    loaded = Run.load(run.save(tmp_path / "run.json"))
    assert loaded == run
    assert type(loaded.outputs) is list
    assert run.summary() == loaded.summary()


def test_texts_are_never_all_in_memory(tmp_path):
    folder = BulkFolder(tmp_path)
    with folder.held(), folder.outputs.open("wb") as file:
        for index in range(4000):
            text = Output(index, f"{index} " + 4000 * "é", 5, index % 90, "stop")
            file.write(output_line(Request(index, "p"), text))
        Manifest(ASKED, {"kind": "given"}, total=4000).save(folder.manifest)
        records = RankRecords(folder.records_of(1, "rank-0"))
        records.add(RankBegun(0.0))
        records.add(rank_record(0, 1, 0, 1.0, 1.0))
        for first in range(0, 4000, 8):
            records.add(batch(0, tuple(range(first, first + 8)), 1.0 + first))
        records.add(rank_record(0, 1, 0, 1.0, 5000.0))
        records.close()
        merge_records(folder, 0)
    run = Run.open(tmp_path)
    tracemalloc.start()
    run.summary()
    np.percentile(run.new_tokens, (50, 99))
    assert sum(len(output or "") for output in run.outputs) > 16_000_000
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert folder.outputs.stat().st_size > 32_000_000
    assert peak_bytes < 1_500_000


def test_figures_are_drawn_of_one_that_lost_ranks(tmp_path):
    bulk(tmp_path / "b", ranks=PlayedRanks(dies_at([3, 150], times=1)))
    run = Run.open(tmp_path / "b")
    assert (run.finished_prompts, run.untimed_prompts) == (300, 0)
    assert run.attempts >= 3 and run.paused_s > 0
    assert sorted(index for each in run.batches for index in each.indices) == list(range(300))
    assert f"in {run.attempts} attempts" in figures.run_note(run)
    is_accounted_for(run)
    assert figures.run_timeline(run).data
    lost = lost_time(run, MODEL)
    assert lost.useful_s + sum(lost.losses.values()) == pytest.approx(run.wall_s)
    throughput = of_batches(run.batches, run.begin_s)
    assert figures.throughput_over_time(throughput, run.rank_numbers).data


def test_of_a_folder_without_records_nothing_is_known_and_no_speed_is_told(tmp_path):
    bulk(tmp_path / "b", ["a", "", "b"])
    (tmp_path / "b" / "records.jsonl").unlink()
    run = Run.open(tmp_path / "b")
    assert (run.outputs, run.failed_prompts) == (["A", None, "B"], 1)
    assert math.isnan(run.tokens_per_second)
    assert (run.attempts, run.is_timed, run.untimed_prompts) == (0, False, 2)
    assert run.summary()["tokens/s"] == run.summary()["wall s"] == run.summary()["workers"] == "unknown"
    assert "nothing is known of their times" in figures.headline(run)
    assert Run.load(run.save(tmp_path / "run.json")) == run


def test_one_that_is_not_finished_is_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        bulk(tmp_path / "b", ranks=PlayedRanks(interrupted))
    with pytest.raises(InputError, match="is not finished: go on with it by the call or command that began it"):
        Run.open(tmp_path / "b")
    with pytest.raises(InputError, match="cannot read"):
        Run.open(tmp_path / "none")
    bulk(tmp_path / "b")
    assert Run.open(tmp_path / "b").attempts == 2
    records = tmp_path / "b" / "records.jsonl"
    records.write_text('{"attempts": "many"}\n')
    with pytest.raises(InputError, match=r"the data in .*records.jsonl are damaged"):
        Run.open(tmp_path / "b")


def interrupted(request):
    if request.index == 150:
        raise KeyboardInterrupt


def test_of_prompts_that_no_batch_tells_of_the_speed_is_not_told_either(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        bulk(tmp_path / "b", ranks=PlayedRanks(interrupted))
    [file] = (tmp_path / "b" / "rank_records").glob("*-rank-0.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    # The second batch's line is torn: by a lost power, so that the others after it are not to be trusted.
    file.write_bytes(b"".join(lines[:3]) + lines[3][:-9] + b"\0\n" + b"".join(lines[4:]))
    bulk(tmp_path / "b")
    run = Run.open(tmp_path / "b")
    assert (run.finished_prompts, run.untimed_prompts) == (300, 148 - 4)
    assert run.tokens_per_second == pytest.approx(2 * (300 - 144) / run.wall_s)
    assert "no times are known of 144 prompts" in figures.run_note(run)
    is_accounted_for(run)


@given(data=st.data())
def test_attempts_are_laid_end_to_end_and_every_rank_is_accounted_for(tmp_path_factory, data):
    folder = BulkFolder(tmp_path_factory.mktemp("b"))
    seconds = st.floats(0.0, 50.0)
    wall_s, paused_s, now_s, index, told = 0.0, 0.0, 1e9, 0, []
    with folder.held():
        for number in range(1, data.draw(st.integers(1, 4)) + 1):
            numbers = data.draw(st.sets(st.integers(0, 3), min_size=1))
            begins = {rank: data.draw(seconds) for rank in numbers}
            is_lost, ends = data.draw(st.booleans()), {}
            for rank in numbers:
                records = RankRecords(folder.records_of(number, f"rank-{rank}"))
                at_s = now_s + begins[rank] - min(begins.values())
                records.add(RankBegun(at_s))
                record = replace(rank_record(rank, 4, 0, begins[rank], begins[rank]), waiting_s=0.0, gather_s=0.0)
                records.add(record)
                clock_s = begins[rank]
                for _ in range(data.draw(st.integers(0, 3))):
                    own = batch(rank, (index,), clock_s + data.draw(st.floats(0.0, 1.0)))
                    records.add(own)
                    told.append((number, own))
                    clock_s, index = own.end_s, index + 1
                if not is_lost:
                    records.add(replace(record, end_s=clock_s))
                ends[rank] = clock_s
                records.close()
            end_s = max(ends.values())
            if is_lost and data.draw(st.booleans()):  # else the owner is lost, too
                end_s += data.draw(seconds)
                note_end(folder.records_of(number, OWNER), end_s)
            if is_lost:
                torn = folder.records_of(number, f"rank-{min(numbers)}")
                torn.write_bytes(torn.read_bytes() + b'{"batch": {"rank": 0, "ind')
            span_s, pause_s = end_s - min(begins.values()), data.draw(seconds)
            wall_s, now_s = wall_s + span_s, now_s + span_s + pause_s
            paused_s += pause_s
        folder.outputs.write_bytes(
            b"".join(output_line(Request(i, "p"), Output(i, "t", 5, 7, "stop")) for i in range(index))
        )
        Manifest(ASKED, {"kind": "given"}, total=index).save(folder.manifest)
        merge_records(folder, 0)
    run = Run.open(folder.path)
    assert run.attempts == number
    assert run.wall_s == pytest.approx(wall_s)
    assert run.paused_s == pytest.approx(paused_s - pause_s, abs=1e-4)
    assert (run.untimed_prompts, run.finished_prompts) == (0, index)
    assert [each.begin_s for each in run.batches] == sorted(each.begin_s for each in run.batches)
    assert sorted(each.indices for each in run.batches) == [own.indices for _, own in told]
    is_accounted_for(run)


def test_what_is_told_is_read_up_to_what_is_torn(tmp_path):
    records = RankRecords(tmp_path / "r.jsonl")
    for first in range(3):
        records.add(batch(0, (first,)))
    records.close()
    whole = (tmp_path / "r.jsonl").read_bytes()
    assert len(list(read_told(tmp_path / "r.jsonl"))) == 3
    for torn in (whole[:-1], whole[:-40], whole + b"\0" * 9, whole + b"3\n", whole + b'{"what": {}}\n'):
        (tmp_path / "r.jsonl").write_bytes(torn)
        assert len(list(read_told(tmp_path / "r.jsonl"))) in (2, 3)
    assert json.loads(whole.splitlines()[0])["batch"]["rank"] == 0
