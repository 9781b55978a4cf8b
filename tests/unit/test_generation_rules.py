"""What a model's generation_config.json asks for is kept by every engine as by transformers' own generate."""

from __future__ import annotations

import dataclasses
import importlib.util
import json

import pytest
import torch
from architectures import ARCHITECTURES, build
from engine_runs import generate, outputs
from example_runs import article
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from nbkit import models
from nbkit.engines.generation_rules import GenerationRules, library_rules
from nbkit.errors import InputError
from nbkit.records.engine_spec import ENGINES
from nbkit.records.settings import Settings

pytestmark = pytest.mark.model

PROMPTS = ["a", "it's", "the cat sat on the mat, and", "hello there my friend"]
OWN_ENGINES = [name for name, spec in ENGINES.items() if not spec.loads_itself]
NEW = 14

RULES = {
    "repetition_penalty": 1.7,
    "no_repeat_ngram_size": 2,
    "encoder_repetition_penalty": 2.5,
    "encoder_no_repeat_ngram_size": 1,
    "bad_words_ids": [[21], [24, 24]],
    "min_new_tokens": 9,
    "min_length": 15,
    "suppress_tokens": [3, 4, 5, 6, 7, 8, 9, 10],
    "begin_suppress_tokens": list(range(3, 25)),
    "forced_bos_token_id": 9,
    "forced_eos_token_id": 2,
    "sequence_bias": [[[5], 3.0], [[12, 13], -5.0]],
    "exponential_decay_length_penalty": [3, 1.6],
    "renormalize_logits": True,
    "remove_invalid_values": True,
    "eos_token_id": [2, 15, 21],
}


@pytest.fixture(scope="module")
def plain_folder(tmp_path_factory):
    llama = next(each for each in ARCHITECTURES if each.name == "llama")
    return build(llama, tmp_path_factory.mktemp("llama"))


def with_rules(folder, tmp_path, **rules):
    """The same model with a generation_config.json that asks for this, too."""
    for file in folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    config = tmp_path / "generation_config.json"
    asked = json.loads(config.read_text()) | rules
    config.unlink()
    config.write_text(json.dumps(asked))
    return tmp_path


def plain_texts(folder, **more):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    texts = []
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer(prompt).input_ids])
        mask = torch.ones_like(ids)
        new = model.generate(ids, attention_mask=mask, max_new_tokens=NEW, do_sample=False, pad_token_id=2, **more)[
            0, ids.shape[1] :
        ]
        texts.append(tokenizer.decode(new, skip_special_tokens=True))
    return texts


def kit_texts(loaded, engine, **settings):
    made = generate(loaded, PROMPTS, engine=engine, batch_size=3, max_new_tokens=NEW, **settings)
    return [output.text for output in outputs(made)]


@pytest.mark.parametrize("rule", RULES)
def test_every_engine_keeps_a_rule_as_transformers_does(plain_folder, tmp_path, rule):
    folder = with_rules(plain_folder, tmp_path, **{rule: RULES[rule]})
    loaded = models.load(str(folder), "float32")
    expected = plain_texts(folder)
    for engine in OWN_ENGINES:
        assert kit_texts(loaded, engine) == expected, engine


def test_the_rules_of_this_test_change_the_text(plain_folder, tmp_path):
    usual = plain_texts(plain_folder)
    without_effect = []
    for rule, value in RULES.items():
        (tmp_path / rule).mkdir()
        if plain_texts(with_rules(plain_folder, tmp_path / rule, **{rule: value})) == usual:
            without_effect.append(rule)
    # They mend what is not wrong here.
    assert set(without_effect) <= {"renormalize_logits", "remove_invalid_values"}


def test_rules_of_several_kinds_are_kept_together_and_drawn_from(plain_folder, tmp_path):
    folder = with_rules(plain_folder, tmp_path, repetition_penalty=1.4, no_repeat_ngram_size=2, min_new_tokens=5)
    loaded = models.load(str(folder), "float32")
    assert kit_texts(loaded, "compiled") == plain_texts(folder)
    drawn = {"temperature": 0.9, "top_p": 0.95, "seed": 4}
    expected = kit_texts(loaded, "simple", **drawn)
    assert expected != kit_texts(loaded, "simple")
    for engine in OWN_ENGINES:
        assert kit_texts(loaded, engine, **drawn) == expected, engine


