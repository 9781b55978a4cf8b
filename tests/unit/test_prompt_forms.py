"""Prompts in files in a form of their own: messages, turns, batch requests, and documents of JSON around them."""

from __future__ import annotations

import io
import json
import re

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import parquet

from nbkit.errors import InputError
from nbkit.prompts.files import parse_prompt_file, parse_prompts, prompt_columns, read_prompts
from nbkit.records.request import Conversation

TURNS = [
    {"question_id": 1, "category": "writing", "turns": ["Write a letter.", "Shorter."]},
    {"question_id": 2, "category": "math", "turns": ["Add 2 and 2."], "reference": ["4"]},
]
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
ANSWERED = [*ASKED, {"role": "assistant", "content": "Hello"}]
SHARED = [
    {"from": "system", "value": "Be brief."},
    {"from": "human", "value": "Hi"},
    {"from": "gpt", "value": "Hello"},
]
IN_PARTS = [ASKED[0], {"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]}]
WITH_IMAGE = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}]}]
CALLING = [
    ASKED[1],
    {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
    {"role": "tool", "content": ""},
]
CHAT = Conversation.of(ASKED)


def request(**body) -> dict:
    return {"custom_id": "r-1", "method": "POST", "url": "/v1/completions", "body": {"model": "m", **body}}


@pytest.mark.parametrize(
    ("rows", "prompts", "taken"),
    [
        (
            TURNS,
            ["Write a letter.", "Add 2 and 2."],
            "first of each object's 'turns'; up to 1 later turn is",
        ),
        ([{"id": "a", "messages": ASKED}], [CHAT], "the messages under 'messages'"),
        ([{"messages": ANSWERED}], [CHAT], "the assistant's answers at the end of 1 conversation are not used"),
        ([{"id": "a", "source": "web", "conversations": SHARED}], [CHAT], "the messages under 'conversations'"),
        ([{"conversations": SHARED[1:], "system": "Be brief."}], [CHAT], "begun by the text under 'system'"),
        ([{"messages": IN_PARTS}], [CHAT], "the messages under 'messages'"),
        ([{"messages": [{**m, "weight": 1, "name": None} for m in ASKED]}], [CHAT], "not used: 'weight'"),
        ([{"messages": ASKED, "tools": [{"name": "f"}]}], [CHAT], "not used: 'tools'"),
        ([{"prompt": ASKED, "chosen": ANSWERED[2:], "rejected": ANSWERED[2:]}], [CHAT], "messages under 'prompt'"),
        ([{"prompt": "a", "messages": ASKED}], ["a"], "the key 'prompt'; not used: 'messages'"),
        ([{"Prompt": "a", "id": "b"}], ["a"], "the key 'Prompt'"),
        ([{"n": 1, "lang": "en", "question": "a"}], ["a"], "the key 'question'"),
        (["a", {"q": "b"}, ANSWERED], ["a", "b", CHAT], "each string and each list of messages; the assistant's"),
        ([request(messages=ANSWERED, max_tokens=5)], [CHAT], "body.messages of 1 batch request; .*'max_tokens'"),
        ([request(prompt="a"), request(prompt=["b", "c"])], ["a", "b", "c"], "body.prompt of 2 batch requests"),
        (
            [{"custom_id": "1", "params": {"system": "Be brief.", "messages": [ASKED[1]]}}],
            [CHAT],
            "params.messages of",
        ),
    ],
)
def test_what_is_plainly_there_is_read_and_said(tmp_path, capsys, rows, prompts, taken):
    for name, text in (("p.ndjson", "\n".join(map(json.dumps, rows))), ("p.json", json.dumps(rows))):
        (tmp_path / name).write_text(text)
        assert read_prompts(tmp_path / name) == prompts
        assert parse_prompt_file(name, text.encode()).prompts == prompts
        said = capsys.readouterr().out
        assert said.startswith(f"{name}: took ")
        assert re.search(taken, said)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "a"}, {"id": "b", "prompt": "c"}], "line 1: .* under the key 'prompt', got {'id': 'a'}"),
        (
            [{"id": "a", "source": "b", "dialogue": ["c", "d"]}],
            r"the key .* of: 'dialogue' \(\['c', 'd'\]\)\.$",
        ),
        (
            [{"instruction": "a", "input": "b", "output": "c"}],
            "'instruction' .'a'., 'input' .'b'., 'output' .'c'.",
        ),
        ([{"id": 1, "answer": "a"}], "choose the key with the prompts, as by column='answer'"),
        ([{"id": 1, "url": "a"}], "p.jsonl has no key 'prompt', and the others hold no text or are named like ids"),
        (ASKED, "holds messages where prompts should be"),
        ([{"chat": ASKED, "messages": ASKED}], "prompts under several keys: 'chat' .*'messages'"),
        ([{"messages": ASKED}, {"id": 1}], "line 2: expected a string or an object"),
        ([{"messages": WITH_IMAGE}], "line 1: message 0 has a part of type 'image_url', .* text only"),
        ([{"messages": CALLING}], "line 1: message 1 has 'tool_calls'"),
        (
            [{"messages": [{"role": "user", "content": None}]}],
            "message 0 has no text under 'content' but None",
        ),
        ([{"messages": ANSWERED[2:]}], "line 1: the conversation holds nothing but answers"),
        ([{"messages": ASKED, "system": "Be long."}], "line 1: .* more than one system message"),
        ([{"conversations": [{"from": "alien", "value": "a"}]}], "message 0 is from 'alien'; known are: human, "),
        ([{"messages": [{"role": "user", "content": "a"}, {"a": 1}]}], "message 1 does not say whose it is"),
        ([{"turns": ["a"]}, {"turns": []}], "line 2: expected"),
        ([request(input="a")], "line 1: the request's 'body' has no list of messages under 'messages' and no text"),
        ([request(prompt=[1, 2])], "line 1: the request's 'body'"),
        ([{"custom_id": "a", "error": None, "status": "done"}], "p.jsonl has no key 'prompt'"),
    ],
)
def test_what_is_not_plain_is_refused(rows, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_prompts("p.jsonl", "\n".join(map(json.dumps, rows)).encode())
    assert not re.search("'(custom_id|method|url|source)' ", str(caught.value)), "bookkeeping is not offered"


@pytest.mark.parametrize(
    ("document", "prompts"),
    [
        (["a", "b"], ["a", "b"]),
        ([ANSWERED, ASKED], [CHAT, CHAT]),
        ({"messages": ASKED}, [CHAT]),
        ({"version": 1, "title": "mine", "data": [{"q": "a"}, {"q": "b"}]}, ["a", "b"]),
        ({"prompts": ["a", "b"], "about": "some text"}, ["a", "b"]),
        ({"prompt": "a", "choices": ["b", "c"]}, ["a"]),
        ({"turns": ["a", "b"]}, ["a"]),
        ("a", ["a"]),
    ],
)
def test_a_json_document_is_a_list_or_an_object_with_one(document, prompts):
    assert parse_prompts("p.json", json.dumps(document, indent=1).encode()) == prompts


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (ASKED, "p.json is a list of messages, not of prompts"),
        ({"prompt": ["a"], "answer": ["b"]}, "an object with several lists: 'prompt' .* column='prompt'"),
        ({"question": "a", "choices": ["b", "c"]}, "p.json has no key 'prompt'; choose"),
        ({"messages": ["a", "b"]}, "p.json has no key 'prompt'; choose"),
        ({"a": {"prompt": "b"}}, "p.json has no key 'prompt'; choose"),
    ],
)
def test_a_json_document_of_another_shape_is_refused(document, message):
    with pytest.raises(InputError, match=message):
        parse_prompts("p.json", json.dumps(document).encode())


