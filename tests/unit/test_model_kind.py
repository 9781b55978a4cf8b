from __future__ import annotations

import pytest
from architectures import IDS, SMALL
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    T5Config,
    T5ForConditionalGeneration,
    ViTConfig,
    ViTForImageClassification,
)

from nbkit import models
from nbkit.errors import ModelError

T5 = T5Config(d_model=16, d_ff=16, d_kv=8, num_layers=1, num_heads=2, decoder_start_token_id=2, **IDS)
BART = BartConfig(
    d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, **IDS
)
BERT = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=33)
GPT2 = GPT2Config(n_embd=16, n_layer=1, n_head=2, **IDS)
VIT = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)


@pytest.mark.parametrize(
    ("model_class", "config", "message"),
    [
        (T5ForConditionalGeneration, T5, r"T5ForConditionalGeneration\) is an encoder-decoder"),
        (BartForConditionalGeneration, BART, r"BartForConditionalGeneration\) is an encoder-decoder"),
        (BertForMaskedLM, BERT, r"BertForMaskedLM\) fills in masked words"),
        (GPT2ForSequenceClassification, GPT2, r"GPT2ForSequenceClassification\) classifies whole texts"),
        (ViTForImageClassification, VIT, r"ViTForImageClassification\) is no causal language model"),
    ],
)
def test_what_does_not_continue_a_text_is_refused_by_its_kind(tmp_path, tiny, model_class, config, message):
    model_class(config).save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=message) as refused:
        models.load(str(tmp_path))
    assert "decoder-only (causal) language models" in str(refused.value)
    assert len(str(refused.value)) < 400 + len(str(tmp_path))


def test_what_another_library_says_of_a_model_is_cut_to_its_first_line(tmp_path, tiny):
    LlamaConfig(**SMALL, **IDS).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    tiny.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="If its files are damaged, delete that folder") as refused:
        models.load(str(tmp_path))
    assert len(str(refused.value)) < 600 + len(str(tmp_path))
