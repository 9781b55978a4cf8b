"""The arithmetic that is chosen for numbers of 16 bits, and layers that use it."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from nbkit.engines import cpu_arithmetic, packed_linear
from nbkit.engines.cpu_arithmetic import NEVER, WIDE_FROM, float32_from
from nbkit.engines.packed_linear import PackedLinear, packed_bytes, packed_copy

BF16 = torch.bfloat16


@pytest.fixture(autouse=True)
def unknown(tmp_path, monkeypatch):
    """A processor of which nothing is known, with bfloat16 of its own."""
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(cpu_arithmetic, "emulates", lambda dtype: False)
    float32_from.cache_clear()
    yield
    float32_from.cache_clear()


@pytest.fixture
def timed(monkeypatch):
    """Set whether float32 is the faster one; counts the measurements."""
    measured = []

    def so(is_faster):
        def measure(*_):
            measured.append(1)
            return [2.0, 1.0] if is_faster else [1.0, 2.0]

        monkeypatch.setattr(cpu_arithmetic, "_least_seconds", measure)
        monkeypatch.setattr(cpu_arithmetic, "pack_weight", lambda weight, rows: weight)
        return measured

    return so


@pytest.mark.parametrize(("is_faster", "found"), [(True, WIDE_FROM), (False, NEVER)])
def test_the_faster_arithmetic_is_measured_once_and_kept(timed, is_faster, found):
    measured = timed(is_faster)
    assert float32_from(BF16) == found
    float32_from.cache_clear()  # as in another process
    assert float32_from(BF16) == found
    assert measured == [1]


@pytest.mark.parametrize("damage", ["{", "[1]", "true", '{"a": -1, "b": "x"}'])
def test_damage_is_measured_anew(timed, damage):
    timed(True)
    cpu_arithmetic._file().write_text(damage)
    assert float32_from(BF16) == WIDE_FROM
    assert list(json.loads(cpu_arithmetic._file().read_text()).values()) == [True]


def test_what_needs_no_measurement(timed, monkeypatch):
    measured = timed(True)
    assert float32_from(torch.float32) == NEVER
    monkeypatch.setattr(cpu_arithmetic, "emulates", lambda dtype: True)
    assert float32_from(BF16) == 1
    assert measured == []


def test_a_real_measurement_gives_either():
    if packed_linear.can_pack(torch.device("cpu"), BF16) and not packed_linear.emulates("bfloat16"):
        assert float32_from(BF16) in (WIDE_FROM, NEVER)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 4, 5, 40])
def test_either_arithmetic_gives_the_product(bias, rows):
    torch.manual_seed(0)
    linear = nn.Linear(64, 96, bias=bias, dtype=BF16).requires_grad_(False)
    x = torch.randn(rows, 1, 64, dtype=BF16)
    exact = nn.functional.linear(x.double(), linear.weight.double(), None if not bias else linear.bias.double())
    found = PackedLinear(linear, wide_from=1 if rows == 4 else 5)(x)
    assert found.dtype == BF16
    torch.testing.assert_close(found.double(), exact, rtol=0.02, atol=0.02)


@pytest.mark.model
def test_float32_copies_of_weights_are_made_where_there_is_memory_for_them(tiny, monkeypatch):
    model = tiny.model
    numbers = packed_linear._linear_numbers(model)
    monkeypatch.setattr(packed_linear, "float32_from", lambda dtype: 16)
    assert packed_bytes(model, BF16) == 6 * numbers
    for free, made in ((8 * numbers, 16), (8 * numbers - 1, NEVER)):
        copied = packed_copy(model, BF16, free)
        assert {part._wide_from for part in copied.modules() if isinstance(part, PackedLinear)} == {made}
    monkeypatch.setattr(packed_linear, "float32_from", lambda dtype: 1)
    monkeypatch.setattr(packed_linear, "emulates", lambda dtype: True)
    assert packed_bytes(model, BF16) == 4 * numbers
    assert packed_copy(model, BF16, 1) is model


@pytest.mark.model
def test_merged_and_packed_layers_give_the_models_logits(tiny):
    ids = torch.arange(20).view(2, 10)
    with torch.inference_mode():
        expected = tiny.model(input_ids=ids).logits
        torch.testing.assert_close(packed_copy(tiny.model, torch.float32, 1e12)(input_ids=ids).logits, expected)
