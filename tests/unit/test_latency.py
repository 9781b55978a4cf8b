from __future__ import annotations

import dataclasses
import functools
import json
import math

import numpy as np
import pandas
import pytest
from example_runs import MACHINE, article, batch, run
from hypothesis import given
from hypothesis import strategies as st

from nbkit import figures
from nbkit.app.cli.saved_outputs import save
from nbkit.errors import InputError
from nbkit.figures.html.report import write_report
from nbkit.records import Latencies, Output, OutputTimes, Percentiles
from nbkit.records.export import export_csv
from nbkit.records.latency import latency_text
from nbkit.records.run import Run
from nbkit.records.time_histogram import LAST_BUCKET, LEAST_S, MOST_S, RELATIVE_ERROR, TimeHistogram

durations = st.lists(st.floats(LEAST_S * 1.001, MOST_S, exclude_min=True), min_size=1, max_size=60)
percents = st.integers(0, 100)
ROUNDING = 1e-6


def histogram(seconds):
    """Of these durations: each from 0 on, so that no sum rounds it."""
    return TimeHistogram.merged(TimeHistogram.between([0.0, each]) for each in seconds)


@given(durations, percents)
def test_percentiles_are_within_the_error_of_numpys(seconds, percent):
    exact = np.percentile(seconds, percent, method="inverted_cdf")
    found = histogram(seconds).percentile(percent)
    assert abs(found - exact) <= (RELATIVE_ERROR + ROUNDING) * exact
    assert Percentiles.of(seconds).values_s == tuple(
        np.percentile(seconds, each, method="inverted_cdf") for each in (50, 90, 99)
    )


@given(durations, durations, durations)
def test_merged_histograms_are_the_one_of_all_in_whatever_order(first, second, third):
    a, b, c = map(histogram, (first, second, third))
    together = histogram([*third, *first, *second])
    assert TimeHistogram.merged([TimeHistogram.merged([a, b]), c]) == together
    assert TimeHistogram.merged([a, TimeHistogram.merged([c, b])]) == together
    assert TimeHistogram.merged([together, TimeHistogram()]) == together
    assert together.count == len(first) + len(second) + len(third)


@given(st.lists(st.floats(0, 1e12), max_size=80))
def test_a_histogram_is_bounded_whatever_comes(seconds):
    made = histogram(seconds)
    assert made.count == len(seconds)
    assert all(0 <= number <= LAST_BUCKET for number, _ in made.buckets)
    assert TimeHistogram.from_text(made.to_text()) == made
    assert [so_far for _, so_far in made.steps()][-1:] == ([len(seconds)] if seconds else [])


def test_all_durations_together_fill_no_more_than_its_buckets():
    everything = histogram([0.0, *np.geomspace(LEAST_S / 10, MOST_S * 10, 20_000)])
    assert len(everything.buckets) == LAST_BUCKET + 1 < 600
    assert everything.percentile(0) == 0
    assert everything.percentile(100) == pytest.approx(MOST_S, rel=RELATIVE_ERROR)


def test_tokens_known_at_one_look_have_no_time_between_them():
    times = OutputTimes.of(1.0, [2.0, 2.0, 2.5, 2.5])
    assert (times.ttft_s, times.end_to_end_s, times.inter_token.count) == (1.0, 1.5, 3)
    assert times.inter_token.percentile(50) == 0
    assert times.inter_token.percentile(100) == pytest.approx(0.5, rel=RELATIVE_ERROR)


@pytest.mark.parametrize("text", ["a", "3", "3:0", "3:1 2:1", "3:1 3:1", "9999:1", "3:1 ", "-1:2", "٣:1"])
def test_what_is_no_histogram_is_refused(text):
    with pytest.raises(ValueError, match="buckets"):
        TimeHistogram.from_text(text)


def test_no_durations_have_no_percentile():
    assert Percentiles.of([]) is Percentiles.of(TimeHistogram()) is None
    with pytest.raises(ValueError, match="no durations"):
        TimeHistogram().percentile(50)


def timed(count=10, finished=10, tokens=7) -> Run:
    """A run of one batch, that finished so many: token k of output i came at 2 + i + k / 10 s."""
    made = tuple(range(finished))
    outputs = [
        Output(i, "text", 5, tokens, "stop", OutputTimes.of(1.0, [2 + i + k / 10 for k in range(tokens)]))
        for i in made
    ]
    pairs = [(batch(0, made), outputs)] if made else []
    return Run.assemble(article(), [f"prompt {i}" for i in range(count)], pairs, [], 1, MACHINE)


def test_percentiles_are_of_finished_outputs_and_say_how_many():
    own = timed(count=20, finished=10).latencies
    assert (own.ttft.count, own.end_to_end.count, own.inter_token.count) == (10, 10, 60)
    assert own.ttft.values_s == (5.0, 9.0, 10.0)
    assert own.end_to_end.values_s == (5.6, 9.6, 10.6)
    assert own.inter_token.values_s == pytest.approx([0.1] * 3, rel=RELATIVE_ERROR)
    assert timed(tokens=1).latencies.inter_token is None
    assert timed(finished=0).latencies == Latencies(None, None, None) == run().latencies


