from __future__ import annotations

import dataclasses
import json

import pandas
import pytest
from example_runs import run

from nbkit.errors import InputError
from nbkit.records.export import export_csv, export_json, load_runs
from nbkit.records.run import SCHEMA_VERSION, Run

FORMULAS = [
    *("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\r\n=1"),
    *(f"{unseen}=1" for unseen in "\x0b\x85\u2028\u200b\u202e\ufeff"),
    *(f"{start}1" for start in "\uff1d\uff0b\uff0d\uff20\ufe63\u2212"),
]
HARMLESS = ["1=1", " =1", "a;=1", 'he said "=1"', "two\nlines, é🙂 שלום", ""]


def with_texts(prompts: list[str], outputs: list[str | None]) -> Run:
    n = len(prompts)
    return dataclasses.replace(
        run(),
        prompts=prompts,
        outputs=outputs,
        prompt_tokens=[1] * n,
        new_tokens=[1] * n,
        finish_reasons=["stop"] * n,
        times=[],
    )


def test_two_tables_stand_beside_each_other(tmp_path):
    runs = {"one": run(prompts=4, dtype="auto"), "two": run(prompts=3, engine="simple")}
    paths = export_csv(runs, tmp_path / "new folder" / "mine.csv")

    assert [path.name for path in paths] == ["mine-runs.csv", "mine-outputs.csv"]
    about, outputs = (pandas.read_csv(path) for path in paths)
    settings = [f"settings.{field.name}" for field in dataclasses.fields(run().settings)]
    assert list(about) == ["name", "created", *run().summary(), *settings]
    assert list(about["name"]) == ["one", "two"]
    assert list(about["dtype"]) == ["float32", "float32"]
    assert list(about["settings.dtype"]) == ["auto", "auto"]
    assert list(about["batch size"]) == [3, 1]
    told = ["run", "index", "prompt", "output", "prompt_tokens", "new_tokens", "finish_reason"]
    assert list(outputs) == [*told, "ttft_s", "end_to_end_s", "itl_p50_s", "itl_max_s"]
    assert list(outputs["run"]) == ["one"] * 4 + ["two"] * 3
    assert list(outputs["index"]) == [0, 1, 2, 3, 0, 1, 2]
    assert outputs["output"][1] == "output 1 é🙂"
    assert list(outputs["new_tokens"]) == [7] * 7


def test_no_text_is_run_as_a_formula(tmp_path):
    texts = [*FORMULAS, *HARMLESS]
    made = dataclasses.replace(with_texts(texts, texts[::-1]), created="-1")
    paths = export_csv({"=evil": made}, tmp_path / "x")
    # By its own line ends: a carriage return is a text's here.
    about, outputs = (pandas.read_csv(path, keep_default_na=False, lineterminator="\n") for path in paths)

    assert list(outputs["prompt"]) == ["'" + text for text in FORMULAS] + HARMLESS
    assert list(outputs["output"]) == (["'" + text for text in FORMULAS] + HARMLESS)[::-1]
    assert set(outputs["run"]) == {"'=evil"}
    assert (about["name"][0], about["created"][0]) == ("'=evil", "'-1")
    # In quotes, so that a semicolon begins no cell where it separates cells.
    assert '"a;=1"' in paths[1].read_text()


def test_prompts_without_output_have_an_empty_cell(tmp_path):
    made = dataclasses.replace(with_texts(["p", "q"], [None, "text"]), finish_reasons=[None, "stop"])
    outputs = pandas.read_csv(export_csv({"stopped": made}, tmp_path / "x.csv")[1])
    assert list(outputs["output"].isna()) == [True, False]
    assert list(outputs["finish_reason"].isna()) == [True, False]


def test_excel_is_told_that_the_tables_are_utf_8(tmp_path):
    for path in export_csv({"one": run()}, tmp_path / "x.csv"):
        assert path.read_bytes().startswith(b"\xef\xbb\xbf")


def test_runs_come_back_as_they_were(tmp_path):
    runs = {"one": run(), "=two é": with_texts(["=1"], [None])}
    path = export_json(runs, tmp_path / "runs.json")
    assert load_runs(path) == runs
    assert list(load_runs(path)) == list(runs)


def test_a_single_saved_run_is_named_as_its_file(tmp_path):
    assert load_runs(run().save(tmp_path / "demo-batched.json")) == {
        "demo-batched": Run.load(tmp_path / "demo-batched.json")
    }


@pytest.mark.parametrize("export", [export_csv, export_json])
def test_what_cannot_be_exported_is_said(export, tmp_path):
    with pytest.raises(InputError, match="no Runs to export; give at least one"):
        export({}, tmp_path / "x")
    with pytest.raises(InputError, match="is a folder; name a file in it"):
        export({"one": run()}, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not JSON", "x.json holds no saved Runs"),
        ("[" * 100_000, "x.json holds no saved Runs"),
        ("[]", "x.json: not a Run of schema version"),
        ('{"schema_version": 99}', rf"x.json: not a Run of schema version 1 to {SCHEMA_VERSION} \(found 99\)"),
        ('{"schema_version": 99, "runs": {}}', "in version 99, not 1; a newer file needs a newer nbkit"),
        ('{"schema_version": 1, "runs": {}}', "x.json holds no Runs; write it with"),
        ('{"schema_version": 1, "runs": [1]}', "x.json holds no Runs; write it with"),
        ('{"schema_version": 1, "runs": {"one": 3}}', "x.json, Run 'one': not a Run"),
        ('{"schema_version": 1, "runs": {"one": {"schema_version": 2}}}', "x.json, Run 'one': .*damaged"),
    ],
)
def test_a_file_that_is_no_runs_is_refused(content, message, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        load_runs(path)


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*No such file"):
        load_runs(tmp_path / "none.json")
    (tmp_path / "x.json").write_bytes(b"\xff")
    with pytest.raises(InputError, match="holds no saved Runs"):
        load_runs(tmp_path / "x.json")


def test_every_run_says_its_own_schema_version(tmp_path):
    data = json.loads(export_json({"one": run()}, tmp_path / "x.json").read_text(encoding="utf-8"))
    assert data["schema_version"] == 1
    assert data["runs"]["one"]["schema_version"] == SCHEMA_VERSION
