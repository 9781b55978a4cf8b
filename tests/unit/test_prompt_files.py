from __future__ import annotations

import csv
import gzip
import io
import json

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from nbkit.errors import InputError
from nbkit.prompts.files import PROMPT_ENDINGS, endings, parse_prompts, prompt_columns, read_prompts
from nbkit.records.request import Conversation

TEXT = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("\n\r,;\"'\\\t 🙂é\u2028\ufeff"), max_size=40
)
CELLS = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8)
TABLE = {"id": ["1", "NA", "null", "3"], "prompt": ["NA", 'a, "b"\nc', None, " 007"], "text": ["", "x", " ", "🙂"]}


def test_text_files_hold_a_prompt_a_line(tmp_path):
    file = tmp_path / "p.txt"
    file.write_bytes("\ufeffone\r\n\r\n  two\nthree\u2028still three".encode())
    assert read_prompts(file) == ["one", "  two", "three\u2028still three"]


def test_jsonl_files_hold_strings_or_objects(tmp_path):
    file = tmp_path / "p.jsonl"
    lines = [json.dumps("a\nb"), "", json.dumps({"prompt": "c\u2028d", "id": 7}, ensure_ascii=False)]
    file.write_text("\n".join(lines), encoding="utf-8")
    assert read_prompts(file) == ["a\nb", "c\u2028d"]
    assert read_prompts(file, column="prompt") == ["a\nb", "c\u2028d"]


def test_files_from_windows_are_read():
    assert parse_prompts("p.jsonl", '\ufeff"a"\r\n\r\n{"prompt": "b"}\r\n'.encode()) == ["a", "b"]
    assert parse_prompts("P.CSV", '\ufeff"prompt",id\r\n"a\r\nb",1\r\n\r\nc,2\r\n'.encode()) == ["a\r\nb", "c"]
    assert parse_prompts("P.Txt", b"a\r\n") == ["a"]


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_a_table_gives_the_same_prompts_from_each_kind_of_file(tmp_path, ending):
    file = tmp_path / f"p.{ending}"
    file.write_bytes(table_bytes(ending, TABLE))
    assert prompt_columns(file.name, file.read_bytes()) == ["id", "prompt", "text"]
    assert read_prompts(file) == ["NA", 'a, "b"\nc', " 007"]
    assert read_prompts(file, column="text") == ["x", "🙂"]
    assert read_prompts(file, column="id") == ["1", "NA", "null", "3"]


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_an_only_column_needs_no_choice_and_several_do(ending):
    assert parse_prompts(f"p.{ending}", table_bytes(ending, {"question": ["a"]})) == ["a"]
    listed = r"has no (column|key) 'prompt'; .* column='question' .* of: 'question' \('a'\), 'answer' \('b'\)\."
    with pytest.raises(InputError, match=listed):
        parse_prompts(f"p.{ending}", table_bytes(ending, {"question": ["a"], "answer": ["b"]}))


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_a_column_that_is_not_there_comes_with_those_that_are(ending):
    listed = rf"p\.{ending} has no (column|key) 'nope'; .* of: 'prompt' \(.a, .*\), 'text' \('x'\)\."
    with pytest.raises(InputError, match=listed):
        parse_prompts(f"p.{ending}", table_bytes(ending, TABLE), "nope")


def test_only_keys_with_text_are_columns_of_jsonl():
    data = b'"a string"\n{"id": 3, "tags": ["a"], "question": "b"}\n{"question": null}'
    assert prompt_columns("p.jsonl", data) == ["question"]
    assert parse_prompts("p.jsonl", data) == ["a string", "b"]


def test_a_null_in_the_first_object_does_not_make_another_key_the_prompts():
    assert parse_prompts("p.jsonl", b'{"prompt": null, "text": "a"}\n{"prompt": "b", "text": "c"}') == ["b"]


def test_text_and_json_strings_have_no_columns():
    assert prompt_columns("p.txt", b"prompt,b") == []
    assert prompt_columns("p.jsonl", b'"a"\n"b"') == []
    assert prompt_columns("p.jsonl", b"") == []


def test_columns_are_known_from_the_head_of_a_large_file(monkeypatch):
    broken_at_the_end = b"prompt,id\n" + b"a,1\n" * 1_000_000 + b"\xff,1,2,3\n"
    assert prompt_columns("p.csv", broken_at_the_end) == ["prompt", "id"]
    monkeypatch.setattr(parquet.ParquetFile, "read", None)
    assert prompt_columns("p.parquet", table_bytes("parquet", TABLE)) == ["id", "prompt", "text"]


