from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading

import pytest
from example_runs import MACHINE, article, batch, finished, outputs, rank_record, run
from hypothesis import given
from hypothesis import strategies as st

from nbkit.errors import InputError
from nbkit.files.atomic_write import check_writable, write_atomically
from nbkit.records import Fallback, LoadSample, Output
from nbkit.records.request import Conversation
from nbkit.records.run import PARTS, Run


@given(
    prompts=st.integers(1, 60), world_size=st.integers(1, 8), batch_size=st.integers(1, 20), seed=st.integers(0, 99)
)
def test_outputs_stand_in_the_prompts_order_however_they_came(prompts, world_size, batch_size, seed):
    made = Run.assemble(
        article(),
        [f"prompt {i}" for i in range(prompts)],
        finished(prompts, world_size, batch_size, seed),
        [rank_record(rank, world_size, prompts) for rank in range(world_size)],
        world_size,
        MACHINE,
    )

    assert made.outputs == [f"output {i} é🙂" for i in range(prompts)]
    assert sorted(i for b in made.batches for i in b.indices) == list(range(prompts))
    assert made.is_complete
    assert made.total_new_tokens == 7 * prompts
    assert made.total_computed_tokens == 10 * prompts
    for rank in range(world_size):
        parts = made.time_parts(rank)
        assert tuple(parts) == PARTS
        assert sum(parts.values()) == pytest.approx(made.wall_s)


@given(st.data())
def test_the_parts_of_every_rank_add_up_to_the_wall_time(data):
    seconds = st.floats(0, 100)
    world_size = data.draw(st.integers(1, 4))
    ranks, batches = [], []
    for rank in range(world_size):
        now = begin_s = data.draw(seconds)
        for number in range(data.draw(st.integers(0, 3))):
            tokenize_s, prefill_s, decode_s, detokenize_s, idle_s = (data.draw(seconds) for _ in range(5))
            end_s = now + tokenize_s + prefill_s + decode_s + detokenize_s
            made = dataclasses.replace(
                batch(rank, (4 * number + rank,)),
                tokenize_s=tokenize_s,
                prefill_s=prefill_s,
                decode_s=decode_s,
                detokenize_s=detokenize_s,
                begin_s=now,
                end_s=end_s,
            )
            batches.append((made, outputs(made.indices)))
            now = end_s + idle_s
        waiting_s, gather_s = data.draw(seconds), data.draw(seconds)
        record = rank_record(rank, world_size, 12, begin_s, now + waiting_s + gather_s)
        ranks.append(dataclasses.replace(record, waiting_s=waiting_s, gather_s=gather_s))

    made = Run.assemble(article(), ["p"] * 12, batches, ranks, world_size, MACHINE)

    assert made.wall_s == max(r.end_s for r in ranks) - min(r.begin_s for r in ranks)
    for rank in range(world_size):
        parts = made.time_parts(rank)
        assert sum(parts.values()) == pytest.approx(made.wall_s)
        assert min(parts.values()) > -1e-9


def test_derived_figures_have_their_definitions():
    made = run(prompts=4, world_size=1, batch_size=2)

    assert made.wall_s == pytest.approx(8.0)
    assert made.tokens_per_second == pytest.approx(28 / 8)
    assert made.computed_tokens_per_second == pytest.approx(40 / 8)
    assert made.padding_share == pytest.approx(3 / 8)
    assert made.mean_ttft_s == pytest.approx(0.3)
    assert made.mean_tpot_s == pytest.approx(0.9 / 9)
    assert made.batches[0].steps == 10
    assert made.peak_memory_bytes == 1000


def test_a_stopped_run_has_gaps_and_says_so():
    partial = Run.assemble(article(), list("abcd"), [(batch(1, (3, 1)), outputs((3, 1)))], [], 2, MACHINE)

    assert partial.outputs == [None, "output 1 é🙂", None, "output 3 é🙂"]
    assert partial.new_tokens == [0, 7, 0, 7]
    assert partial.finished_prompts == 2
    assert not partial.is_complete
    assert partial.summary()["prompts"] == "2 of 4"
    assert partial.wall_s == pytest.approx(1.3)


def test_an_empty_run_divides_by_nothing():
    empty = Run.assemble(article(), ["a"], [], [], 0, MACHINE)
    assert empty.summary()["tokens/s"] == 0
    assert empty.summary()["TTFT ms"] == 0


def test_a_run_saves_and_loads(tmp_path):
    made = run()
    assert Run.load(made.save(tmp_path / "deep" / "run.json")) == made
    assert json.loads((tmp_path / "deep" / "run.json").read_text())["schema_version"] == 9


