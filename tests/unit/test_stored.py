"""Files of Runs and sweeps whose values are not what they should be: refused where they are read."""

from __future__ import annotations

import copy
import csv
import dataclasses
import html
import json

import pytest
from example_runs import run
from hypothesis import given
from hypothesis import strategies as st

from nbkit import figures
from nbkit.errors import InputError
from nbkit.figures.html.report import write_report
from nbkit.figures.html.sweep_report import write_sweep_report
from nbkit.measure.sweep import Grid, Measurement, Sweep
from nbkit.measure.sweep.record import Failure
from nbkit.records import Fallback, LoadSample, OutOfMemory
from nbkit.records.export import export_csv
from nbkit.records.headline import headline_with_note, run_note
from nbkit.records.run import Run

WHOLE = dataclasses.replace(
    run(prompts=4),
    load_samples=[LoadSample(1.5, 0, None, 90.0, 1000), LoadSample(1.5, None, 0, 90.0, 1000, 20.0, -5.0)],
    out_of_memory=[OutOfMemory(0, 1.0, 4, 2)],
    fallback=Fallback("batched", False, ("why",)),
    generation_rules={"repetition_penalty": 1.3, "bad_words_ids": [[1, 2]]},
    unheeded_rules={"num_beams": 4},
)
DATA = json.loads(json.dumps(WHOLE.to_dict()))
TEXT, NUMBER, LIST, OBJECT = "x", 5, [1], {"a": 1}


