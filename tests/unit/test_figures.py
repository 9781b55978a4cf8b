from __future__ import annotations

import pytest
from example_runs import run

from nbkit import figures
from nbkit.progress import throughput
from nbkit.records import PARTS


def test_the_timeline_has_every_batch_in_its_rank_with_its_seconds():
    made = run()
    figure = figures.run_timeline(made)

    assert [trace.name for trace in figure.data] == list(figures.TIMELINE_PARTS)
    assert figure.layout.xaxis.title.text == "seconds since the run began"
    for position, made_batch in enumerate(made.batches):
        spans = [(trace.base[position], trace.x[position]) for trace in figure.data]
        assert spans[0][0] == pytest.approx(made_batch.begin_s - made.begin_s)
        assert sum(seconds for _, seconds in spans) == pytest.approx(made_batch.end_s - made_batch.begin_s)
        assert {trace.y[position] for trace in figure.data} == {f"rank {made_batch.rank}"}
    assert "tokens/s" in figure.layout.title.text


def test_time_parts_stack_up_to_the_wall_time():
    made = run()
    figure = figures.time_parts(made)
    assert [trace.name for trace in figure.data] == list(PARTS)
    for rank in range(2):
        assert sum(trace.x[rank] for trace in figure.data) == pytest.approx(made.wall_s)
    assert figure.layout.xaxis.title.text == "seconds"
    assert "takes most of the 8.0 s" in figure.layout.title.text


def test_the_comparison_states_the_finding_and_both_counts():
    figure = figures.comparison({"slow": run(prompts=4), "fast": run(prompts=8)})
    assert figure.layout.title.text == "fast: 2.0 times the throughput of slow"
    assert [trace.name for trace in figure.data] == ["tokens users get", "tokens computed"]
    assert figure.data[0].y[1] < figure.data[1].y[1]
    assert figure.layout.yaxis.title.text == "tokens/s"


def test_figures_of_nothing_are_empty_figures():
    assert len(figures.comparison({}).data) == 2
    assert len(figures.timeline([], 0.0, 3).data[0].x) == 0
    assert len(figures.throughput_over_time([], 0.0).data[0].x) == 0


def test_throughput_is_drawn_from_the_runs_begin():
    figure = figures.throughput_over_time(throughput([(5.0, 0), (6.0, 10), (7.0, 20)]), 5.0)
    assert list(figure.data[0].x) == [1.0, 2.0]
    assert list(figure.data[0].y) == [10.0, 10.0]


@pytest.mark.parametrize("engine", ["simple", "batched"])
def test_headlines_say_what_was_asked_and_what_came(engine):
    line = figures.headline(run(engine=engine))
    assert line.startswith(engine)
    assert ("batch size 3" in line) == (engine == "batched")
    assert "2 workers: 10 prompts in 8.0 s" in line