any_text = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.tuples(any_text, st.none() | any_text), min_size=1, max_size=6))
def test_any_text_survives_the_file(pairs):
    answered = [(i, text) for i, (_, text) in enumerate(pairs) if text is not None]
    batches = [(batch(0, (i,)), [Output(i, text, 5, 7, "length")]) for i, text in answered]
    made = Run.assemble(article(), [prompt for prompt, _ in pairs], batches, [], 1, MACHINE)
    as_json = json.dumps(made.to_dict(), ensure_ascii=False).encode()
    assert Run.from_dict(json.loads(as_json)) == made


def test_a_partial_run_saves_and_loads(tmp_path):
    partial = Run.assemble(article(), list("abcd"), [(batch(1, (3, 1)), outputs((3, 1)))], [], 2, MACHINE)
    again = Run.load(partial.save(tmp_path / "partial.json"))
    assert again == partial
    assert not again.is_complete


@pytest.mark.ranks
def test_a_disk_that_fills_while_saving_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "run.json"
    run(prompts=2).save(path)
    before = path.read_text()
    # A limit on a file's size fails a write half way, as a full disk does.
    code = (
        "import resource, sys; from nbkit.files.atomic_write import write_atomically\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "write_atomically(sys.argv[1], 'x' * 100_000)"
    )
    ran = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert f"InputError: cannot write {path}: File too large" in ran.stderr
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


def test_saves_from_several_threads_do_not_disturb_each_other(tmp_path):
    path, failures = tmp_path / "run.json", []

    def save(letter):
        try:
            for _ in range(30):
                write_atomically(path, letter * 50_000)
        except InputError as error:
            failures.append(error)

    threads = [threading.Thread(target=save, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert path.read_text() in {letter * 50_000 for letter in "abcd"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    run(prompts=2).save(path)
    before = path.read_text()

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(InputError, match="No space left"):
        run(prompts=3).save(path)
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "holds no saved Run"),
        ("[]", "schema version"),
        ('{"schema_version": 99}', "schema version 1 to 9 .found 99"),
        ('{"schema_version": 1}', "damaged"),
        ("[" * 100_000, "holds no saved Run"),
        ('{"schema_version": ' + "1" * 5000 + "}", "holds no saved Run"),
        ('{"schema_version": 1, "settings": {"engine": "warp"}}', "engine"),
    ],
)
def test_a_file_that_is_no_run_is_named(tmp_path, content, message):
    path = tmp_path / "junk.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        Run.load(path)
    assert "junk.json" in str(caught.value)


@pytest.mark.parametrize("damage", ["outputs", "prompt_tokens", "new_tokens", "finish_reasons"])
def test_a_run_whose_lists_do_not_match_its_prompts_is_damaged(damage):
    data = run().to_dict()
    data[damage] = data[damage][:-1]
    with pytest.raises(InputError, match="damaged"):
        Run.from_dict(data)


@pytest.mark.parametrize("field", ["settings", "prompts", "outputs", "batches", "ranks", "world_size", "machine"])
def test_a_run_without_one_of_its_fields_is_damaged(field):
    data = run().to_dict()
    del data[field]
    with pytest.raises(InputError, match="damaged"):
        Run.from_dict(data)


def test_a_file_that_is_not_text_is_named(tmp_path):
    path = tmp_path / "binary.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary\.json holds no saved Run"):
        Run.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.json: No such file"):
        Run.load(tmp_path / "gone.json")


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a folder"):
        check_writable(tmp_path)
    with pytest.raises(InputError, match="cannot write"):
        check_writable(tmp_path / "file" / "run.json")
    with pytest.raises(InputError, match="cannot write"):
        write_atomically(tmp_path / "file" / "run.json", "")


@pytest.mark.parametrize(("of", "rows"), [("outputs", 10), ("batches", 4), ("ranks", 2)])
def test_tables_have_a_row_for_each(of, rows):
    table = run().table(of)
    assert len(table) == rows
    if of == "outputs":
        told = ["prompt", "output", "prompt_tokens", "new_tokens", "finish_reason"]
        assert list(table.columns) == [*told, "ttft_s", "end_to_end_s", "itl_p50_s", "itl_max_s"]


def test_tables_say_what_the_run_says():
    made = run(prompts=10, world_size=2, batch_size=3)
    assert made.table("outputs")["output"].tolist() == made.outputs
    assert made.table("outputs")["new_tokens"].sum() == made.total_new_tokens
    assert made.table("batches")["indices"].tolist() == [b.indices for b in made.batches]
    ranks = made.table("ranks")
    assert ranks["rank"].tolist() == [0, 1]
    assert ranks[list(PARTS)].sum(axis=1).tolist() == pytest.approx([made.wall_s] * 2)


