from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from timelines import MODEL, timeline, varied_runs

from nbkit.analysis.batch_shapes import BatchShapes
from nbkit.analysis.cost_model import CostModel, non_negative_fit
from nbkit.errors import InputError

COEFFICIENTS = [
    "prefill_fixed_s",
    "prefill_position_s",
    "prefill_square_s",
    "step_fixed_s",
    "step_sequence_s",
    "step_cached_s",
]


def test_the_coefficients_that_made_the_runs_are_found_again():
    model = CostModel.fit(varied_runs())
    for name in COEFFICIENTS:
        assert getattr(model, name) == pytest.approx(getattr(MODEL, name), rel=1e-6), name
    assert model.quality.largest_error < 1e-9
    [correction] = model.corrections
    assert correction.ranks == 1
    assert correction.sequences == (1.0, 4.0, 8.0, 16.0)
    assert correction.decode == pytest.approx([1] * 4)


def test_a_disturbed_batch_moves_the_fit_little():
    runs = varied_runs() * 3
    hit = runs[0].batches[0]
    slow = dataclasses.replace(hit, decode_s=50 * hit.decode_s)
    runs[0] = dataclasses.replace(runs[0], batches=[slow, *runs[0].batches[1:]])
    assert CostModel.fit(runs).step_fixed_s == pytest.approx(MODEL.step_fixed_s, rel=0.01)


def test_ranks_that_slow_each_other_down_are_measured_and_carried_on():
    lengths, new = [5 + 7 * (i % 9) for i in range(24)], [10] * 24
    crowded = [timeline(lengths, new, n, slower=lambda rank, n=n: 1 + 0.2 * (n - 1), batch_size=4) for n in (2, 4)]
    model = CostModel.fit(varied_runs() + crowded)
    assert [correction.ranks for correction in model.corrections] == [1, 2, 4]
    for ranks, slower in ((1, 1.0), (2, 1.2), (3, 1.4), (4, 1.6), (1000, 1.6)):
        for part in ("prefill", "decode"):
            assert model.correction(part, ranks, np.array([1.0, 4.0, 64.0])) == pytest.approx([slower] * 3)


def test_what_a_straight_line_misses_is_corrected_by_batch_size():
    """A device that is worse at 4 sequences than at 1 and 16, as processors are that multiply few rows badly."""
    worse = {1: 0.8, 4: 1.2, 16: 1.0}
    lengths, new = [8] * 32, [10] * 32
    runs = [timeline(lengths, new, 1, batch_size=s, slower=lambda rank, s=s: worse[s]) for s in (1, 4, 16)]
    model = CostModel.fit(runs)
    assert model.quality.largest_error < 1e-9
    for run in runs:
        shapes = BatchShapes.of(run.batches)
        corrected = model.decode_s(shapes) * model.correction("decode", 1, shapes.sequences)
        assert corrected == pytest.approx([batch.decode_s for batch in run.batches])
    between = model.correction("decode", 1, np.array([8.0]))[0]
    assert between == pytest.approx(sum(model.correction("decode", 1, np.array([4.0, 16.0]))) / 2)


def test_a_calibrated_model_meets_the_runs_it_is_calibrated_to():
    runs = [timeline([8] * 32, [10] * 32, 1, batch_size=4, slower=lambda rank: 1.3)]
    model = MODEL.calibrated(runs)
    shapes = BatchShapes.of(runs[0].batches)
    assert model.decode_s(shapes).sum() == pytest.approx(sum(batch.decode_s for batch in runs[0].batches))
    assert model.prefill_s(shapes).sum() == pytest.approx(sum(batch.prefill_s for batch in runs[0].batches))


def test_the_gather_grows_with_the_ranks():
    runs = [timeline([5] * 8, [3] * 8, n, gather_s=0.01 * (n - 1), batch_size=4) for n in (1, 2, 3, 5)]
    model = CostModel.fit(runs)
    assert model.gather_s(1, 8) == 0
    assert model.gather_s(9, 8) == pytest.approx(0.08)


