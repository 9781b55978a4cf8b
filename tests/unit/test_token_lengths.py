from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from nbkit import models
from nbkit.errors import InputError, ModelError
from nbkit.models.token_lengths import token_lengths
from nbkit.prompts import FIRST_LINES, synthetic_prompts

MIXED = [*FIRST_LINES, "🙂 naïve\n\n  x", "<s> </s> <|im_start|>", "the king " * 3000]


@pytest.fixture(scope="module", params=models.EMBEDDED)
def embedded(request) -> str:
    models.locate(request.param, "float32")
    return request.param


@pytest.fixture(scope="module")
def smollm2():
    return AutoTokenizer.from_pretrained(models.locate("smollm2-135m", "float32"))


@pytest.fixture
def folder(tmp_path, tiny):
    copied = tmp_path / "model"
    shutil.copytree(models.locate("tiny-random", "float32"), copied)
    return copied


@pytest.mark.model
def test_counts_are_those_of_transformers(embedded):
    tokenizer = AutoTokenizer.from_pretrained(models.locate(embedded, "bfloat16"))
    assert token_lengths(embedded, MIXED) == [len(ids) for ids in tokenizer(MIXED).input_ids]


@pytest.mark.model
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=5))
@settings(max_examples=50, deadline=None)
def test_counts_are_those_of_transformers_for_any_text(smollm2, prompts):
    assert token_lengths("smollm2-135m", prompts) == [len(ids) for ids in smollm2(prompts).input_ids]


@pytest.mark.model
def test_a_synthetic_prompt_has_a_token_a_word(smollm2):
    prompts = synthetic_prompts(200)
    assert token_lengths("smollm2-135m", prompts) == [len(prompt.split()) for prompt in prompts]


def test_special_tokens_are_counted_and_nothing_is_cut_or_filled_up(folder):
    file = folder / "tokenizer.json"
    described = json.loads(file.read_text())
    special = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    described["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [special, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
    }
    described["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    described["padding"] = {
        "strategy": {"Fixed": 8},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 2,
        "pad_type_id": 0,
        "pad_token": "</s>",
    }
    file.write_text(json.dumps(described))
    assert token_lengths(str(folder), ["ab", "a" * 100]) == [3, 101]


@pytest.mark.ranks
def test_neither_torch_nor_transformers_is_imported(tmp_path, folder):
    # A hub's cache as its client lays it out, so that the hub's client is among what is imported.
    cached = tmp_path / "hub" / "models--owner--name"
    shutil.copytree(folder, cached / "snapshots" / "abc")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc")
    code = (
        "import sys\nfrom nbkit.models.token_lengths import token_lengths\n"
        "print([token_lengths(name, ['abc']) for name in ('tiny-random', 'owner/name', 'owner/other')])\n"
        "print([name for name in ('torch', 'transformers', 'pandas') if name in sys.modules])"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert ran.stdout.splitlines() == ["[[3], [3], None]", "[]"], ran.stderr


def test_a_model_that_is_not_here_yet_is_neither_built_nor_counted(tmp_path, monkeypatch):
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path / "cache"))
    for name in (*models.EMBEDDED, "no such model", "a/b/c", "", "a\0b", "x" * 5000, str(tmp_path)):
        assert token_lengths(name, ["a"]) is None
    assert not (tmp_path / "cache").exists()


def test_a_folder_without_a_tokenizer_is_not_counted(folder):
    assert token_lengths(str(folder), ["abc"]) == [3]
    (folder / "tokenizer.json").unlink()
    assert token_lengths(str(folder), ["abc"]) is None


def test_a_tokenizer_that_changed_is_read_anew(folder):
    assert token_lengths(str(folder), ["abc"]) == [3]
    (folder / "tokenizer.json").write_text("{}")
    os.utime(folder / "tokenizer.json", (1, 1))
    with pytest.raises(ModelError, match=r"cannot read .*tokenizer\.json"):
        token_lengths(str(folder), ["abc"])


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b"", b'{"model": {}}'])
def test_a_damaged_tokenizer_is_a_model_error(folder, content):
    (folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"cannot read .*tokenizer\.json.*delete"):
        token_lengths(str(folder), ["a"])


@pytest.mark.parametrize("prompts", ["bare", [], ["a", 3], ["a\ud800"]])
def test_prompts_are_checked(prompts):
    with pytest.raises(InputError):
        token_lengths("tiny-random", prompts)
