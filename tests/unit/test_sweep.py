from __future__ import annotations

import dataclasses
import io
import itertools
import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from timelines import timeline

from nbkit.app.cli.sweep_table import watch_sweep
from nbkit.errors import InputError, JobCancelled, ModelError, RankError
from nbkit.measure.sweep import Grid, Sweep, SweepRunner, remaining_s, resume_or_begin, run_sweep, whole_numbers
from nbkit.records.engine_spec import ENGINES
from nbkit.records.settings import DTYPES, ORDERS, SPLITS, Settings

PROMPTS = [f"prompt {i}" for i in range(12)]


def some(values, most=3):
    return st.lists(st.sampled_from(values), min_size=1, max_size=most)


grids = st.builds(
    Grid,
    ranks=some([1, 2, 3, 8]),
    batch_sizes=some([1, 4, 16]),
    engines=some(tuple(ENGINES)),
    dtypes=some(DTYPES),
    splits=some(SPLITS),
    orders=some(ORDERS),
    repeats=st.integers(1, 4),
    seed=st.integers(0, 3),
)


class FakeJob:
    def __init__(self, outcome):
        self._outcome = outcome
        self.was_cancelled = False

    def result(self):
        if self.was_cancelled:
            raise JobCancelled
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    def cancel(self):
        self.was_cancelled = True

    def events(self, timeout):
        return iter([])


class FakeWorkers:
    """Workers that measure in no time; ``fails`` maps the number of a generation to its error."""

    world_size = 4
    is_closed = False

    def __init__(self, fails=None):
        self.asked = []
        self._fails = fails or {}

    def submit_generate(self, prompts, settings, ranks):
        number = len(self.asked)
        self.asked.append((tuple(prompts), settings, ranks))
        if number in self._fails:
            return FakeJob(self._fails[number])
        run = timeline([8] * len(prompts), [settings.max_new_tokens] * len(prompts), ranks)
        return FakeJob(dataclasses.replace(run, settings=settings, prompts=list(prompts)))


def small_grid(**changes):
    return Grid(**{"ranks": (1, 2), "batch_sizes": (1, 4), "repeats": 2, **changes})


def measure(sweep, workers=None, path=None):
    return [step.kind for step in SweepRunner(workers or FakeWorkers(), sweep, path).steps()]


@given(grids)
def test_every_repeat_is_a_pass_over_all_points(grid):
    points, plan = grid.points(), grid.plan()
    assert len(points) == len(set(points))
    for repeat in range(grid.repeats):
        block = [point for point, number in plan if number == repeat]
        assert len(block) == len(points) and set(block) == set(points)
    assert plan == grid.plan()
    longer = dataclasses.replace(grid, repeats=grid.repeats + 1)
    assert longer.plan()[: len(plan)] == plan, "more repeats go on where fewer ended"


@given(grids)
def test_simple_has_no_batch_sizes(grid):
    simple = [point for point in grid.points() if point.settings.engine == "simple"]
    others = len(grid.ranks) * len(grid.dtypes) * len(grid.splits) * len(grid.orders)
    assert len(simple) == (others if "simple" in grid.engines else 0)
    assert all(point.settings.batch_size == 1 for point in simple)


@given(grids)
def test_a_grid_survives_json(grid):
    assert Grid.from_dict(json.loads(json.dumps(grid.to_dict()))) == grid


def test_the_order_is_shuffled_and_another_for_each_repeat():
    grid = Grid(ranks=range(1, 9), batch_sizes=(1, 2, 4), repeats=2)
    first, second = ([point for point, number in grid.plan() if number == repeat] for repeat in (0, 1))
    assert first != grid.points()
    assert first != second


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ranks": ()}, "ranks is empty"),
        ({"ranks": (0,)}, "at least 1, not 0"),
        ({"repeats": 0}, "repeats must be a whole number of at least 1, not 0"),
        ({"ranks": (2, 1.5)}, "ranks must be whole numbers of at least 1, not 1.5"),
        ({"ranks": (1, True)}, "ranks must be whole numbers of at least 1, not True"),
        ({"batch_sizes": (1, True)}, 'batch_size must be a whole number of at least 1 or "auto", not True'),
        ({"ranks": None}, "ranks must be a list"),
        ({"ranks": ([1],)}, r"ranks must be whole numbers of at least 1, not \[1\]"),
        ({"dtypes": (["auto"],)}, "dtype must be one of"),
        ({"seed": "x"}, "seed must be a whole number, not 'x'"),
        ({"base": None}, "base must be Settings, not None"),
        ({"ranks": 2}, r"ranks must be a list, for example ranks=\[2\]"),
        ({"engines": "batched"}, "engines must be a list"),
        ({"engines": ("warp",)}, "engine must be one of simple, batched, compiled, .*, not 'warp'"),
        ({"batch_sizes": (4, -1)}, "batch_size must be at least 1, not -1"),
    ],
)
def test_a_grid_that_cannot_be_says_why(wrong, message):
    with pytest.raises(InputError, match=message):
        Grid(**wrong)