def test_times_are_saved_with_the_run_in_few_bytes(tmp_path):
    made = timed(count=12, finished=10)
    path = made.save(tmp_path / "run.json")
    loaded = Run.load(path)
    assert loaded == made and loaded.latencies == made.latencies
    assert loaded.times[10:] == [None, None]
    stored = json.loads(path.read_text())["times"]
    assert list(stored) == ["taken_s", "first_token_s", "end_s", "inter_token"]
    without = dataclasses.replace(made, times=[]).save(tmp_path / "without.json")
    assert path.stat().st_size - without.stat().st_size < 12 * 100


def test_a_run_of_the_seventh_schema_has_no_times(tmp_path):
    made = timed()
    data = made.to_dict() | {"schema_version": 7}
    del data["times"]
    loaded = Run.from_dict(json.loads(json.dumps(data)))
    assert loaded.times == [None] * 10
    assert loaded == dataclasses.replace(made, times=[])
    assert loaded.summary()["TTFT p99 ms"] is None
    assert "<td" in write_report({"old": loaded}, tmp_path / "old.html").read_text()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"taken_s": [9.0]}, "not in order"),
        ({"end_s": [None]}, "in part only"),
        ({"end_s": [math.inf]}, r"times.end_s\[0\] should be at least 0 and finite"),
        ({"inter_token": ["3:1 2:1"]}, r"times.inter_token\[0\] should have ascending buckets"),
        ({"end_s": []}, "not equally long"),
        ({"more": []}, "times should be an object of taken_s"),
    ],
)
def test_damaged_times_are_named(damage, said):
    data = timed(count=1, finished=1).to_dict()
    data["times"] |= damage
    with pytest.raises(InputError, match=said):
        Run.from_dict(data)
    with pytest.raises(InputError, match="not equally long"):
        Run.from_dict(timed(count=2).to_dict() | {"times": timed(count=1, finished=1).to_dict()["times"]})


def test_tables_and_files_have_the_times_of_each_output(tmp_path):
    made = timed(count=11, finished=10)
    table = made.table("outputs")
    assert table["ttft_s"].tolist()[:2] == [1.0, 2.0] and math.isnan(table["ttft_s"][10])
    assert table["itl_max_s"].tolist()[:10] == pytest.approx([0.1] * 10, rel=RELATIVE_ERROR)
    runs, outputs = map(pandas.read_csv, export_csv({"one": made, "old": run()}, tmp_path / "x.csv"))
    assert runs["end-to-end p99 ms"].tolist()[0] == 10_600 and math.isnan(runs["TTFT p50 ms"][1])
    assert outputs["end_to_end_s"].tolist()[0] == pytest.approx(1.6)
    assert outputs["itl_p50_s"].isna().sum() == 11
    save(timed(tokens=1), tmp_path / "lines.jsonl")
    lines = [json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "lines.jsonl").open()]
    assert [line["itl_p50_s"] for line in lines] == [None] * 10


def test_the_distribution_marks_its_percentiles_and_says_the_last():
    figure = figures.latency_distribution(timed().times)
    assert figure.layout.title.text == "p99: TTFT 10.0 s, ITL 99 ms, end-to-end 10.6 s"  # 100 within 2%
    by_name = {trace.name: trace for trace in figure.data}
    curve, marks = by_name["TTFT"], by_name["TTFT: p50, p90, p99"]
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (1000, 10, 10_000, 100)
    assert (list(marks.x), list(marks.y)) == ([5000, 9000, 10_000], [50, 90, 99])
    assert (
        figure.layout.xaxis.title.text == "milliseconds"
        and figure.layout.yaxis.title.text == "% of outputs (ITL: of tokens)"
    )
    many = [OutputTimes.of(0.0, [1.0 + i, 2.0 + i]) for i in range(5000)]
    points = figures.latency_distribution(many).data[0]
    assert len(points.x) <= 302 and points.y[-1] == 100


def test_a_report_shows_latencies_of_runs_that_know_them(tmp_path):
    page = functools.partial(write_report, path=tmp_path / "report.html")
    known = page({"known": timed(), "old": run()}).read_text()
    assert known.count("% of outputs (ITL: of tokens)") == 1 and "They count finished outputs" in known
    unknown = page({"old": run()}).read_text()
    assert "% of outputs (ITL: of tokens)" not in unknown and "They count finished outputs" not in unknown


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        ((2.4,), "2.4 s"),
        ((0.2412,), "241 ms"),
        ((0.0024,), "2.4 ms"),
        ((0.00004,), "0.04 ms"),
        ((0.9996,), "1.00 s"),
        ((123.4,), "123 s"),
        ((0.02, 0.94, 3.06), "0.02 / 0.94 / 3.1 s"),
        ((0.0, 0.0005, 0.012), "0.00 / 0.50 / 12 ms"),
    ],
)
def test_latencies_are_told_in_the_unit_of_the_longest(seconds, text):
    assert latency_text(*seconds) == text
