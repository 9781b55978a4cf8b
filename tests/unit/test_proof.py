"""Mistakes planted in the kit's own computing: the proof at first use finds each, and the text is the model's own."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from architectures import ARCHITECTURES, build
from engine_runs import PROMPTS, Watch, generate, outputs

from nbkit import models
from nbkit.engines import Request, kept_proofs, make_engine, selection
from nbkit.engines.attention_masks import AttentionMasks
from nbkit.engines.compiled import CompiledPool
from nbkit.engines.packed_linear import PackedLinear
from nbkit.engines.proof import ALLOWED, Difference, GivenPrompts, differences
from nbkit.engines.selection import WAYS, Selected, select
from nbkit.engines.slot_cache import SlotCache
from nbkit.engines.slot_decoder import SlotDecoder
from nbkit.errors import InputError
from nbkit.records.settings import Settings

LISTED = [Request(index, text) for index, text in enumerate(PROMPTS)]


@pytest.fixture
def unproven(tmp_path, monkeypatch):
    """Llama as nobody on this machine has used it yet; its letters are given, as to the plain model."""
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path / "cache"))
    return models.load(str(build(named("llama"), tmp_path / "model")), "float32")


def named(name):
    return next(each for each in ARCHITECTURES if each.name == name)


def asked(engine="compiled", **settings):
    return Settings(engine=engine, max_new_tokens=10, batch_size=4, **settings)


def texts(loaded, engine):
    """What a user gets, and what the engine was."""
    way = WAYS[engine][select(asked(engine), loaded, LISTED).index]
    made = generate(loaded, PROMPTS, engine=way.engine, max_new_tokens=10, batch_size=4)
    return [output.text for output in outputs(made)], way.engine


def no_mask(monkeypatch):
    monkeypatch.setattr(AttentionMasks, "of_step", lambda *_: None)


def prompts_see_what_comes(monkeypatch):
    monkeypatch.setattr(AttentionMasks, "_added", lambda self, allowed: torch.zeros(allowed.shape)[:, None])
    monkeypatch.setattr(AttentionMasks, "of_prompts", lambda self, width: self._masks(torch.zeros(1, 1, 1), width))


def packing_loses_a_bias(monkeypatch):
    correct = PackedLinear.forward
    monkeypatch.setattr(PackedLinear, "forward", lambda self, x: correct(self, x) + 0.05)


def positions_count_from_one(monkeypatch):
    correct = SlotDecoder._forward
    monkeypatch.setattr(
        SlotDecoder,
        "_forward",
        lambda self, tokens, positions, length: correct(self, tokens, positions + 1, length + 1),
    )


def slots_are_mixed_up(monkeypatch):
    correct = SlotCache.prefill_into
    monkeypatch.setattr(SlotCache, "prefill_into", lambda self, slots: correct(self, slots.flip(0) * 0))


@pytest.mark.parametrize(
    "plant", [no_mask, prompts_see_what_comes, packing_loses_a_bias, positions_count_from_one, slots_are_mixed_up]
)
def test_a_planted_mistake_is_found_and_the_text_is_the_models_own(unproven, monkeypatch, plant):
    expected = texts(unproven, "simple")[0]
    plant(monkeypatch)
    monkeypatch.setattr("nbkit.engines.slot_decoder.can_pack", lambda *_: True)
    assert [output.text for output in outputs(generate(unproven, PROMPTS, engine="compiled", max_new_tokens=10))] != (
        expected
    ), "the mistake does not show"
    unproven.prepared.clear()
    assert texts(unproven, "compiled") == (expected, "batched")


def test_without_a_mistake_every_engine_is_proven(unproven):
    for engine in ("batched", "compiled", "continuous"):
        assert select(asked(engine), unproven, LISTED) == Selected(0, ())


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_quantised_weights_are_proven_too_or_refused(unproven, monkeypatch, quantization):
    assert select(asked(quantization=quantization), unproven, LISTED) == Selected(0, ())
    unproven.prepared.clear()
    monkeypatch.setenv("NBKIT_CACHE", str(unproven.folder.parent / "another"))
    no_mask(monkeypatch)
    with pytest.raises(
        InputError, match=f"quantization='{quantization}' is not right for LlamaForCausalLM: its logits"
    ):
        select(asked(quantization=quantization), unproven, LISTED)


def test_why_an_engine_was_not_taken_is_said(unproven, monkeypatch):
    no_mask(monkeypatch)
    (reason,) = select(asked(), unproven, LISTED).reasons
    assert reason.startswith("'compiled': its logits are ")
    assert "% of their spread away from the model's own (0.1% would be rounding)" in reason


def test_an_engine_that_fails_is_not_taken_and_what_it_raised_is_said(unproven, monkeypatch):
    def fail(*_):
        raise ValueError("no such layer\nmore")

    monkeypatch.setattr(CompiledPool, "step", fail)
    assert select(asked(), unproven, LISTED).reasons == ("'compiled': it fails with ValueError: no such layer",)


def test_want_of_memory_says_nothing_of_an_engine(unproven, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(selection, "differences", fail)
    with pytest.raises(MemoryError):
        select(asked(), unproven, LISTED)


def test_a_proof_is_made_once_and_again_when_the_code_or_the_model_changes(unproven, monkeypatch):
    made = []
    monkeypatch.setattr(selection, "differences", lambda *a, **k: made.append(a) or [0.0])
    for _ in range(3):
        unproven.prepared.clear()
        select(asked(), unproven, LISTED)
    assert len(made) == 1
    unproven.prepared.clear()
    select(asked(), dataclasses.replace(unproven, dtype="bfloat16"), LISTED)
    assert len(made) == 2
    unproven.prepared.clear()
    monkeypatch.setattr(kept_proofs, "_engines_code", lambda: "other code")
    select(asked(), unproven, LISTED)
    assert len(made) == 3
    (unproven.folder / "config.json").touch()
    unproven.prepared.clear()
    select(asked(), unproven, LISTED)
    assert len(made) == 4


def test_where_nothing_can_be_kept_the_proof_is_made_all_the_same(unproven, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path / "file"))
    assert select(asked(), unproven, LISTED) == Selected(0, ())


@pytest.mark.parametrize("damage", ["", "{}", "[{}]", '[{"found": "x", "allowed": 1}]', "\x00"])
def test_a_damaged_file_is_no_proof(unproven, damage):
    file = kept_proofs.file(unproven, f"{WAYS['compiled'][0]}, none")
    select(asked(), unproven, LISTED)
    assert kept_proofs.read(file) is not None
    file.write_text(damage)
    assert not kept_proofs.read(file)
    unproven.prepared.clear()
    assert select(asked(), unproven, LISTED) == Selected(0, ())


def test_a_difference_that_is_no_number_does_not_pass():
    assert not Difference(float("nan"), 1.0).is_rounding
    assert not Difference(float("inf"), 1.0).is_rounding
    assert Difference(1e-4, 1e-3).is_rounding


def test_a_window_is_crossed_where_that_is_cheap(tmp_path, monkeypatch):
    # Right within the window, wrong beyond it: only a prompt longer than 16 tokens shows that.
    loaded = models.load(str(build(named("mistral, window 16"), tmp_path)), "float32")

    def make(settings, own, tokens):
        return make_engine(settings, own, settings.batch_size, chooser=tokens)

    assert max(differences(asked(), loaded, make)) < ALLOWED["float32"]
    monkeypatch.setattr("nbkit.engines.attention_masks._has_window", lambda _: False)
    assert max(differences(asked(), loaded, make)) > 10 * ALLOWED["float32"]


@pytest.mark.parametrize("name", ["llama, dynamic NTK", "phi3, longrope"])
def test_what_depends_on_neighbours_is_padded_only_where_all_prompts_are_short(tmp_path, name):
    loaded = models.load(str(build(named(name), tmp_path)), "float32")
    short, long = [Request(0, "ab"), Request(1, "c")], [Request(0, "ab"), Request(1, "c" * 40)]
    few = Settings.of(asked("batched"), max_new_tokens=4)
    assert select(few, loaded, short).index == 0
    selected = select(few, loaded, long)
    assert not WAYS["batched"][selected.index].pads
    assert "positions it computes a prompt in another way beside a longer one" in selected.reasons[0]
    compiled = Settings.of(few, engine="compiled")
    assert select(compiled, loaded, short).index == 0
    assert WAYS["compiled"][select(compiled, loaded, long).index] == selection.Way("batched", pads=False)


def test_batches_of_one_length_hold_every_prompt_once(unproven):
    engine = make_engine(asked("batched"), unproven, 2, pads=False)
    lengths = [3, 5, 3, 3, 5, 1, 3]
    prompts = [Request(index, str(index)) for index in range(len(lengths))]
    given = GivenPrompts({str(index): [5] * length for index, length in enumerate(lengths)})
    engine = make_engine(asked("batched"), dataclasses.replace(unproven, prompt_tokens=given), 2, pads=False)
    done = list(engine.generate([prompts], Watch()))
    assert [output.index for output in outputs(done)] == list(range(7))
    assert [len(batch.record.indices) for batch in done] == [1, 2, 2, 2]
    assert all(batch.record.padding_tokens == 0 for batch in done)


def test_a_proof_that_takes_long_is_announced(unproven, monkeypatch, capsys):
    select(asked(), unproven, LISTED)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(selection, "expected_s", lambda _: 17.2)
    select(asked("batched"), unproven, LISTED)
    assert capsys.readouterr().out == "holding 'batched' against the model, once on this machine: about 17 s\n"
    unproven.prepared.clear()
    select(asked("batched"), unproven, LISTED)
    assert capsys.readouterr().out == ""  # it is kept
