"""A bulk of OpenAI's batch requests, and its outputs in the form of OpenAI's batch output."""

from __future__ import annotations

import json

import pytest
from bulk_play import PlayedRanks, dies_at

from nbkit.errors import InputError
from nbkit.inference.bulk import source
from nbkit.inference.bulk.driver import run_bulk
from nbkit.records.settings import Settings

ASKED = Settings(model="tiny-random", dtype="float32")


def request(custom_id, url, **body):
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": "gpt-x", **body}}


def chat(custom_id, text, **body):
    return request(custom_id, "/v1/chat/completions", messages=[{"role": "user", "content": text}], **body)


@pytest.fixture
def played(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "WINDOW", 2)

    def play(requests, ranks=None, name="b"):
        file, said = tmp_path / "in.jsonl", []
        file.write_text("".join(json.dumps(each) + "\n" for each in requests))
        return run_bulk(ranks or PlayedRanks(), file, tmp_path / name, ASKED, say=said.append), said

    return play


def exported(made, tmp_path):
    return [json.loads(line) for line in made.export(tmp_path / "out.jsonl", form="openai").open()]


def test_a_chat_comes_back_as_a_chat_completion(played, tmp_path):
    made, _ = played([chat("first", "hi"), chat("second é", "there")])
    lines = exported(made, tmp_path)
    assert [line["custom_id"] for line in lines] == ["first", "second é"]
    line = lines[0]
    assert set(line) == {"id", "custom_id", "response", "error"} and line["error"] is None
    assert line["id"].startswith("batch_req_") and lines[0]["id"] != lines[1]["id"]
    assert set(line["response"]) == {"status_code", "request_id", "body"}
    assert line["response"]["status_code"] == 200
    body = line["response"]["body"]
    assert (body["object"], body["model"]) == ("chat.completion", "tiny-random")
    assert isinstance(body["created"], int) and body["id"].startswith("chatcmpl-")
    assert body["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "USER: HI", "refusal": None},
            "logprobs": None,
            "finish_reason": "length",
        }
    ]
    assert exported(made, tmp_path) == lines


def test_texts_of_one_request_are_its_choices(played, tmp_path):
    made, _ = played([request("a", "/v1/completions", prompt=["x", " ", "y", "z"]), chat("b", "q")])
    first, second = exported(made, tmp_path)
    body = first["response"]["body"]
    assert (body["object"], first["custom_id"], second["custom_id"]) == ("text_completion", "a", "b")
    assert [(each["index"], each["text"]) for each in body["choices"]] == [(0, "X"), (2, "Y"), (3, "Z")]
    assert body["usage"]["total_tokens"] == 9


def test_what_failed_has_its_error_in_the_body(played, tmp_path):
    bad = {"custom_id": "bad", "url": "/v1/chat/completions", "body": {"messages": "no list"}}
    made, _ = played([chat("a", "x"), bad, chat("c", "y")], PlayedRanks(dies_at([2])))
    first, second, third = exported(made, tmp_path)
    assert first["response"]["status_code"] == 200
    assert (second["custom_id"], second["response"]["status_code"], second["error"]) == ("bad", 400, None)
    error = second["response"]["body"]["error"]
    assert set(error) == {"message", "type", "param", "code"} and "no list of messages" in error["message"]
    assert (third["custom_id"], third["response"]["status_code"]) == ("c", 500)
    assert third["response"]["body"]["error"]["type"] == "server_error"


def test_what_is_not_heeded_and_ids_that_come_twice_are_said(played, tmp_path, capsys):
    made, said = played([chat("a", "x", max_tokens=5), chat("b", "y", max_tokens=6, temperature=1.0), chat("a", "z")])
    assert "'model' in 3 lines, 'max_tokens' in 2 lines, 'temperature' in 1 lines" in said[-2]
    assert "1 custom_ids of the source come more than once, 'a' the first" in said[-1]
    assert said[-2] in (made.folder / "log.txt").read_text()
    assert [line["custom_id"] for line in exported(made, tmp_path)] == ["a", "b", "a"]
    assert "'a' the first" in capsys.readouterr().out


def test_who_goes_on_keeps_the_ids(played, tmp_path):
    def interrupt(request):
        if request.index == 5:
            raise KeyboardInterrupt

    requests = [chat(f"id {number}", f"text {number}") for number in range(9)]
    with pytest.raises(KeyboardInterrupt):
        played(requests, PlayedRanks(interrupt))
    made, _ = played(requests)
    assert [line["custom_id"] for line in exported(made, tmp_path)] == [f"id {number}" for number in range(9)]


def test_prompts_of_other_sources_are_named_by_their_index(tmp_path):
    talk = [{"role": "user", "content": "hi"}]
    made = run_bulk(PlayedRanks(), ["a", talk], tmp_path / "b", ASKED, say=lambda line: None)
    first, second = exported(made, tmp_path)
    assert (first["custom_id"], first["response"]["body"]["object"]) == ("prompt-0", "text_completion")
    assert (second["custom_id"], second["response"]["body"]["object"]) == ("prompt-1", "chat.completion")
    assert not (tmp_path / "b" / "requests.jsonl").exists()


def test_other_endings_and_forms_are_refused(played, tmp_path):
    made, _ = played([chat("a", "x")])
    with pytest.raises(InputError, match=r"OpenAI's form is .jsonl, not '.csv'"):
        made.export(tmp_path / "o.csv", form="openai")
    with pytest.raises(InputError, match="form must be one of rows, openai"):
        made.export(tmp_path / "o.jsonl", form="openapi")
    (made.folder / "outputs.jsonl").unlink()
    with pytest.raises(InputError, match="is not finished: go on with it"):
        made.export(tmp_path / "o.jsonl", form="openai")
