from __future__ import annotations

import json

import pytest

from nbkit.errors import InputError
from nbkit.prompts import FIRST_LINES, check_prompts, first_lines, read_prompts


def test_first_lines_repeat_in_order():
    assert len(FIRST_LINES) == 10
    assert first_lines(23) == [*FIRST_LINES, *FIRST_LINES, *FIRST_LINES[:3]]


@pytest.mark.parametrize("n", [0, -1, "x", True, 2.0])
def test_a_number_of_first_lines_is_checked(n):
    with pytest.raises(InputError, match="at least 1"):
        first_lines(n)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("bare", "not one string"),
        (3, "list of strings, not int"),
        ([], "no prompts"),
        (["a", None], "prompt 1 is not a string but NoneType"),
        (["a", ""], "prompt 1 is an empty string"),
        (["a\ud800"], "prompt 0 holds characters that are no text"),
    ],
)
def test_prompts_are_checked_with_number_and_remedy(prompts, message):
    with pytest.raises(InputError, match=message):
        check_prompts(prompts)


def test_any_sequence_of_strings_will_do():
    assert check_prompts(("a", "b")) == ["a", "b"]
    assert check_prompts(x for x in "ab") == ["a", "b"]


def test_text_files_hold_a_prompt_a_line(tmp_path):
    file = tmp_path / "p.txt"
    file.write_bytes("\ufeffone\r\n\r\n  two\nthree\u2028still three".encode())
    assert read_prompts(file) == ["one", "  two", "three\u2028still three"]


def test_jsonl_files_hold_strings_or_objects(tmp_path):
    file = tmp_path / "p.jsonl"
    lines = [json.dumps("a\nb"), "", json.dumps({"prompt": "c\u2028d", "id": 7}, ensure_ascii=False)]
    file.write_text("\n".join(lines), encoding="utf-8")
    assert read_prompts(file) == ["a\nb", "c\u2028d"]


def test_jsonl_files_from_windows_are_read(tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_bytes('\ufeff"a"\r\n\r\n{"prompt": "b"}\r\n'.encode())
    assert read_prompts(file) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", b"caf\xe9", "not UTF-8 text .byte 3"),
        ("p.txt", b"", "no prompts"),
        ("p.txt", b"\n \n", "no prompts"),
        ("prompts", b"a", "ends in .txt or .jsonl, not 'nothing'"),
        ("p.jsonl", b'"a"\r\n\r\n""\r\n', "line 3: expected a string or an object"),
        ("p.jsonl", b'["a"]', "line 1: expected a string or an object"),
        ("p.jsonl", b'"a"\n' + b"[" * 100_000, "line 2: not JSON"),
        ("p.jsonl", b'"a"\n' + b"1" * 5000, "line 2: "),
        ("p.csv", b"a", r"ends in .txt or .jsonl, not '.csv'"),
        ("p.jsonl", b'"a"\n{"prompt": 3}', "line 2: expected a string or an object"),
        ("p.jsonl", b'"a"\n\n{broken', "line 3: not JSON"),
    ],
)
def test_a_file_that_cannot_be_used_says_where(tmp_path, name, content, message):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_prompts(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.txt: No such file"):
        read_prompts(tmp_path / "gone.txt")


def test_a_folder_is_no_file_of_prompts(tmp_path):
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(InputError, match=r"folder\.txt: Is a directory"):
        read_prompts(tmp_path / "folder.txt")