def test_there_is_one_beam_and_draws_are_the_settings(plain_folder, tmp_path):
    asked = {"num_beams": 3, "do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.8}
    loaded = models.load(str(with_rules(plain_folder, tmp_path, **asked)), "float32")
    expected = plain_texts(plain_folder)
    for engine in OWN_ENGINES:
        assert kit_texts(loaded, engine) == expected, engine
    rules = GenerationRules(Settings(), loaded)
    assert (rules.heeded, rules.unheeded) == ({}, asked)


def test_what_no_rule_asks_for_changes_nothing(plain_folder, tmp_path):
    neutral = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_new_tokens": 0, "num_beams": 1, "top_k": 50}
    loaded = models.load(str(with_rules(plain_folder, tmp_path, **neutral)), "float32")
    rules = GenerationRules(Settings(), loaded)
    assert (bool(rules), rules.heeded, rules.unheeded) == (False, {}, {})


def test_a_models_own_stop_strings_end_a_text_that_keeps_them(plain_folder, tmp_path):
    folder = with_rules(plain_folder, tmp_path, stop_strings=["b", "yf"])
    expected = plain_texts(folder, tokenizer=AutoTokenizer.from_pretrained(folder))
    assert expected != plain_texts(plain_folder)
    loaded = models.load(str(folder), "float32")
    for engine in OWN_ENGINES:
        assert kit_texts(loaded, engine) == expected, engine


def test_past_the_end_of_a_text_rules_about_the_end_say_nothing(plain_folder, tmp_path):
    folder = with_rules(plain_folder, tmp_path, min_new_tokens=9, repetition_penalty=1.2)
    loaded = models.load(str(folder), "float32")
    assert GenerationRules(article(ignore_eos=True), loaded).heeded == {"repetition_penalty": 1.2}
    texts = kit_texts(loaded, "compiled", ignore_eos=True)
    assert texts == kit_texts(loaded, "simple", ignore_eos=True)


def test_a_rule_that_no_engine_keeps_is_refused_by_name(tiny):
    loaded = dataclasses.replace(tiny, generation_config=GenerationConfig(guidance_scale=1.5))
    with pytest.raises(InputError, match=r"asks for guidance_scale=1\.5, which no engine"):
        generate(loaded, PROMPTS, engine="compiled")


@pytest.mark.parametrize("engine", ["vllm", "openvino"])
@pytest.mark.parametrize("rule", [{"suppress_tokens": [3]}, {"stop_strings": ["x"]}])
def test_engines_of_other_libraries_refuse_rules_and_name_those_that_keep_them(tiny, engine, rule):
    loaded = dataclasses.replace(tiny, generation_config=GenerationConfig(**rule))
    with pytest.raises(
        InputError, match=f"{next(iter(rule))}.*engine '{engine}' would not heed; take one of simple, batched,"
    ):
        library_rules(Settings(engine=engine), loaded)
    assert library_rules(Settings(engine=engine), tiny) == {}


@pytest.fixture(scope="module")
def converted(plain_folder, tmp_path_factory):
    """The model, converted for OpenVINO once for all rules."""
    if importlib.util.find_spec("openvino_genai") is None:
        pytest.skip("openvino_genai is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield models.load(str(plain_folder), "float32")


@pytest.mark.parametrize("rule", ENGINES["openvino"].library_rules)
def test_openvino_keeps_the_rules_that_it_is_given(converted, plain_folder, tmp_path, rule):
    folder = with_rules(plain_folder, tmp_path, **{rule: RULES[rule]})
    asked = models.load(str(folder), "float32").generation_config
    assert kit_texts(dataclasses.replace(converted, generation_config=asked), "openvino") == plain_texts(folder)


def test_what_a_rule_says_can_be_saved(tiny):
    config = GenerationConfig(watermarking_config={"bias": 2.5, "seeding_scheme": "lefthash"})
    rules = GenerationRules(Settings(), dataclasses.replace(tiny, generation_config=config))
    assert "2.5" in json.dumps(rules.heeded)
