from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbkit.inference import engine_on_rank, generation
from nbkit.models import prompt_tokens
from nbkit.models.prompt_tokens import PromptTokens
from nbkit.records.settings import Settings


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


def test_a_known_and_a_new_prompt_are_both_given_when_the_memory_is_full(monkeypatch):
    monkeypatch.setattr(prompt_tokens, "MOST_KEPT", 4)
    tokenizer = Tokenizer()
    tokens = PromptTokens(tokenizer)
    tokens.of(["ab", "cd"])
    assert tokens.of(["ab", "efg"]) == [[97, 98], [101, 102, 103]]
    assert tokenizer.calls == [["ab", "cd"], ["efg"]]


def test_the_least_recently_used_are_dropped_first(monkeypatch):
    monkeypatch.setattr(prompt_tokens, "MOST_KEPT", 4)
    tokenizer = Tokenizer()
    tokens = PromptTokens(tokenizer)
    for texts in (["ab", "cd"], ["ab"], ["ef"], ["ab"], ["cd"]):
        tokens.of(texts)
    assert tokenizer.calls == [["ab", "cd"], ["ef"], ["cd"]]


@given(st.lists(st.lists(st.text("abc", min_size=1, max_size=4), max_size=5), max_size=8))
def test_whatever_was_dropped_the_ids_are_right_and_the_memory_bounded(batches):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompt_tokens, "MOST_KEPT", 7)
        tokens = PromptTokens(Tokenizer())
        for texts in batches:
            assert tokens.of(texts) == [[ord(letter) for letter in text] for text in texts]
            assert tokens._tokens == sum(map(len, tokens._kept.values())) <= 7


def test_the_ids_are_the_tokenizers_own(tiny):
    prompts = ["the king.", "", "a"]
    assert PromptTokens(tiny.tokenizer).of(prompts) == tiny.tokenizer(prompts).input_ids


@pytest.mark.parametrize(("split", "encoded"), [("static", ["c"]), ("dynamic", ["a", "b", "c"])])
@pytest.mark.parametrize("tokenize_first", [False, True])
def test_where_asked_a_rank_tokenises_before_the_timed_part(tiny, monkeypatch, split, encoded, tokenize_first):
    tokenizer = Tokenizer()
    loaded = dataclasses.replace(tiny, prompt_tokens=PromptTokens(tokenizer), prepared={})
    job = SimpleNamespace(world_size=2)
    monkeypatch.setattr(engine_on_rank, "load_model", lambda *_, **__: (loaded, 0.0))
    monkeypatch.setattr(engine_on_rank, "make_engine", lambda *_, **__: None)
    asked = Settings(split=split, batch_size=2, tokenize_first=tokenize_first)
    accelerator = SimpleNamespace(process_index=1, is_main_process=False, device="cpu")
    work = generation._Work(job, accelerator, ["a", "b", "c"], asked)
    work.prepare(asked, None, 2)
    assert tokenizer.calls == ([encoded] if tokenize_first else [])