def test_the_index_of_pandas_is_no_column():
    shuffled = pd.DataFrame({"text": ["a", "b", "c"]}).iloc[[2, 0]]
    data = shuffled.to_parquet()
    assert prompt_columns("p.parquet", data) == ["text"]
    assert parse_prompts("p.parquet", data) == ["c", "a"]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()])
def test_each_way_parquet_keeps_text_is_text(kind):
    cells = pa.array(["a", None, "🙂"]).cast(kind)
    assert parse_prompts("p.parquet", parquet_bytes(pa.table({"prompt": cells}))) == ["a", "🙂"]


@given(CELLS)
def test_csv_gives_back_what_was_written(rows):
    file = io.StringIO(newline="")
    csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("prompt", "id"), *rows])
    check_column("p.csv", file.getvalue().encode(), [prompt for prompt, _ in rows])


@given(CELLS)
def test_parquet_gives_back_what_was_written(rows):
    data = table_bytes("parquet", {"prompt": [prompt for prompt, _ in rows], "id": [other for _, other in rows]})
    check_column("p.parquet", data, [prompt for prompt, _ in rows])


@given(CELLS, st.booleans())
def test_jsonl_gives_back_what_was_written(rows, ensure_ascii):
    lines = [json.dumps({"prompt": prompt, "id": other}, ensure_ascii=ensure_ascii) for prompt, other in rows]
    check_column("p.jsonl", "\n".join(lines).encode(), [prompt for prompt, _ in rows])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", b"caf\xe9", "not UTF-8 text .byte 3"),
        ("p.txt", b"", "no prompts"),
        ("p.txt", b"\n \n", "no prompts"),
        ("prompts", b"a", r"ends in \.txt, .* \.tsv or \.parquet, with or without \.gz, not 'nothing'"),
        ("p.zip.gz", b"a", r"not '\.zip\.gz'"),
        ("p.xlsx", b"a", r"p\.xlsx: .* not '\.xlsx'"),
        ("p.jsonl", b'"a"\r\n\r\n""\r\n', "line 3: expected a string or an object"),
        ("p.jsonl", b'["a"]', "line 1: expected a string or an object"),
        ("p.jsonl", b'"a"\n' + b"[" * 100_000, "line 2: not JSON"),
        ("p.jsonl", b'"a"\n' + b"1" * 5000, "line 2: "),
        ("p.jsonl", b'"a"\n{"prompt": 3}', "line 2: expected a string or an object with text under the key 'prompt'"),
        ("p.jsonl", b'{"prompt": "a"}\n{"text": "b"}', "line 2: expected a string or an object"),
        ("p.jsonl", b'{"prompt": " "}', "no prompts"),
        ("p.jsonl", b'"a"\n\n{broken', "line 3: not JSON"),
        ("p.csv", b"", r"p\.csv is empty; write a header"),
        ("p.csv", b"prompt\n", "no prompts"),
        ("p.csv", b'prompt\n" "\n', "no prompts"),
        ("p.csv", b"prompt\nwell, yes\n", "line 2: 2 cells, separated by commas, where the header has 1"),
        ("p.csv", b"prompt\nyes\n\nwell\nso, then\n", "line 5: 2 cells"),
        ("p.csv", b"prompt;score\nHi;0,5\nHi; you;1\n", "line 3: 3 cells, separated by semicolons, .* has 2"),
        ("p.csv", b"prompt,id\nall of it\n", "line 2: 1 cell, separated by commas, where the header has 2"),
        ("p.csv", b"q;a,b\nx;y,z\n", "can be split by commas and by semicolons; .* in double quotes"),
        ("p.csv", b'prompt\n"a\n', "line 2: no row of cells .unexpected end of data.; .* double quote"),
        ("p.csv", b'prompt,id\n"a" b,1\n', "line 2: no row of cells"),
        ("p.jsonl", b'{"prompt": "a", "prompt": "b"}', "line 1: not JSON .the key 'prompt' comes twice"),
        ("p.json", b'[\n"a",\n', "p.json is not JSON .Expecting value: line 3"),
        ("p.json", b'["a", 3]', "p.json, entry 2: expected a string"),
        ("p.json", b"{}", "p.json, its object: expected a string"),
        ("p.json", b"[" * 100_000, "p.json is not JSON"),
        ("p.csv", b"prompt\n" + b"a\n" * 500_000 + b"\xe9", "not UTF-8 text .byte 1000007"),
        ("p.csv", b"prompt,prompt\na,b", "2 columns 'prompt'"),
        ("p.parquet", b"", r"p\.parquet cannot be read as Parquet: "),
        ("p.parquet", b"PAR1 no table PAR1", "cannot be read as Parquet: "),
    ],
)
def test_a_file_that_cannot_be_used_says_where(tmp_path, name, content, message):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_prompts(file)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([None, 3], "row 2: column 'prompt' holds 3, which is no text"),
        ([["a"], None], r"row 1: column 'prompt' holds \['a'\]"),
        ([b"a"], "row 1: column 'prompt' holds b'a'"),
        ([{"role": "user"}], "row 1: column 'prompt' holds {'role': 'user'}"),
        ([[], None], r"row 1: column 'prompt' holds \[\]"),
        ([None, None], "no prompts"),
    ],
)
def test_cells_of_parquet_that_are_no_text_are_named(cells, message):
    with pytest.raises(InputError, match=message):
        parse_prompts("p.parquet", parquet_bytes(pa.table({"prompt": cells})))


