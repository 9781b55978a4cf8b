"""What a model cannot be given is refused by its number; conversations and special tokens are the model's own."""

from __future__ import annotations

import dataclasses
import json

import pytest
from example_runs import article
from tokenizers import normalizers, processors

from nbkit import models
from nbkit.engines import Request
from nbkit.engines.prompt_check import check_prompts_fit, exceeds
from nbkit.errors import InputError
from nbkit.models.prompt_tokens import PromptTokens
from nbkit.models.token_lengths import token_lengths
from nbkit.records.request import Conversation, check_prompts

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "{{ m['role'][0] }} {{ m['content'] }},{% endfor %}{% if add_generation_prompt %}a {% endif %}"
)
ASKED = article(model="tiny-random", max_new_tokens=6)


@pytest.fixture
def with_tokenizer(tiny):
    """The tiny model with a tokenizer changed in place."""

    def change(normalizer=None, adds_bos=False, chat_template=None, token=None):
        tokenizer = models.load("tiny-random").tokenizer
        if normalizer is not None:
            tokenizer.backend_tokenizer.normalizer = normalizer
        if adds_bos:
            tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
                single="<s> $A", special_tokens=[("<s>", 1)]
            )
        if token is not None:
            tokenizer.add_tokens([token])
        tokenizer.chat_template = chat_template
        return dataclasses.replace(tiny, tokenizer=tokenizer, prompt_tokens=PromptTokens(tokenizer), prepared={})

    return change


def talk(*contents, role="user"):
    return Conversation.of([{"role": role, "content": content} for content in contents])


def test_a_prompt_that_becomes_no_tokens_is_named_before_any_work(with_tokenizer):
    loaded = with_tokenizer(normalizers.Strip())
    check_prompts_fit([Request(0, "hello"), Request(1, " ?")], loaded, ASKED)
    with pytest.raises(InputError, match=r"prompt 3, '   ', becomes no tokens at all"):
        check_prompts_fit([Request(0, "hello"), Request(3, "   ")], loaded, ASKED)
    # With a BOS it has one token, from which a model can go on.
    check_prompts_fit([Request(3, "   ")], with_tokenizer(normalizers.Strip(), adds_bos=True), ASKED)


def test_a_letter_that_the_tokenizer_drops_makes_no_token(with_tokenizer):
    loaded = with_tokenizer(normalizers.Replace("z", ""))
    with pytest.raises(InputError, match="prompt 1, 'zz', becomes no tokens"):
        check_prompts_fit([Request(0, "az"), Request(1, "zz")], loaded, ASKED)


def test_a_token_that_the_model_does_not_have_is_named(with_tokenizer):
    loaded = with_tokenizer(token="[NEW]")
    check_prompts_fit([Request(0, "the king.")], loaded, ASKED)
    with pytest.raises(
        InputError, match=r"prompt 5 has the token 33 \('\[NEW\]'\), and the model knows 33 tokens only"
    ):
        check_prompts_fit([Request(5, "the [NEW] king.")], loaded, ASKED)


@pytest.mark.parametrize("adds_bos", [False, True])
@pytest.mark.parametrize("special_tokens", ["auto", "add", "none"])
def test_special_tokens_are_added_as_asked_and_a_bos_never_twice_unasked(with_tokenizer, adds_bos, special_tokens):
    loaded = with_tokenizer(adds_bos=adds_bos)
    plain, begun = loaded.prompt_tokens.of(["ab", "<s>ab"], special_tokens)
    added = [1] if adds_bos and special_tokens != "none" else []
    assert plain == [*added, 3, 4]
    assert begun == [*(added if special_tokens == "add" else []), 1, 3, 4]