def test_numbers_with_commas():
    assert whole_numbers("1, 2,16,", "--ranks") == (1, 2, 16)
    for wrong in ("", "1,x", "0", "-1", "1.5", "²"):
        with pytest.raises(InputError, match="--ranks takes whole numbers"):
            whole_numbers(wrong, "--ranks")


def test_a_sweep_measures_its_plan_with_the_prompts_that_it_was_given():
    sweep, workers = Sweep(small_grid(), PROMPTS), FakeWorkers()
    assert measure(sweep, workers) == ["measuring", "measured"] * 8
    assert sweep.is_complete and not sweep.failures
    assert [(m.point, m.repeat) for m in sweep.measurements] == sweep.grid.plan()
    asked = [(tuple(PROMPTS), point.settings, point.ranks) for point, _ in sweep.grid.plan()]
    assert workers.asked == asked


def test_a_file_is_the_whole_sweep(tmp_path):
    sweep = Sweep(small_grid(), PROMPTS)
    measure(sweep, path=tmp_path / "sweep.json")
    again = Sweep.load(tmp_path / "sweep.json")
    assert again == sweep
    assert again.table().equals(sweep.table())
    assert list(again.summary_table()["repeats"]) == [2] * 4
    assert (tmp_path / "sweep.json").read_text().count('"prompt 11"') == 1, "prompts are stored once"


def test_a_stopped_sweep_goes_on_and_repeats_nothing(tmp_path):
    path = tmp_path / "sweep.json"
    sweep = resume_or_begin(path, small_grid(), PROMPTS)
    runner = SweepRunner(FakeWorkers(), sweep, path)
    for step in runner.steps():
        if step.done == 3:
            runner.stop()
    assert len(sweep.measurements) == 3

    again = resume_or_begin(path, small_grid(), PROMPTS)
    workers = FakeWorkers()
    measure(again, workers, path)
    assert len(workers.asked) == 5
    assert again.measurements[:3] == sweep.measurements
    assert Sweep.load(path).is_complete
    assert resume_or_begin(path, small_grid(repeats=3), PROMPTS).left == small_grid(repeats=3).plan()[8:]


def test_what_the_grid_chooses_itself_may_differ_in_its_base(tmp_path):
    path = tmp_path / "sweep.json"
    Sweep(small_grid(), PROMPTS).save(path)
    other = small_grid(base=Settings(batch_size=7, engine="simple", ignore_eos=True))
    assert resume_or_begin(path, other, PROMPTS).left == small_grid().plan()


def test_fewer_repeats_than_the_file_has_keep_what_it_has(tmp_path):
    path = tmp_path / "sweep.json"
    sweep = Sweep(small_grid(), PROMPTS)
    measure(sweep, path=path)
    assert resume_or_begin(path, small_grid(repeats=1), PROMPTS) == sweep


def test_a_consumer_that_breaks_off_cancels_the_run_under_way():
    runner = SweepRunner(FakeWorkers(), Sweep(small_grid(), PROMPTS))
    steps = runner.steps()
    job = next(steps).job
    steps.close()
    assert job.was_cancelled


def test_a_stop_while_a_run_is_being_submitted_cancels_it():
    class StoppingWorkers(FakeWorkers):
        def submit_generate(self, *arguments, **named):
            job = super().submit_generate(*arguments, **named)
            if len(self.asked) == 2:
                runner.stop()
            return job

    sweep, workers = Sweep(small_grid(), PROMPTS), StoppingWorkers()
    runner = SweepRunner(workers, sweep)
    assert [step.kind for step in runner.steps()][-1] == "measuring"
    assert len(sweep.measurements) == 1
    assert len(workers.asked) == 2