def test_damaged_parquet_is_an_input_error():
    whole = table_bytes("parquet", {"prompt": [f"prompt {i}" for i in range(1000)]})
    for at in range(4, len(whole) - 8, 97):
        damaged = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
        try:
            parse_prompts("p.parquet", damaged)
        except InputError as error:
            assert "p.parquet" in str(error)


@pytest.mark.parametrize("read", [parse_prompts, prompt_columns])
@pytest.mark.parametrize("name", ["p.csv", "p.jsonl"])
def test_a_head_that_is_no_text_is_an_input_error(read, name):
    with pytest.raises(InputError, match=r"not UTF-8 text .byte 1\b"):
        read(name, b"a\xe9,b")


def test_a_column_of_a_text_file_is_refused():
    with pytest.raises(InputError, match=r"p\.txt is text without columns"):
        parse_prompts("p.txt", b"a", "prompt")


def test_a_column_of_parquet_that_begins_with_nulls_may_hold_the_prompts():
    table = pa.table({"a": [None] * 200 + ["x"], "b": ["y"] * 201})
    with pytest.raises(InputError, match=r"of: 'a' \(None\), 'b' \('y'\)"):
        parse_prompts("p.parquet", parquet_bytes(table))


@pytest.mark.parametrize(
    ("text", "prompts", "said"),
    [
        ("prompt;score\r\nHi, you;0,5\r\n", ["Hi, you"], "took the column 'prompt'; semicolons separate"),
        ('\ufeffprompt;kind\n"Hello, world; yes";x\n', ["Hello, world; yes"], "semicolons"),
        ("prompt\tkind\nAdd, then stop\tmath\n", ["Add, then stop"], "tabs"),
        ("prompt | kind\nAdd 2 | math\n", ["Add 2"], "bars"),
        ("sep=;\nprompt;kind\nAdd 2;math\n", ["Add 2"], "semicolons"),
        ("id;question\n1;What, then?\n", ["What, then?"], "took the column 'question'; semicolons"),
        ("id,question\nq1,What?\n", ["What?"], "took the column 'question'."),
        ("Write a poem\nAdd 2\n", ["Add 2"], "took the column 'Write a poem'."),
        ("prompt\nHello; world | yes\n", ["Hello; world | yes"], ""),
        ('prompt,kind\n"a;b|c",d\n', ["a;b|c"], ""),
        ("\n\nprompt\n\n  \nHi\n", ["Hi"], ""),
    ],
)
def test_the_separator_is_the_one_that_splits_the_rows_evenly(tmp_path, capsys, text, prompts, said):
    (tmp_path / "p.csv").write_bytes(text.encode())
    assert read_prompts(tmp_path / "p.csv") == prompts
    printed = capsys.readouterr().out
    assert said in printed if said else not printed