def test_a_conversation_has_the_ids_of_the_models_template(with_tokenizer):
    loaded = with_tokenizer(adds_bos=True, chat_template=TEMPLATE)
    ids = loaded.prompt_tokens.of([talk("hi"), "hi", talk("hi")])
    assert loaded.tokenizer.decode(ids[0]) == "<s>u hi,a "
    assert ids[0] == ids[2] != ids[1]
    goes_on = Conversation.of([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "well"}])
    assert loaded.tokenizer.decode(loaded.prompt_tokens.of([goes_on])[0]) == "<s>u hi,a well"


def test_a_conversation_that_cannot_be_given_is_named(with_tokenizer):
    with pytest.raises(
        InputError, match="prompt 2: a prompt is a conversation, and this model's tokenizer has no chat"
    ):
        check_prompts_fit([Request(2, talk("hi"))], with_tokenizer(), ASKED)
    loaded = with_tokenizer(chat_template=TEMPLATE)
    with pytest.raises(InputError, match="prompt 2: the model's chat template refuses a conversation: no tools"):
        check_prompts_fit([Request(2, talk("hi", role="tool"))], loaded, ASKED)
    with pytest.raises(InputError, match="prompt 4 has 306 tokens"):
        check_prompts_fit([Request(4, talk("x" * 300))], loaded, ASKED)


def test_whether_positions_are_exceeded_is_counted_only_where_it_may_be(with_tokenizer):
    loaded = with_tokenizer(chat_template=TEMPLATE)
    assert not exceeds(40, [Request(0, "x" * 30), Request(1, talk("x" * 20))], loaded, ASKED)
    assert exceeds(40, [Request(0, "x" * 35)], loaded, ASKED)
    assert exceeds(40, [Request(0, talk("x" * 35))], loaded, ASKED)


def test_messages_are_checked_and_made_conversations():
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    (made,) = check_prompts([messages])
    assert made == Conversation.of(messages)
    assert made.to_list() == messages
    assert "brief" in made
    assert "long" not in made
    assert str(made) == "system: Be brief.\nuser: Why?"


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([{"role": "user", "content": "hi"}], "this is a list of messages; write \\[\\[{"),
        ([[]], "prompt 0: a conversation needs at least one message"),
        (["a", [{"role": "user"}]], "prompt 1: message 0 has no text under 'content'"),
        ([[{"role": 3, "content": "a"}]], "message 0 has no text under 'role'"),
        ([["hi"]], "message 0 is not a dict but str: 'hi'"),
        ([[{"role": "user", "content": "a", "tool_calls": []}]], "message 0 has 'tool_calls' beside"),
        ([[{"role": "user", "content": "\ud800"}]], "prompt 0 holds characters that are no text"),
    ],
)
def test_what_is_no_conversation_is_refused(prompts, message):
    with pytest.raises(InputError, match=message):
        check_prompts(prompts)


def test_counting_before_a_run_knows_of_the_second_bos(tmp_path, with_tokenizer):
    with_tokenizer(adds_bos=True).tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert token_lengths(str(tmp_path), ["ab", "<s>ab", "<s>"]) == [3, 3, 1]
    assert token_lengths(str(tmp_path), ["ab", "<s>ab"], "add") == [3, 4]
    assert token_lengths(str(tmp_path), ["ab", "<s>ab"], "none") == [2, 3]
    assert token_lengths(str(tmp_path), ["ab", [{"role": "user", "content": "hi"}]]) is None


@pytest.mark.parametrize("engine", ["batched", "compiled"])
def test_padding_beyond_the_models_context_is_refused_before_any_work(tiny, engine):
    check_prompts_fit([Request(0, "hello")], tiny, article(engine=engine, max_new_tokens=6, pad_to_multiple_of=256))
    with pytest.raises(InputError, match=r"pad_to_multiple_of=257 is more than the model's context of 256 tokens"):
        check_prompts_fit(
            [Request(0, "hello")], tiny, article(engine=engine, max_new_tokens=6, pad_to_multiple_of=257)
        )
    check_prompts_fit([Request(0, "hello")], tiny, article(engine="simple", pad_to_multiple_of=257))