def test_a_column_chosen_of_json_may_be_a_list_or_any_form():
    assert parse_prompts("p.json", b'{"prompt": ["a"], "answer": ["b"]}', "answer") == ["b"]
    assert parse_prompts("p.jsonl", json.dumps({"prompt": "a", "messages": ASKED}).encode(), "messages") == [CHAT]
    assert parse_prompts("p.jsonl", json.dumps({"prompt": "a", **TURNS[0]}).encode(), "turns") == ["Write a letter."]
    assert parse_prompts("p.jsonl", json.dumps(request(prompt="a")).encode(), "body") == ["a"]
    assert prompt_columns("p.jsonl", json.dumps(request(prompt="a")).encode()) == ["body"]
    assert prompt_columns("p.jsonl", json.dumps({"id": 1, "messages": ASKED}).encode()) == ["messages"]


def test_json_lines_named_json_are_read():
    assert parse_prompts("p.json", b'{"prompt": "a"}\n{"prompt": "b"}\n') == ["a", "b"]
    with pytest.raises(InputError, match="line 2: not JSON"):
        parse_prompts("p.json", b'{"prompt": "a"}\n{"prompt": \n')


def test_parquet_and_csv_hold_messages_too():
    table = pa.table({"id": ["a"], "messages": [ANSWERED], "turns": [None]})
    assert parse_prompts("p.parquet", in_parquet(table)) == [CHAT]
    assert parse_prompts("p.parquet", in_parquet(pa.table({"turns": [["a", "b"]], "n": [1]}))) == ["a"]
    cells = pd.DataFrame({"id": ["a"], "messages": [json.dumps(ANSWERED)]}).to_csv(index=False)
    assert parse_prompts("p.csv", cells.encode()) == [CHAT]
    with pytest.raises(InputError, match="line 2: the text under 'messages' begins like a list and is not JSON"):
        parse_prompts("p.csv", pd.DataFrame({"messages": [ANSWERED]}).to_csv(index=False).encode())


KEYS = (
    "id",
    "prompt",
    "messages",
    "turns",
    "custom_id",
    "body",
    "role",
    "content",
    "from",
    "value",
    "system",
    "data",
)
ATOMS = st.none() | st.booleans() | st.integers() | st.floats()
JSON = st.recursive(
    ATOMS | st.sampled_from(["", " ", "a", "user", "gpt", "[1", '[{"role"']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=4), st.sampled_from([None, "prompt", "messages", "turns", "body", "data"]))
@example([{"messages": [{"role": "user", "content": {}}]}], None)
def test_json_of_any_shape_is_read_or_refused(values, column):
    lines = "\n".join(map(json.dumps, values)).encode()
    for name, data in (("p.jsonl", lines), ("p.json", json.dumps(values).encode()), ("p.json", lines)):
        check_prompts_or_refusal(name, data, column)


def check_prompts_or_refusal(name: str, data: bytes, column: str | None) -> None:
    try:
        found = parse_prompt_file(name, data, column)
    except InputError as error:
        assert str(error).startswith(name)
    else:
        assert found.prompts and found.taken
        assert all(isinstance(prompt, Conversation) or prompt for prompt in found.prompts)


def in_parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()
