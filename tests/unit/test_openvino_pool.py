from __future__ import annotations

import importlib.util
import shutil
from collections import Counter

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from nbkit import models
from nbkit.engines import openvino_conversion, openvino_pool
from nbkit.engines.openvino_pool import OpenVinoPool
from nbkit.errors import InputError, ModelError
from nbkit.records.settings import Settings

PROMPTS = ["the king.", "once upon a time", "a", "it was the best of times, it was the worst"]


@pytest.fixture(scope="module")
def pool_of(tmp_path_factory, tiny):
    # Not importorskip: importing OpenVINO reports to its makers, which the pool prevents.
    if importlib.util.find_spec("openvino_genai") is None:
        pytest.skip("openvino_genai is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NBKIT_CACHE", str(tmp_path_factory.mktemp("cache")))

        def make(loaded=tiny, **settings):
            asked = Settings(model="tiny-random", engine="openvino", **settings)
            return OpenVinoPool(asked, loaded, capacity=4)

        yield make


def run(pool, loaded, prompts=PROMPTS):
    for index, text in enumerate(prompts):
        pool.add(index, loaded.tokenizer(text).input_ids)
    finished, came = {}, Counter()
    while pool.under_way(1):
        step = pool.step()
        came.update(step.new_tokens)
        finished |= {done.index: done for done in step.finished}
    assert came == {index: len(done.tokens) for index, done in finished.items()}
    return finished


def greedy(loaded, text, new):
    ids = torch.tensor([loaded.tokenizer(text).input_ids])
    out = loaded.model.generate(ids, do_sample=False, max_new_tokens=new, eos_token_id=None, pad_token_id=2)
    return out[0, ids.shape[1] :].tolist()


def test_without_openvino_it_says_what_to_install(monkeypatch, tiny):
    monkeypatch.setattr(openvino_pool.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install openvino-genai"):
        OpenVinoPool(Settings(model="tiny-random", engine="openvino"), tiny, 4)


def test_a_conversion_that_computes_something_else_is_refused(pool_of, tiny, monkeypatch):
    from openvino import opset13

    stateful = openvino_conversion._stateful(tiny.model)
    openvino_conversion._check_converted(stateful, tiny.model, "float32", list(range(8)))
    # One position for all: what a trace with a fixed position would do.
    positions = next(port for port in stateful.inputs if "position_ids" in port.names)
    readers = positions.get_target_inputs()
    fixed = opset13.multiply(positions.node, opset13.constant(0, dtype="int64"))
    for reader in readers:
        reader.replace_source_output(fixed.output(0))
    with pytest.raises(ModelError, match="of their spread away from the model's own"):
        openvino_conversion._check_converted(stateful, tiny.model, "float32", list(range(8)))


def test_a_sequence_can_join_and_all_can_be_aborted(pool_of, tiny):
    pool = pool_of(max_new_tokens=20, ignore_eos=True)
    alone = run(pool, tiny, PROMPTS[:1])[0].tokens
    pool.add(5, tiny.tokenizer(PROMPTS[1]).input_ids)
    for _ in range(3):
        pool.step()
    assert pool.new_tokens == 3
    pool.abort()
    assert pool.under_way(4) == [] and pool.new_tokens == 0
    assert run(pool, tiny, PROMPTS[:1])[0].tokens == alone and len(alone) == 20


def test_top_k_of_one_is_greedy(pool_of, tiny):
    asked = {"max_new_tokens": 10, "ignore_eos": True}
    drawn = run(pool_of(temperature=1.0, top_k=1, **asked), tiny)
    assert drawn[0].tokens == run(pool_of(**asked), tiny)[0].tokens


@pytest.mark.parametrize("kind", [pytest.param("qwen2", marks=pytest.mark.slow), "qwen3"])
def test_other_decoders(pool_of, tiny, tmp_path, kind):
    config = AutoConfig.for_model(
        kind, vocab_size=32, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=128, sliding_window=None, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    loaded = models.load(str(tmp_path), "float32")
    done = run(pool_of(loaded, max_new_tokens=12, ignore_eos=True), loaded)
    assert {i: d.tokens for i, d in done.items()} == {i: greedy(loaded, t, 12) for i, t in enumerate(PROMPTS)}


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"model_type": "gpt2"}, "gpt2"), ({"sliding_window": 8}, "sliding window"), ({"layer_types": ["x"]}, "window")],
)
def test_a_model_that_would_convert_wrongly_is_refused(changes, said):
    config = type("Config", (), {"model_type": "mistral", **changes})()
    assert said in openvino_conversion.why_unfit(config)


DAMAGE = {
    "openvino_model.bin": 1000,
    "openvino_model.xml": 5000,
    "openvino_tokenizer.bin": 10,
    "openvino_detokenizer.xml": 0,
    "config.json": 30,
}


@pytest.mark.parametrize(
    "name", [next(iter(DAMAGE)), *(pytest.param(name, marks=pytest.mark.slow) for name in list(DAMAGE)[1:])]
)
def test_a_converted_folder_that_breaks_off_is_converted_anew(pool_of, tiny, name):
    folder = openvino_conversion.converted_folder(tiny)
    whole = (folder / name).stat().st_size
    with (folder / name).open("r+b") as file:
        file.truncate(DAMAGE[name])
    assert openvino_conversion._why_not_whole(folder)
    assert openvino_conversion.converted_folder(tiny) == folder
    assert (folder / name).stat().st_size == whole


def test_a_disk_that_is_full_is_said_of_a_conversion(tiny, monkeypatch, tmp_path):
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 0))
    with pytest.raises(ModelError, match=r"cannot convert .* in .*openvino: No space left.*NBKIT_CACHE"):
        openvino_conversion.converted_folder(tiny)