def test_a_summary_is_one_row_of_what_was_asked_and_what_it_brought():
    made = run(prompts=4, world_size=1, batch_size=2)
    assert made.summary() == {
        "engine": "batched",
        "workers": 1,
        "batch size": 2,
        "schedule": "static, as given",
        "dtype": "float32",
        "prompts": "4 of 4",
        "new tokens": 28,
        "computed tokens": 40,
        "wall s": 8.0,
        "warm-up s": 0.0,
        "tokens/s": 3.5,
        "TTFT ms": 300.0,
        **dict.fromkeys(("TTFT p50 ms", "TTFT p90 ms", "TTFT p99 ms")),
        "TPOT ms": 100.0,
        **dict.fromkeys(("ITL p50 ms", "ITL p90 ms", "ITL p99 ms")),
        **dict.fromkeys(("end-to-end p50 ms", "end-to-end p90 ms", "end-to-end p99 ms")),
        "padding %": 37.5,
        "peak MB": 0,
    }
    assert run(engine="simple", batch_size=16).summary()["batch size"] == 1


def test_there_is_no_other_table():
    with pytest.raises(InputError, match="outputs, batches, ranks and load"):
        run().table("tokens")


def test_a_run_of_the_first_schema_still_loads():
    data = json.loads(json.dumps(run().to_dict()))
    del data["load_samples"], data["prompt_tokens"], data["ranks"][0]["order_s"]
    loaded = Run.from_dict(data | {"schema_version": 1})
    assert loaded.load_samples == []
    assert loaded.outputs == run().outputs
    assert loaded.prompt_tokens == run().prompt_tokens == [5] * 10


def test_tokens_that_an_old_file_tells_of_a_batch_only_are_shared_out_without_loss():
    data = json.loads(json.dumps(run(prompts=10, batch_size=3).to_dict()))
    del data["prompt_tokens"]
    data["batches"][0]["prompt_tokens"] = 17
    loaded = Run.from_dict(data | {"schema_version": 2})
    assert sorted(loaded.prompt_tokens[i] for i in loaded.batches[0].indices) == [5, 6, 6]


def test_conversations_and_what_was_fallen_back_to_are_saved_with_the_run(tmp_path):
    talk = Conversation.of([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi?"}])
    made = dataclasses.replace(
        run(prompts=1),
        prompts=[talk],
        fallback=Fallback("batched", False, ("'compiled': it fails",)),
        generation_rules={"repetition_penalty": 1.3},
        unheeded_rules={"num_beams": 4},
    )
    loaded = Run.load(made.save(tmp_path / "run.json"))
    assert (loaded.prompts, loaded.fallback) == ([talk], made.fallback)
    assert (loaded.generation_rules, loaded.unheeded_rules) == (made.generation_rules, made.unheeded_rules)
    assert loaded.table("outputs")["prompt"].tolist() == ["system: Be brief.\nuser: Hi?"]


def test_a_run_is_named_by_the_engine_that_generated_it():
    asked = run(engine="compiled", batch_size=4)
    assert (asked.engine, asked.engine_label, asked.is_in_flight) == ("compiled", "compiled", True)
    other = dataclasses.replace(asked, fallback=Fallback("simple", False, ("why",)))
    assert (other.engine, other.engine_label, other.is_in_flight) == ("simple", "simple (asked: compiled)", False)
    assert (other.batch_size, other.summary()["engine"]) == (1, "simple (asked: compiled)")


def test_ranks_left_idle_are_counted():
    made = run(world_size=2)
    assert made.idle_ranks == 0
    idle = dataclasses.replace(made, ranks=[dataclasses.replace(r, world_size=5) for r in made.ranks])
    assert idle.idle_ranks == 3
    assert idle.summary()["workers"] == "2 of 5"


def test_load_samples_are_saved_with_the_run(tmp_path):
    samples = [LoadSample(0.5, 1, None, 97.5, 250_000_000), LoadSample(0.5, None, 0, 40.0, 10**10, 210.0, 55.0)]
    made = dataclasses.replace(run(), load_samples=samples)
    loaded = Run.load(made.save(tmp_path / "run.json"))
    assert loaded.load_samples == samples
    assert [sample.of for sample in loaded.load_samples] == ["rank 1", "GPU 0"]
    assert list(loaded.table("load").busy_percent) == [97.5, 40.0]


def test_what_is_no_text_is_refused_and_the_old_file_stays(tmp_path):
    path = write_atomically(tmp_path / "file.txt", "old")
    with pytest.raises(InputError, match="character 3 of its content is no text"):
        write_atomically(path, "abc\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("path", ["\0", "a/\0/b.json", "\ud800.json", None, 5])
def test_what_no_file_can_be_named_is_an_input_error(path):
    for use in (Run.load, check_writable, run(prompts=1).save):
        with pytest.raises(InputError, match="file's name") as caught:
            use(path)
        str(caught.value).encode()


def test_a_name_that_is_too_long_is_refused_before_work_starts(tmp_path):
    with pytest.raises(InputError, match=r"cannot write .*File name too long; name another place") as caught:
        check_writable(tmp_path / ("x" * 100_000))
    assert len(str(caught.value)) < 500
    # As long as the system allows.
    longest = tmp_path / ("x" * 250 + ".json")
    assert Run.load(run(prompts=1).save(longest)) == run(prompts=1)
