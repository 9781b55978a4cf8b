"""A bulk without a model: what is written, gone on with, refused, and survived."""

from __future__ import annotations

import json

import pandas
import pytest
from bulk_play import PlayedRanks, dies_at, no_room_at

import nbkit
from nbkit.errors import InputError, NbkitError, PromptError, RankDied, WorkersError
from nbkit.inference.bulk import Bulk, source
from nbkit.inference.bulk.driver import run_bulk
from nbkit.inference.bulk.folder import BulkFolder
from nbkit.inference.bulk.status import BulkStatus, write_status
from nbkit.records.settings import Settings

ASKED = Settings(model="tiny-random", dtype="float32")
PROMPTS = [f"prompt {number} {'ab' * (number % 7)}" for number in range(300)]


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    monkeypatch.setattr(source, "WINDOW", 64)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "bulk"


def bulk(folder, prompts=PROMPTS, ranks=None, settings=ASKED, **more):
    return run_bulk(ranks or PlayedRanks(), prompts, folder, settings, say=lambda line: None, **more)


def interrupted_at(index):
    def interrupt(request):
        if request.index == index:
            raise KeyboardInterrupt

    return interrupt


def refused_at(index):
    def refuse(request):
        if request.index == index:
            raise PromptError(f"prompt {index} is refused.", index)

    return refuse


def is_whole(made: Bulk, prompts=PROMPTS) -> bool:
    rows = list(made)
    return [(row["index"], row["prompt"], row["output"]) for row in rows] == [
        (index, prompt, prompt.upper()) for index, prompt in enumerate(prompts)
    ]


@pytest.mark.parametrize("order", ["as_given", "by_length"])
def test_every_prompt_has_one_output_in_order(folder, order):
    made = bulk(folder, settings=Settings.of(ASKED, order=order))
    assert is_whole(made)
    status = Bulk.open(folder).status()
    assert (status.finished, status.failed, status.total) == (300, 0, 300)
    assert status.is_complete and not status.is_running
    assert sorted(path.name for path in folder.iterdir()) == [
        *(
            "bulk.json",
            "history.jsonl",
            "lock",
            "log.txt",
            "outputs.jsonl",
            "ranks.lock",
            "records.jsonl",
            "status.json",
            "times.jsonl",
            "windows.jsonl",
        ),
    ]


@pytest.mark.parametrize("give", [list, iter, lambda prompts: (prompt for prompt in prompts)])
def test_prompts_may_be_anything_to_iterate_over(folder, give):
    assert is_whole(bulk(folder, give(PROMPTS)))


def test_a_file_is_read_and_known_again_by_its_content(folder, tmp_path):
    file = tmp_path / "p.txt"
    file.write_text("\n".join(PROMPTS))
    assert is_whole(bulk(folder, file))
    assert len(Bulk.open(folder).source["sha256"]) == 64
    moved = file.rename(tmp_path / "q.txt")
    assert is_whole(bulk(folder, moved))
    moved.write_text("\n".join([*PROMPTS, "one more"]))
    with pytest.raises(InputError, match=r"holds another bulk: the source's bytes \d+, not \d+"):
        bulk(folder, moved)


def test_conversations_are_kept_as_they_are(folder):
    chat = [{"role": "user", "content": "Say é."}]
    made = bulk(folder, [chat, "text"])
    assert [row["prompt"] for row in made] == [chat, "text"]


@pytest.mark.parametrize("at", [0, 5, 150, 299])
def test_an_interrupt_keeps_what_is_done_and_the_same_call_goes_on(folder, at):
    with pytest.raises(KeyboardInterrupt):
        bulk(folder, ranks=PlayedRanks(interrupted_at(at)), settings=Settings.of(ASKED, order="as_given"))
    before = Bulk.open(folder).status()
    assert not before.is_complete
    assert before.finished == len(list(Bulk.open(folder))) == at // 4 * 4
    again = PlayedRanks()
    assert is_whole(bulk(folder, ranks=again, settings=Settings.of(ASKED, batch_size=7, order="as_given")))
    assert again.orders[0].prompts in (None, 300 - before.finished)