def test_an_interrupt_while_saving_leaves_no_measurement_out_of_the_file(tmp_path, monkeypatch):
    path = tmp_path / "sweep.json"
    save, calls = Sweep.save, []

    def interrupted(sweep, to):
        calls.append(to)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return save(sweep, to)

    monkeypatch.setattr(Sweep, "save", interrupted)
    sweep = Sweep(small_grid(), PROMPTS)
    with pytest.raises(KeyboardInterrupt):
        measure(sweep, path=path)
    assert len(sweep.measurements) == 3
    assert Sweep.load(path) == sweep


def test_a_run_that_fails_is_recorded_and_tried_again_later(tmp_path):
    path = tmp_path / "sweep.json"
    sweep = Sweep(small_grid(), PROMPTS)
    kinds = measure(sweep, FakeWorkers({3: RankError(1, "out of memory", "")}), path)
    assert kinds.count("failed") == 1
    assert len(sweep.measurements) == 7
    [failure] = sweep.failures
    assert "out of memory" in failure.message
    again = Sweep.load(path)
    assert again.left == [(failure.point, failure.repeat)]
    measure(again, path=path)
    assert again.is_complete and not again.failures


def test_what_would_fail_every_time_is_raised_at_once():
    sweep = Sweep(small_grid(), PROMPTS)
    with pytest.raises(ModelError, match="no such model"):
        measure(sweep, FakeWorkers({0: ModelError("no such model")}))
    assert sweep.failures == []


def test_more_ranks_than_there_are_is_refused_before_anything_runs():
    with pytest.raises(InputError, match="asks for 8 ranks, but only 4 are started"):
        SweepRunner(FakeWorkers(), Sweep(small_grid(ranks=(1, 8)), PROMPTS))


@pytest.mark.parametrize(
    ("changes", "prompts", "message"),
    [
        (
            {"batch_sizes": (1, 8), "seed": 3},
            PROMPTS,
            r"another sweep: batch_sizes \(1, 4\), not \(1, 8\); seed 0, not 3\. Name another file",
        ),
        (
            {"base": Settings(max_new_tokens=3, ignore_eos=True)},
            PROMPTS,
            r"another sweep: max_new_tokens 100, not 3\. Name",
        ),
        ({}, PROMPTS[:5], "other prompts"),
    ],
)
def test_a_file_with_another_sweep_is_left_alone(tmp_path, changes, prompts, message):
    path = tmp_path / "sweep.json"
    Sweep(small_grid(), PROMPTS).save(path)
    before = path.read_text()
    with pytest.raises(InputError, match=message):
        resume_or_begin(path, small_grid(**changes), prompts)
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not JSON", "holds no sweep: "),
        ("[]", r"holds no sweep of version 1 \(found None\)"),
        ('{"sweep_version": 9}', r"\(found 9\); a newer file"),
        ('{"sweep_version": 1}', "are damaged"),
        ('{"sweep_version": 1, "grid": {"base": {}, "ranks": []}}', "x.json: ranks is empty"),
    ],
)
def test_a_file_that_is_no_sweep_is_named(tmp_path, content, message):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        Sweep.load(tmp_path / "x.json")
    assert "x.json" in str(caught.value)


@pytest.mark.parametrize("wrong", [{"ranks": 3}, {"ranks": [1]}, {"repeat": 2}, {"repeat": None}, {"repeat": [0]}])
def test_a_measurement_that_the_grid_does_not_hold_is_damage(tmp_path, wrong):
    path = tmp_path / "sweep.json"
    measure(Sweep(small_grid(), PROMPTS), path=path)
    data = json.loads(path.read_text())
    data["measurements"][5].update(wrong)
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"sweep\.json.* damaged: "):
        Sweep.load(path)


def test_a_measurement_that_is_there_twice_is_damage(tmp_path):
    path = tmp_path / "sweep.json"
    measure(Sweep(small_grid(), PROMPTS), path=path)
    data = json.loads(path.read_text())
    data["measurements"].append(data["measurements"][0])
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"damaged: measurement 8 \(.*, repeat 0\) is there twice"):
        Sweep.load(path)


