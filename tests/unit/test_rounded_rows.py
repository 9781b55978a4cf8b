"""Numbers of rows that products have: few, so that the kernels kept for them are, and hardly more than asked for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nbkit.engines.packed_linear import PackedLinear, can_pack
from nbkit.engines.quantized_linear import Int8Linear
from nbkit.engines.rounded_rows import SMALL, rounded, rounding_rows, with_rounded_rows
from nbkit.engines.slot_decoder import SlotDecoder

ROWS = range(1, 4097)


def test_few_numbers_of_rows_are_left():
    for numbers, most, waste in ((SMALL, 44, 1 / 4), (SMALL + 1, 256, 1 / 32)):
        found = [rounded(rows, numbers) for rows in ROWS]
        assert len(set(found)) <= most
        assert all(rows <= up <= rows * (1 + waste) for rows, up in zip(ROWS, found, strict=True))
        assert all(rounded(up, numbers) == up for up in found)


@pytest.mark.parametrize("shape", [(1,), (3, 1), (70, 1), (3, 23), (5, 130)])
@pytest.mark.parametrize("outputs", [16, 4096])
def test_rows_that_are_added_change_nothing(shape, outputs):
    if not can_pack(torch.device("cpu"), torch.float32):
        pytest.skip("this torch packs no weights")
    torch.manual_seed(0)
    linear, x = nn.Linear(32, outputs), torch.randn(*shape, 32)
    with torch.inference_mode(), rounding_rows():
        expected = linear(x)
        assert torch.allclose(PackedLinear(linear)(x), expected, atol=1e-5)
        assert torch.allclose(Int8Linear(linear)(x), expected, atol=0.1)


def test_rows_are_rounded_where_it_is_asked_for_only():
    x = torch.randn(7, 13, 4)
    assert with_rounded_rows(x, 1 << 20).shape == (91, 4)
    with rounding_rows():
        assert with_rounded_rows(x, 1 << 20).shape == (rounded(91, 4 << 20), 4) == (92, 4)
        with rounding_rows():
            pass
        assert len(with_rounded_rows(x, 1 << 20)) == 92
    assert len(with_rounded_rows(x, 1 << 20)) == 91


def test_a_prefill_has_a_round_number_of_rows_so_that_no_product_copies(tiny, monkeypatch):
    decoder, shapes = SlotDecoder(tiny, "none", slots=32, captures=False), []
    read = decoder._model.base_model.forward

    def forward(input_ids, **others):
        shapes.append(tuple(input_ids.shape))
        return read(input_ids=input_ids, **others)

    monkeypatch.setattr(decoder._model.base_model, "forward", forward)
    lengths = [131, 130, 129, 120, 118, 117, 110]
    with torch.inference_mode(), rounding_rows():
        decoder.make_room(lengths[0])
        while lengths:
            count = decoder.prefill_count(lengths)
            decoder.prefill([[1] * length for length in lengths[:count]], first_slot=0)
            del lengths[:count]
    assert shapes == [(4, 132), (2, 118), (1, 110)]
    assert all(rounded(rows * width) == rows * width for rows, width in shapes)