def leaves(value, at=()):
    """The places of all values, those that hold others included."""
    if at:
        yield at
    if isinstance(value, dict):
        for key, each in value.items():
            yield from leaves(each, (*at, key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from leaves(each, (*at, number))


def changed(data, at, value):
    data = copy.deepcopy(data)
    inner = data
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = value
    return data


def test_a_whole_file_loads():
    assert Run.from_dict(DATA) == WHOLE


@pytest.mark.parametrize(
    ("at", "wrong", "message"),
    [
        (("world_size",), "2", r"world_size should be a whole number, not '2'"),
        (("world_size",), 3, r"rank_numbers does not name 3 ranks"),
        (("created",), 5, r"created should be text, not 5"),
        (("machine",), [], r"machine should be an object, not \[\]"),
        (("machine", "memory_bytes"), "8 GB", r"machine\.memory_bytes should be a whole number, not '8 GB'"),
        (("machine", "node"), None, r"machine\.node should be text, not None"),
        (("prompts", 1), 7, r"prompts\[1\] should be text or a list of messages, not 7"),
        (("prompts", 1), [{"role": "user"}], r"prompts\[1\]: message 0 has no text under 'content'"),
        (("outputs", 0), ["x"], r"outputs\[0\] should be text, not \['x'\]"),
        (("outputs", 0), "\ud800", r"outputs\[0\] holds a lone surrogate"),
        (("new_tokens", 2), -1, r"new_tokens\[2\] should be at least 0 and finite, not -1"),
        (("new_tokens", 2), 7.5, r"new_tokens\[2\] should be a whole number, not 7\.5"),
        (("new_tokens", 2), True, r"new_tokens\[2\] should be a whole number, not True"),
        (("batches", 1), LIST, r"batches\[1\] should be an object, not \[1\]"),
        (("batches", 1, "decode_s"), "0.9", r"batches\[1\]\.decode_s should be a number, not '0\.9'"),
        (
            ("batches", 1, "decode_s"),
            float("nan"),
            r"batches\[1\]\.decode_s should be at least 0 and finite, not nan",
        ),
        (("batches", 1, "begin_s"), float("inf"), r"batches\[1\]\.begin_s should be at least 0 and finite, not inf"),
        (("batches", 1, "peak_memory_bytes"), 10**400, r"peak_memory_bytes should be at least 0 and finite"),
        (("batches", 1, "end_s"), 0.5, r"batches\[1\] ends at 0\.5 s, before it begins"),
        (("batches", 1, "indices"), [], r"batches\[1\]\.indices is empty"),
        (("batches", 1, "indices", 0), "0", r"batches\[1\]\.indices\[0\] should be a whole number"),
        (("batches", 1, "rank"), 9, r"batches\[1\]\.rank is 9, which is none of its rank_numbers"),
        (("ranks", 0, "node"), LIST, r"ranks\[0\]\.node should be text"),
        (("ranks", 0, "load_s"), None, r"ranks\[0\]\.load_s should be a number, not None"),
        (("ranks", 0, "world_size"), 1, r"ranks\[0\]\.world_size is 1, less than the 2 of the Run"),
        (("load_samples", 0, "busy_percent"), "90", r"load_samples\[0\]\.busy_percent should be a number"),
        (("load_samples", 0, "gpu"), 0, r"load_samples\[0\] should have either a rank or a gpu"),
        (("out_of_memory", 0, "then"), -2, r"out_of_memory\[0\]\.then should be at least 0"),
        (("fallback", "engine"), "warp", r"fallback names no engine"),
        (("fallback", "reasons"), [], r"fallback names no engine, or no reason"),
        (("fallback", "pads"), 1, r"fallback\.pads should be true or false, not 1"),
        (("generation_rules", "repetition_penalty"), float("nan"), r"generation_rules\.repetition_penalty"),
        (("settings",), TEXT, r"settings should be an object, not 'x'"),
        (("settings", "batch_size"), "3", r"settings: batch_size must be a whole number"),
        (("settings", "wings"), 2, r"settings has no field 'wings'"),
        (("wings",), 2, r"it has no field 'wings'"),
        (("batches", 1, "wings"), 2, r"batches\[1\] has no field 'wings'"),
    ],
)
def test_what_is_damaged_is_named_where_it_is(tmp_path, at, wrong, message):
    (tmp_path / "run.json").write_text(json.dumps(changed(DATA, at, wrong)))
    with pytest.raises(InputError, match=rf"run\.json: the data of this Run are damaged: .*{message}"):
        Run.load(tmp_path / "run.json")


WRONG = (
    st.sampled_from([None, True, -1, -0.5, 1e300, float("nan"), float("inf"), 10**400, 0, 2.5, "", "\ud800"])
    | st.text(max_size=3)
    | st.sampled_from([[], {}, LIST, OBJECT, [[]], [None], ["x" * 100_000], "x" * 100_000])
)


@given(at=st.sampled_from(list(leaves(DATA))), wrong=WRONG)
def test_whatever_is_wrong_is_refused_or_can_be_shown(at, wrong):
    try:
        made = Run.from_dict(changed(DATA, at, wrong))
    except InputError as error:
        str(error).encode()
        assert len(str(error)) < 500
        return
    both = {"one": made, "two": WHOLE}
    figures.comparison(both)
    figures.overlaid_throughput(both)
    figures.run_timeline(made)
    figures.time_parts(made)
    assert headline_with_note(made)
    for of in ("outputs", "batches", "ranks", "load"):
        made.table(of)
    assert Run.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_a_file_with_nothing_wrong_makes_a_report_and_tables(tmp_path):
    loaded = Run.from_dict(DATA)
    write_report({"one": loaded}, tmp_path / "r.html")
    runs, outputs = export_csv({"one": loaded}, tmp_path / "r.csv")
    assert run_note(loaded) in html.unescape((tmp_path / "r.html").read_text())
    for file, rows in ((runs, 1), (outputs, len(loaded.prompts))):
        assert len(list(csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines()))) == rows


@pytest.fixture(scope="module")
def sweep():
    grid = Grid(ranks=(1, 2), batch_sizes=(2,), axes={"max_new_tokens": (50, 100)}, repeats=1)
    measured = [
        Measurement(
            point,
            repeat,
            dataclasses.replace(run(prompts=4, world_size=point.ranks, batch_size=2), settings=point.settings),
        )
        for point, repeat in grid.plan()
    ]
    return Sweep(grid, [f"prompt {i}" for i in range(4)], measured[:-1], [Failure(measured[-1].point, 0, "it fell")])


@pytest.fixture(scope="module")
def stored(sweep, tmp_path_factory):
    path = sweep.save(tmp_path_factory.mktemp("sweep") / "sweep.json")
    assert Sweep.load(path) == sweep
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("at", "wrong", "message"),
    [
        (("created",), 5, "created should be text"),
        (("prompts",), "x", "prompts"),
        (("grid", "repeats"), "3", "repeats must be a whole number"),
        (("grid", "repeats"), 10**12, "repeats must be at most 10,000"),
        (("grid", "ranks"), ["1"], "ranks must be whole numbers"),
        (("grid", "base", "max_new_tokens"), -1, "max_new_tokens must be at least 1"),
        (("measurements",), 5, "damaged"),
        (("measurements", 0), "x", "damaged"),
        (("measurements", 0, "ranks"), "1", r"measurements\[0\]\.ranks should be a whole number, not '1'"),
        (("measurements", 0, "repeat"), -1, r"measurements\[0\]\.repeat should be at least 0"),
        (("measurements", 0, "run"), [], "damaged"),
        (("measurements", 0, "run", "ranks"), [], r"measurements\[0\]\.run\.ranks is empty"),
        (("measurements", 0, "run", "ranks", 0, "gather_s"), "x", r"ranks\[0\]\.gather_s should be a number"),
        (("failures", 0, "place"), -1, r"failures\[0\]\.place should be at least 0"),
        (("failures", 0, "place"), 99, "damaged"),
        (("failures", 0, "message"), None, r"failures\[0\]\.message should be text"),
        (("failures", 0, "repeat"), 1.5, r"failures\[0\]\.repeat should be a whole number"),
    ],
)
def test_what_of_a_sweep_is_damaged_is_named(stored, tmp_path, at, wrong, message):
    (tmp_path / "sweep.json").write_text(json.dumps(changed(stored, at, wrong)))
    with pytest.raises(InputError, match=message) as caught:
        Sweep.load(tmp_path / "sweep.json")
    assert "sweep.json" in str(caught.value)


def test_a_sweep_that_loads_makes_a_report(sweep, stored, tmp_path):
    (tmp_path / "sweep.json").write_text(json.dumps(stored))
    write_sweep_report(Sweep.load(tmp_path / "sweep.json"), tmp_path / "sweep.html")
    told = (tmp_path / "sweep.html").read_text()
    assert all(failure.message in told for failure in sweep.failures)