def test_tables_have_a_row_a_measurement_and_a_row_a_point():
    sweep = Sweep(small_grid(), PROMPTS)
    measure(sweep)
    table, summary = sweep.table(), sweep.summary_table()
    assert list(table["ranks"]) == [m.point.ranks for m in sweep.measurements]
    assert {"repeat", "idle ranks", "wall s", "tokens/s", "computed tokens/s", "TTFT ms", "padding %"} <= {*table}
    assert len(summary) == 4
    assert all(summary["lowest tokens/s"] <= summary["tokens/s"])
    assert all(summary["tokens/s"] <= summary["highest tokens/s"])
    point = sweep.grid.points()[0]
    assert sweep.runs_at(point) == [m.run for m in sweep.measurements if m.point == point]


def test_the_remaining_time_comes_from_what_is_most_alike():
    sweep = Sweep(small_grid(), PROMPTS)
    assert remaining_s(sweep) is None
    measure(sweep)
    whole = sweep.measurements
    walls = {m.point: m.run.wall_s for m in whole}
    sweep.measurements = [m for m in whole if m.repeat == 0]
    assert remaining_s(sweep) == pytest.approx(sum(walls.values()))
    [fast] = [m for m in whole if m.repeat == 0 and m.point.ranks == 2 and m.point.settings.batch_size == 4]
    sweep.measurements = [fast]
    assert remaining_s(sweep) == pytest.approx(7 * fast.run.wall_s)
    assert remaining_s(sweep, overhead_s=0.5) == pytest.approx(7 * (fast.run.wall_s + 0.5))


def test_the_remaining_time_counts_what_runs_cost_beside_their_wall_time(monkeypatch):
    # Each look at the clock is 10 s after the last: every run costs 10 s, whatever its wall time.
    clock = itertools.count(0, 10)
    monkeypatch.setattr("nbkit.measure.sweep.runner.time", SimpleNamespace(monotonic=lambda: next(clock)))
    sweep = Sweep(small_grid(), PROMPTS)
    for step in SweepRunner(FakeWorkers(), sweep).steps():
        if step.kind == "measured" and step.done == 4:
            walls = sum(m.run.wall_s for m in sweep.measurements)
            assert step.remaining_s == pytest.approx(walls + 4 * (10 - walls / 4))


def test_a_sweep_in_a_cell_says_how_far_it_is(capsys):
    sweep = run_sweep(FakeWorkers({5: RankError(0, "boom", "")}), small_grid(), PROMPTS)
    said = capsys.readouterr().out
    assert "7 of 8 runs measured" in said
    assert "failed: " in said and "boom" in said
    assert len(sweep.failures) == 1


def test_an_interrupt_keeps_what_is_measured(capsys):
    sweep = run_sweep(FakeWorkers({2: KeyboardInterrupt()}), small_grid(), PROMPTS)
    assert len(sweep.measurements) == 2
    assert "stopped: 2 runs are measured, 6 are left." in capsys.readouterr().out