def test_a_torn_line_is_cut_off_and_its_prompt_done_again(folder):
    with pytest.raises(KeyboardInterrupt):
        bulk(folder, ranks=PlayedRanks(interrupted_at(150)), settings=Settings.of(ASKED, order="as_given"))
    [part] = (folder / "parts").glob("*.jsonl")
    whole = part.read_bytes()
    part.write_bytes(whole[:-20])
    assert len(list(Bulk.open(folder))) == 147
    assert is_whole(bulk(folder))
    assert "bytes after its last whole line were cut off" in (folder / "log.txt").read_text()


def test_what_a_lost_power_leaves_is_cut_off(folder):
    with pytest.raises(KeyboardInterrupt):
        bulk(folder, ranks=PlayedRanks(interrupted_at(150)))
    [part] = (folder / "parts").glob("*.jsonl")
    part.write_bytes(part.read_bytes() + b"\0" * 500 + b"\n")
    with (folder / "windows.jsonl").open("a") as file:
        file.write("[12, ")
    assert is_whole(bulk(folder))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"max_new_tokens": 7}, "max_new_tokens 100, not 7"),
        ({"temperature": 0.5}, "temperature 0.0, not 0.5"),
        ({"stop": ("a",)}, r"stop \(\), not \('a',\)"),
        ({"dtype": "bfloat16"}, "dtype 'float32', not 'bfloat16'"),
    ],
)
def test_other_settings_that_change_text_are_refused(folder, changes, what):
    bulk(folder)
    with pytest.raises(InputError, match=f"holds another bulk: {what}. Ask for the same"):
        bulk(folder, settings=Settings.of(ASKED, **changes))
    others = {"batch_size": 3, "split": "static", "order": "as_given", "token_budget": 900, "warm_up": False}
    assert is_whole(bulk(folder, settings=Settings.of(ASKED, **others)))


def test_another_source_is_refused_before_it_is_used(folder):
    with pytest.raises(KeyboardInterrupt):
        bulk(folder, iter(PROMPTS), ranks=PlayedRanks(interrupted_at(150)))
    others = [*PROMPTS[:10], "another", *PROMPTS[11:]]
    with pytest.raises(InputError, match="among the prompts 0 to 63 of the source are others"):
        bulk(folder, iter(others))
    with pytest.raises(InputError, match="the source has 70 prompts now, and had 128 or more"):
        bulk(folder, iter(PROMPTS[:70]))
    assert is_whole(bulk(folder, iter(PROMPTS)))


def test_a_folder_with_something_else_and_no_prompts_are_refused(folder, tmp_path):
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(InputError, match=r"holds something else \(mine.txt\)"):
        bulk(tmp_path)
    with pytest.raises(InputError, match="the source has no prompts"):
        bulk(folder, [])
    with pytest.raises(InputError, match="a file's path or a list of them, not int"):
        bulk(folder, 3)
    with pytest.raises(InputError, match="on_error must be one of record, stop, not 'skip'"):
        bulk(folder, on_error="skip")
    with pytest.raises(InputError, match="cannot read"):
        Bulk.open(tmp_path / "none")


def test_a_bulk_that_came_to_nothing_binds_nobody(folder):
    with pytest.raises(KeyboardInterrupt):
        bulk(folder, ["a", "b"], ranks=PlayedRanks(interrupted_at(0)))
    assert is_whole(bulk(folder, settings=Settings.of(ASKED, max_new_tokens=7)))
    assert Bulk.open(folder).settings.max_new_tokens == 7


