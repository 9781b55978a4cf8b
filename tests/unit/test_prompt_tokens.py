from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest

from nbkit import generation, prompt_tokens
from nbkit.engines.selection import Selected
from nbkit.prompt_tokens import PromptTokens
from nbkit.settings import Settings


class Tokenizer:
    """A token a letter; remembers what it was given."""

    def __init__(self):
        self.calls = []

    def __call__(self, texts, **_):
        self.calls.append(list(texts))
        return SimpleNamespace(input_ids=[[ord(letter) for letter in text] for text in texts])


def test_each_text_is_encoded_once_and_all_new_ones_together():
    tokenizer = Tokenizer()
    tokens = PromptTokens(tokenizer)
    assert tokens.of(["ab", "c", "ab"]) == [[97, 98], [99], [97, 98]]
    assert tokens.of(["c", "d"]) == [[99], [100]]
    assert tokens.of([]) == []
    assert tokenizer.calls == [["ab", "c"], ["d"]]


def test_what_is_given_out_can_be_changed_without_harm():
    tokens = PromptTokens(Tokenizer())
    tokens.of(["ab"])[0].append(1)
    assert tokens.of(["ab"]) == [[97, 98]]


def test_what_is_kept_does_not_grow_for_ever(monkeypatch):
    monkeypatch.setattr(prompt_tokens, "MOST_KEPT", 4)
    tokens, texts = PromptTokens(Tokenizer()), ["abc", "de", "f"]
    for text in texts * 2:
        assert tokens.of([text]) == [[ord(letter) for letter in text]]


def test_the_ids_are_the_tokenizers_own(tiny):
    prompts = ["the king.", "", "a"]
    assert PromptTokens(tiny.tokenizer).of(prompts) == tiny.tokenizer(prompts).input_ids


@pytest.mark.parametrize(("split", "encoded"), [("static", ["c"]), ("dynamic", ["a", "b", "c"])])
@pytest.mark.parametrize("tokenize_first", [False, True])
def test_where_asked_a_rank_tokenises_before_the_timed_part(tiny, monkeypatch, split, encoded, tokenize_first):
    tokenizer = Tokenizer()
    loaded = dataclasses.replace(tiny, prompt_tokens=PromptTokens(tokenizer), prepared={})
    rank = SimpleNamespace(load_model=lambda *_, **__: (loaded, 0.0))
    monkeypatch.setattr(generation, "make_engine", lambda *_, **__: None)
    asked = Settings(split=split, batch_size=2, tokenize_first=tokenize_first)
    accelerator = SimpleNamespace(process_index=1, device="cpu")
    work = generation._Work(rank, accelerator, ["a", "b", "c"], asked, working=2)
    work.prepare([generation.Plan(Selected(0, ()), 2)])
    assert tokenizer.calls == ([encoded] if tokenize_first else [])