def test_a_terminal_shows_runs_done_and_lets_go_at_an_interrupt():
    said = io.StringIO()
    sweep, workers = Sweep(small_grid(), PROMPTS), FakeWorkers({3: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        watch_sweep(SweepRunner(workers, sweep), Console(file=said, width=120))
    assert "3 of 8 runs" in said.getvalue()
    assert len(sweep.measurements) == 3


def test_any_field_of_settings_is_an_axis_and_is_measured(tmp_path):
    path = tmp_path / "sweep.json"
    grid = small_grid(axes={"max_new_tokens": (3, 6), "stop": [["END"], []]}, repeats=1)
    sweep = resume_or_begin(path, grid, PROMPTS)
    workers = FakeWorkers()
    measure(sweep, workers, path)
    assert sweep.is_complete and len(sweep.runs) == 16
    asked = {(each.max_new_tokens, each.stop) for _, each, _ in workers.asked}
    assert asked == {(3, ("END",)), (3, ()), (6, ("END",)), (6, ())}
    again = Sweep.load(path)
    assert again == sweep
    assert resume_or_begin(path, grid, PROMPTS).left == []
    for found in (sweep, again):
        labels = {each.point.label for each in found.measurements}
        assert len(labels) == 16
        assert "1 rank, batched 4, auto, static, as given, 3 new tokens, stop at 'END'" in labels
    assert set(sweep.table()["max new tokens"]) == set(sweep.summary_table()["max new tokens"]) == {3, 6}


def test_the_named_axes_are_short_forms():
    choices = {
        "ranks": (1, 3),
        "batch_size": (2, 4),
        "engine": ("batched", "compiled"),
        "dtype": ("float32", "auto"),
        "split": ("static", "dynamic"),
        "order": ("by_length", "as_given"),
    }
    named = {
        "batch_sizes" if name == "batch_size" else name if name == "ranks" else f"{name}s": choices[name]
        for name in choices
    }
    assert Grid(axes=choices) == Grid(**named)
    assert Grid(**named).choices() == choices
    assert not Grid(axes=choices).axes


def test_an_axis_of_one_value_is_the_same_for_all(tmp_path):
    path = tmp_path / "sweep.json"
    Sweep(small_grid(base=Settings(max_new_tokens=7)), PROMPTS).save(path)
    alike = small_grid(axes={"max_new_tokens": (7,)}, base=Settings())
    assert alike.axes == {}
    assert resume_or_begin(path, alike, PROMPTS).left == alike.plan()
    quantized = Grid(axes={"quantization": ("int8",)}, engines=("compiled",), base=Settings(engine="simple"))
    assert {point.settings.quantization for point in quantized.points()} == {"int8"}


def test_where_a_field_has_no_effect_its_values_are_one_combination():
    axes = {"temperature": (0.0, 0.5), "top_k": (5, 10), "quantization": ("none", "int8")}
    grid = Grid(engines=("batched", "compiled"), axes=axes)
    points = [
        (point.settings.engine, point.settings.temperature, point.settings.top_k, point.settings.quantization)
        for point in grid.points()
    ]
    greedy = [point for point in points if point[1] == 0]
    assert greedy == [("batched", 0.0, 0, "none"), ("compiled", 0.0, 0, "none"), ("compiled", 0.0, 0, "int8")]
    assert len(points) == len(set(points)) == len(greedy) + 2 * len(greedy)


def test_a_grid_without_other_axes_is_written_as_it_always_was():
    assert "axes" not in small_grid().to_dict()
    old = {
        "ranks": [1, 2],
        "batch_sizes": [1, 4],
        "engines": ["batched"],
        "dtypes": ["auto"],
        "splits": ["static"],
        "orders": ["as_given"],
        "base": {"model": "smollm2-135m", "max_new_tokens": 100, "ignore_eos": True},
        "repeats": 2,
        "seed": 0,
    }
    assert Grid.from_dict(old) == small_grid()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"warp": (1, 2)}, "there is no axis 'warp'; the axes are ranks, model, engine"),
        ({"max_new_tokens": (5, 0)}, "max_new_tokens must be at least 1, not 0"),
        ({"max_new_tokens": 5}, r"max_new_tokens must be a list, for example max_new_tokens=\[5\]"),
        ({"top_p": ()}, "top_p is empty"),
        ({"top_k": (1, -1)}, "top_k must be at least 0, not -1"),
        ({"stop": ("END",)}, r"write stop=\['END'\]"),
        ({"batch_size": ("auto", 4)}, "batch_sizes must be whole numbers"),
        (("top_k", 3), "axes must map fields to their values"),
    ],
)
def test_an_axis_that_cannot_be_says_why(wrong, message):
    with pytest.raises(InputError, match=message):
        Grid(axes=wrong)


def test_an_axis_that_is_given_twice_is_refused():
    with pytest.raises(InputError, match="batch_size is given twice: in axes, and as batch_sizes"):
        Grid(batch_sizes=(1, 2), axes={"batch_size": (4, 8)})


def test_another_axis_is_another_sweep(tmp_path):
    path = tmp_path / "sweep.json"
    Sweep(small_grid(axes={"max_new_tokens": (3, 6)}), PROMPTS).save(path)
    with pytest.raises(InputError, match=r"another sweep: max_new_tokens \(3, 6\), not \(3, 9\)\. Name"):
        resume_or_begin(path, small_grid(axes={"max_new_tokens": (3, 9)}), PROMPTS)
    with pytest.raises(InputError, match=r"another sweep: max_new_tokens \(3, 6\), not 100\. Name"):
        resume_or_begin(path, small_grid(), PROMPTS)


def test_the_remaining_time_comes_from_what_is_alike_on_other_axes():
    grid = Grid(ranks=(1, 2), axes={"max_new_tokens": (2, 40)}, repeats=1)
    sweep = Sweep(grid, PROMPTS)
    measure(sweep)
    walls = {(m.point.ranks, m.point.settings.max_new_tokens): m.run.wall_s for m in sweep.measurements}
    sweep.measurements = [m for m in sweep.measurements if m.point.ranks == 1]
    assert remaining_s(sweep) == pytest.approx(walls[1, 2] + walls[1, 40])