def test_other_versions_are_said(folder, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        bulk(folder, ranks=PlayedRanks(interrupted_at(150)))
    manifest = json.loads((folder / "bulk.json").read_text())
    manifest["machine"]["packages"]["torch"] = "1.0"
    (folder / "bulk.json").write_text(json.dumps(manifest))
    said = []
    assert is_whole(run_bulk(PlayedRanks(), PROMPTS, folder, ASKED, say=said.append))
    assert said[0].startswith("begun with torch 1.0 (now ")


def test_two_at_once_are_one_too_many(folder):
    bulk(folder, PROMPTS[:3])
    with BulkFolder(folder).held():
        assert Bulk.open(folder).status().is_running
        with pytest.raises(InputError, match="another process is at the bulk"):
            bulk(folder, PROMPTS[:3])
    assert not Bulk.open(folder).status().is_running


def test_what_cannot_be_read_is_recorded_in_its_place(folder):
    made = bulk(folder, ["a", "", 3, "b", "\ud800"])
    assert [row["output"] for row in made] == ["A", None, None, "B", None]
    assert [row["index"] for row in made.failures()] == [1, 2, 4]
    assert "is an empty string" in list(made)[1]["error"]
    assert (made.status().finished, made.status().failed) == (2, 3)


def test_where_asked_it_stops_at_the_first_that_fails(folder):
    with pytest.raises(PromptError, match="prompt 1 is an empty string") as caught:
        bulk(folder, ["a", "", "b"], on_error="stop")
    assert caught.value.index == 1
    assert len(list(bulk(folder, ["a", "", "b"]))) == 3


@pytest.mark.parametrize("dying", [(0,), (150,), (3, 90, 91, 200, 299)])
def test_a_lost_rank_is_no_end(folder, dying):
    ranks = PlayedRanks(dies_at(dying, times=1))
    assert is_whole(bulk(folder, ranks=ranks))
    assert len(ranks.orders) > len(dying)
    assert (folder / "log.txt").read_text().count("lost: rank 0") == len(dying)


def test_a_prompt_that_ends_ranks_is_set_aside_and_no_other(folder):
    made = bulk(folder, ranks=PlayedRanks(dies_at([42, 43, 130])))
    rows = list(made)
    assert [row["index"] for row in rows if row["error"]] == [42, 43, 130]
    assert "set aside: a rank was lost 3 times while this prompt was under way" in rows[42]["error"]
    assert rows[42]["prompt"] == PROMPTS[42]
    assert [row["output"] for row in rows if not row["error"]] == [
        prompt.upper() for index, prompt in enumerate(PROMPTS) if index not in (42, 43, 130)
    ]


def test_losses_are_remembered_by_who_goes_on(folder):
    die, seen = dies_at([42], times=2), []

    def dies_then_interrupts(request):
        if request.index == 42:
            seen.append(request)
            if len(seen) > 2:
                raise KeyboardInterrupt
        die(request)

    with pytest.raises(KeyboardInterrupt):
        bulk(folder, ranks=PlayedRanks(dies_then_interrupts))
    ranks = PlayedRanks(dies_at([42]))
    rows = list(bulk(folder, ranks=ranks))
    assert [row["index"] for row in rows if row["error"]] == [42]
    assert ranks.orders[-1].settings.batch_size == 1


def test_ranks_that_end_whatever_they_are_given_are_an_end(folder):
    def lost(request):
        raise RankDied(0, "rank 0 was killed.")

    ranks = PlayedRanks(lost)
    with pytest.raises(RankDied):
        bulk(folder, ranks=ranks)
    assert len(ranks.orders) == 10
    with pytest.raises(WorkersError, match="could not start"):
        bulk(folder, ranks=NeverStarts())
    assert is_whole(bulk(folder))


class NeverStarts(PlayedRanks):
    def _run(self, job, order, cancelled):
        job.set_running_or_notify_cancel()
        job.set_exception(WorkersError("the workers could not start."))


def test_a_full_disk_is_a_sentence_and_what_was_written_stays(folder):
    with pytest.raises(NbkitError, match=r"nothing more can be written in .* The 148 prompts that are done are kept"):
        bulk(folder, ranks=PlayedRanks(no_room_at(150)), settings=Settings.of(ASKED, order="as_given"))
    assert len(list(Bulk.open(folder))) == 148
    assert is_whole(bulk(folder))


@pytest.mark.parametrize(
    ("before", "error", "says"),
    [
        (no_room_at(150), NbkitError, "The {kept} prompts that are done are kept"),
        (refused_at(150), PromptError, "prompt 150 is refused"),
        (interrupted_at(150), KeyboardInterrupt, ""),
    ],
)
def test_outputs_of_a_rank_that_is_still_being_stopped_are_counted(folder, before, error, says):
    ranks = PlayedRanks(before, writes_on_s=0.5)
    with pytest.raises(error) as caught:
        bulk(folder, ranks=ranks, settings=Settings.of(ASKED, order="as_given"))
    kept = sum(1 for _ in Bulk.open(folder))
    assert Bulk.open(folder).status().finished == kept > 148
    assert says.format(kept=kept) in str(caught.value)
    assert is_whole(bulk(folder))


def test_what_a_killed_owner_did_not_tell_is_counted(folder):
    with pytest.raises(NbkitError):
        bulk(folder, ranks=PlayedRanks(no_room_at(150)), settings=Settings.of(ASKED, order="as_given"))
    kept = sum(1 for _ in Bulk.open(folder))
    write_status(folder / "status.json", BulkStatus(3, 0, total=300, is_running=True))
    status = Bulk.open(folder).status()
    assert (status.finished, status.failed, status.total, status.is_running) == (kept, 0, 300, False)


def test_no_more_is_spooled_than_is_needed(folder):
    read = []

    def prompts():
        for prompt in PROMPTS * 100:
            read.append(prompt)
            yield prompt

    furthest = []

    def look(request):
        furthest.append(len(read))

    with pytest.raises(KeyboardInterrupt):
        bulk(folder, prompts(), ranks=PlayedRanks(lambda r: look(r) or interrupted_at(1000)(r)))
    assert max(furthest) <= 1000 + 2048 + 2 * 64


def test_a_slow_source_keeps_nobody_waiting(folder, monkeypatch):
    monkeypatch.setattr(source, "WINDOW_S", 0.0)
    assert is_whole(bulk(folder, iter(PROMPTS[:20])), PROMPTS[:20])


def test_outputs_are_read_in_pieces_and_exported(folder, tmp_path):
    chat = [{"role": "user", "content": "hi"}]
    made = bulk(folder, ["=1+1", chat, "", *PROMPTS])
    tables = list(made.to_table(100))
    assert [len(table) for table in tables] == [100, 100, 100, 3]
    jsonl = made.export(tmp_path / "o.jsonl")
    assert jsonl.read_bytes() == (folder / "outputs.jsonl").read_bytes()
    from_csv = pandas.read_csv(made.export(tmp_path / "o.csv"))
    from_parquet = pandas.read_parquet(made.export(tmp_path / "o.parquet"))
    for table in (from_csv, from_parquet):
        assert table["output"][3:].tolist() == [prompt.upper() for prompt in PROMPTS]
        assert json.loads(table["prompt"][1]) == chat
        assert "empty" in table["error"][2]
    assert from_csv["prompt"][0] == "'=1+1"
    assert from_parquet["prompt"][0] == "=1+1"
    with pytest.raises(InputError, match=r"exported as .jsonl, .csv, .parquet, not as '.xlsx'"):
        made.export(tmp_path / "o.xlsx")


def test_what_is_told_while_it_runs_can_be_read_by_others(folder, monkeypatch):
    monkeypatch.setattr("nbkit.inference.bulk.driver.TELL_EVERY_S", 0.0)
    told = []

    def tell(status):
        told.append((status, nbkit.Bulk.open(folder).status()))

    bulk(folder, iter(PROMPTS), tell=tell)
    running = [(status, read) for status, read in told if status.is_running]
    assert all(read.is_running and read.finished == status.finished for status, read in running)
    assert running[-1][0].total == 300
    assert not told[-1][0].is_running