def test_what_is_plain_is_not_said(tmp_path, capsys):
    (tmp_path / "p.tsv").write_text("prompt\tid\na, b\t1\n")
    (tmp_path / "p.jsonl").write_text('{"question": "a"}\n')
    assert read_prompts(tmp_path / "p.tsv") == ["a, b"]
    assert read_prompts(tmp_path / "p.tsv", "id") == ["1"]
    assert read_prompts(tmp_path / "p.jsonl") == ["a"]
    assert not capsys.readouterr().out


@given(CELLS, st.sampled_from(",;\t|"), st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
def test_a_table_is_read_back_whatever_separates_it(rows, separator, quoting):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=separator, quoting=quoting).writerows([("prompt", "id"), *rows])
    check_column("p.tsv" if separator == "\t" else "p.csv", file.getvalue().encode(), [prompt for prompt, _ in rows])


@pytest.mark.parametrize("ending", ["txt", "jsonl", "csv", "parquet"])
def test_packed_files_are_read(ending):
    data = b"a\n" if ending == "txt" else table_bytes(ending, {"prompt": ["a"]})
    assert parse_prompts(f"p.{ending}.gz", gzip.compress(data)) == ["a"]
    assert prompt_columns(f"p.{ending}.GZ", gzip.compress(data)) == ([] if ending == "txt" else ["prompt"])


def test_packed_files_that_are_damaged_or_huge_are_refused(monkeypatch):
    packed = gzip.compress(b"a\n" * 100_000)
    flipped = packed[:20] + bytes([packed[20] ^ 0xFF]) + packed[21:]
    for damaged in (b"", b"a\n", packed[:-5], packed[:50], flipped, packed + b"rest"):
        if damaged:
            with pytest.raises(InputError, match=r"p\.txt\.gz cannot be unpacked by gzip"):
                parse_prompts("p.txt.gz", damaged)
    monkeypatch.setattr(endings, "MOST_UNPACKED_BYTES", 100_000)
    with pytest.raises(InputError, match=r"p\.txt\.gz unpacks to more than 0.0001 GB; split it"):
        parse_prompts("p.txt.gz", packed)


@given(st.sampled_from(PROMPT_ENDINGS), st.binary(max_size=40) | TEXT.map(str.encode), st.none() | st.just("prompt"))
def test_bytes_of_any_kind_are_read_or_refused(ending, data, column):
    check_prompts_or_refusal(f"p{ending}", data, column)
    check_prompts_or_refusal(f"p{ending}.gz", data, column)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.txt: No such file"):
        read_prompts(tmp_path / "gone.txt")


def test_a_folder_is_no_file_of_prompts(tmp_path):
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(InputError, match=r"folder\.txt: Is a directory"):
        read_prompts(tmp_path / "folder.txt")


def check_column(name: str, data: bytes, cells: list[str]) -> None:
    """What is not blank comes back as it was, and a file with nothing else is refused."""
    expected = [cell for cell in cells if cell.strip()]
    if expected:
        assert parse_prompts(name, data) == expected
    else:
        with pytest.raises(InputError, match="no prompts"):
            parse_prompts(name, data)


def check_prompts_or_refusal(name: str, data: bytes, column: str | None) -> None:
    for read in (parse_prompts, lambda *file: prompt_columns(*file[:2]) and []):
        try:
            found = read(name, data, column)
        except InputError as error:
            assert str(error).startswith(name)
        else:
            assert all(isinstance(prompt, Conversation) or prompt for prompt in found)


def table_bytes(ending: str, table: dict[str, list]) -> bytes:
    if ending == "csv":
        return pd.DataFrame(table).to_csv(index=False).encode()
    if ending == "jsonl":
        return pd.DataFrame(table).to_json(orient="records", lines=True).encode()
    return parquet_bytes(pa.table(table))


def parquet_bytes(table: pa.Table) -> bytes:
    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()


@pytest.mark.parametrize("name", ["\x00.txt", "a\0b.jsonl", "\ud800.txt", None, 5, b"p.txt"])
def test_what_no_file_can_be_named_is_an_input_error(name):
    with pytest.raises(InputError, match="file's name") as caught:
        read_prompts(name)
    str(caught.value).encode()


def test_a_long_name_is_shown_in_part():
    with pytest.raises(InputError, match="cannot read the prompts in x") as caught:
        read_prompts("x" * 100_000 + ".txt")
    assert len(str(caught.value)) < 400
    with pytest.raises(InputError, match="has no prompts") as caught:
        parse_prompts("x" * 100_000 + ".txt", b"")
    assert len(str(caught.value)) < 400