def test_a_gather_that_no_run_tells_is_assumed_and_never_free():
    alone = CostModel.fit([timeline([5] * 8, [3] * 8, 1, batch_size=4)])
    assert alone.gather_basis.startswith("assumed: 1.5 ms for each further rank and 11 us for each prompt")
    assert alone.gather_s(512, 1000) == pytest.approx(511 * 1.5e-3 + 1000 * 1.1e-5)
    one_number = CostModel.fit([timeline([5] * 8, [3] * 8, 2, gather_s=0.01, batch_size=4)])
    assert "measured on 2 ranks alone" in one_number.gather_basis
    assert one_number.gather_s(2, 8) == pytest.approx(0.01, rel=0.01)
    assert one_number.gather_prompt_s > 0
    several = CostModel.fit([timeline([5] * 8, [3] * 8, n, gather_s=0.01 * (n - 1), batch_size=4) for n in (1, 2, 4)])
    assert several.gather_basis == "measured on 2 to 4 ranks"


def test_a_fit_knows_between_which_values_it_was_made():
    measured = CostModel.fit(varied_runs((1, 3))).measured
    assert (measured.ranks, measured.sequences, measured.steps) == ((1, 3), (1, 16), (5, 20))

    def beyond(sequences, length, steps, ranks):
        rows = (sequences, length, steps, sequences * length, sequences * steps)
        return measured.beyond(BatchShapes(*(np.array([float(value)]) for value in rows)), ranks)

    assert beyond(16, 61, 20, 3) == beyond(1, 5, 5, 1) == ()
    assert beyond(64, 2000, 4, 1000) == (
        "ranks: 1,000, beyond the 1 to 3 measured",
        "batch size 64, beyond the 1 to 16 measured",
        "new tokens: 4, below the 5 to 20 measured",
        "prompt tokens with padding: 2,000, beyond the 5 to 61 measured",
    )


def test_a_model_is_of_one_engine_and_dtype():
    simple = timeline([5] * 4, [3] * 4, 1, engine="simple")
    with pytest.raises(InputError, match=r"not of several: .*batched.*simple"):
        CostModel.fit([*varied_runs(), simple])
    with pytest.raises(InputError, match="no finished batches"):
        CostModel.fit([])


def test_batches_of_one_token_fit_a_prefill_and_no_decode():
    model = CostModel.fit([timeline([5, 9, 30], [1, 1, 1], 1, batch_size=2)])
    assert model.step_fixed_s == model.step_sequence_s == model.step_cached_s == 0
    assert model.prefill_fixed_s > 0


positive = st.floats(1e-6, 10)


@given(st.lists(st.tuples(positive, positive, positive), min_size=1, max_size=12), st.lists(positive, min_size=12))
def test_no_coefficient_is_negative_and_none_at_all_is_never_better(rows, values):
    terms, measured = np.array(rows), np.array(values[: len(rows)])
    found = non_negative_fit(terms, measured)
    assert (found >= 0).all()
    errors = terms @ found / measured - 1
    assert (errors**2).sum() <= len(rows) + 1e-9
    # At the minimum the gradient is 0 for what is used and not below 0 for what is not (Karush, Kuhn and Tucker).
    gradient = (terms / measured[:, None]).T @ errors
    scale = np.linalg.norm(terms / measured[:, None], axis=0)
    assert (gradient >= -1e-4 * scale * np.sqrt(len(rows))).all()


@given(st.integers(1, 64), st.integers(1, 500), st.integers(1, 200))
def test_a_larger_batch_never_takes_less(sequences, length, steps):
    def one(s, p, m):
        shape = BatchShapes(*(np.array([float(v)]) for v in (s, p, m, s * p, s * m)))
        return float((MODEL.prefill_s(shape) + MODEL.decode_s(shape))[0])

    base = one(sequences, length, steps)
    assert one(sequences + 1, length, steps) >= base
    assert one(sequences, length + 1, steps) >= base
    assert one(sequences, length, steps + 1) >= base
