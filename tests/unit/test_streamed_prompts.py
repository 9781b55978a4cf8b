"""Prompts as a stream are those that the whole-file reader gives, whatever the kind of file."""

from __future__ import annotations

import csv
import gzip
import io
import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbkit.errors import InputError
from nbkit.prompts.files import parse_prompt_file, streamed
from nbkit.prompts.files.streamed import Unreadable, stream_prompts

TEXT = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("\n\r,;\"'\\\t |🙂é\u2028\ufeff"), max_size=40
)
VALUES = st.one_of(
    TEXT,
    st.none(),
    st.integers(),
    st.fixed_dictionaries({"prompt": TEXT | st.none()}, optional={"id": st.integers(), "system": TEXT}),
    st.fixed_dictionaries({"messages": st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": TEXT}))}),
)


def written(kind: str, rows: list[tuple[str, str]]) -> bytes:
    """A table of two columns in one of the forms."""
    if kind == "parquet":
        data = io.BytesIO()
        pd.DataFrame(rows, columns=["prompt", "other"]).to_parquet(data)
        return data.getvalue()
    table = io.StringIO(newline="")
    writer = csv.writer(table, delimiter="\t" if kind == "tsv" else ",")
    writer.writerow(["prompt", "other"])
    writer.writerows(rows)
    return table.getvalue().encode()


def assert_same(path, data: bytes) -> None:
    """Both readers give the same prompts; what the whole-file reader refuses, the stream has in its place."""
    path.write_bytes(data)
    try:
        whole = parse_prompt_file(path.name, data)
    except InputError:
        try:
            found = list(stream_prompts(path))
        except InputError:
            return
        assert not found or any(isinstance(prompt, Unreadable) for prompt in found)
        return
    stream = stream_prompts(path)
    assert list(stream) == whole.prompts
    assert list(stream) == whole.prompts
    assert stream.share_read == 1.0
    assert stream.taken == whole.taken or path.suffix in (".csv", ".tsv", ".parquet")


@pytest.mark.parametrize("packed", [False, True])
@given(lines=st.lists(TEXT))
def test_lines_of_text(tmp_path_factory, lines, packed):
    data = "\n".join(lines).encode()
    path = tmp_path_factory.mktemp("p") / ("p.txt.gz" if packed else "p.txt")
    assert_same(path, gzip.compress(data) if packed else data)


@given(values=st.lists(VALUES))
def test_lines_of_json(tmp_path_factory, values):
    data = "\n".join(json.dumps(value, ensure_ascii=False) for value in values).encode()
    assert_same(tmp_path_factory.mktemp("p") / "p.jsonl", data)


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
@given(rows=st.lists(st.tuples(TEXT, TEXT), min_size=1))
def test_tables(tmp_path_factory, kind, rows):
    assert_same(tmp_path_factory.mktemp("p") / f"p.{kind}", written(kind, rows))


def test_a_document_is_read_as_a_whole_up_to_a_size(tmp_path, monkeypatch):
    path = tmp_path / "p.json"
    assert_same(path, json.dumps(["a", "b"]).encode())
    monkeypatch.setattr(streamed, "MOST_WHOLE_BYTES", 3)
    with pytest.raises(InputError, match=r"write a value a line \(jq"):
        stream_prompts(path)


def test_a_row_that_cannot_be_read_stands_in_the_stream(tmp_path):
    lines = tmp_path / "p.jsonl"
    lines.write_bytes(b'{"prompt": "a"}\n{"prompt": \n{"prompt": 3}\n"\xff"\n""\n{"prompt": "b"}\n')
    found = list(stream_prompts(lines))
    assert [found[0], found[-1]] == ["a", "b"]
    assert [isinstance(each, Unreadable) for each in found] == [False, True, True, True, True, False]
    assert "line 2: not JSON" in found[1].why
    table = tmp_path / "p.csv"
    table.write_bytes(b"prompt,id\na,1\nb\nc,3\n")
    found = list(stream_prompts(table))
    assert [found[0], found[2]] == ["a", "c"]
    assert "line 3: 1 cell" in found[1].why


def test_the_column_is_the_one_asked_for_and_one_that_is_not_there_is_refused(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("question,answer\na,b\n")
    assert list(stream_prompts(path, "answer")) == ["b"]
    assert stream_prompts(path, "answer").column == "answer"
    with pytest.raises(InputError, match="has no column 'prompt'"):
        stream_prompts(path)
    with pytest.raises(InputError, match="cannot read the prompts"):
        stream_prompts(tmp_path / "none.txt")
    with pytest.raises(InputError, match="without columns"):
        (tmp_path / "p.txt").write_text("a")
        stream_prompts(tmp_path / "p.txt", "answer")


def test_a_damaged_archive_says_so(tmp_path):
    path = tmp_path / "p.txt.gz"
    path.write_bytes(gzip.compress(b"a\n" * 10000)[:-20])
    with pytest.raises(InputError, match="cannot be read to its end"):
        list(stream_prompts(path))
