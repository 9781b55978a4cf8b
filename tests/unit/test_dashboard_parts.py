"""The parts of dashboards that need no browser and no workers."""

from __future__ import annotations

import dataclasses
import json
import re

import ipywidgets
import pytest
from example_runs import run
from hypothesis import given
from hypothesis import strategies as st
from shown_widgets import choose, control, figure, figure_titles, pictured, press, unfold, words

from nbkit import figures
from nbkit.app.dashboards.explore.controls import Controls
from nbkit.app.dashboards.explore.curve_panel import CurvePanel
from nbkit.app.dashboards.explore.live_view import LiveView
from nbkit.app.dashboards.explore.prompts_panel import PromptsPanel
from nbkit.app.dashboards.explore.run_files import RunFiles
from nbkit.app.dashboards.explore.run_history import RunHistory
from nbkit.app.dashboards.explore.run_list import MOST_CHOSEN, MOST_UNPINNED, RunList
from nbkit.app.dashboards.parts.fold import Fold
from nbkit.app.dashboards.parts.live_figure import LiveFigure
from nbkit.app.dashboards.parts.panel import Panel, in_words
from nbkit.app.dashboards.parts.setting_control import stop_strings, stop_text
from nbkit.app.dashboards.parts.widget_tree import close_tree
from nbkit.app.dashboards.parts.workers_control import slider
from nbkit.errors import InputError
from nbkit.files import machine
from nbkit.inference.generation import Progress, ShareBegun
from nbkit.inference.progress import RunProgress
from nbkit.prompts import first_lines
from nbkit.records import OutOfMemory, OutputTimes
from nbkit.records.engine_spec import ENGINES
from nbkit.records.request import Conversation
from nbkit.records.settings import FIELDS, Settings
from nbkit.records.throughput import Throughput


def open_widgets() -> set[str]:
    return set(ipywidgets.widgets.widget._instances)


def test_closing_a_tree_leaves_no_widget_open():
    before = open_widgets()
    inner = ipywidgets.HBox([ipywidgets.Text(layout={"width": "3px"}), ipywidgets.IntSlider()])
    tree = ipywidgets.VBox([inner, ipywidgets.Accordion([ipywidgets.HTML()]), Panel(ipywidgets.Button())])
    assert len(open_widgets()) > len(before) + 10
    close_tree(tree)
    assert open_widgets() == before


def test_a_figure_keeps_what_it_shows_in_its_state():
    figure = LiveFigure(figures.throughput_over_time(Throughput(), [0], "running"))
    figure.show([{"x": [1.0], "y": [5.0]}], title="5 tokens/s")

    state = figure.get_state()
    assert state["title"] == "5 tokens/s"
    assert state["arrays"] == [{"x": [1.0], "y": [5.0]}]
    assert [trace["name"] for trace in figure.shown] == ["all ranks", "rank 0"]
    assert figure.shown[0]["x"] == [1.0]
    without_script = {key: value for key, value in state.items() if key not in ("_esm", "_css")}
    assert len(json.dumps(without_script, default=str)) < 20_000
    assert len(state["_esm"]) < 10_000, "plotly.js is no part of each figure"


def test_figures_share_one_copy_of_plotly_even_after_all_widgets_were_closed():
    first, second = LiveFigure(figures.comparison({})), LiveFigure(figures.comparison({}))
    assert first.library is second.library
    first.library.close()
    assert LiveFigure(figures.comparison({})).library is not first.library


def test_a_panel_shows_its_error_until_it_can_be_drawn_again():
    panel = Panel(ipywidgets.HTML())
    panel.draw(lambda: 1 / 0)
    assert "ZeroDivisionError: division by zero (test_dashboard_parts.py" in words(panel)
    panel.draw(lambda: None)
    assert "ZeroDivisionError" not in words(panel)


def test_the_kits_own_errors_are_shown_in_their_own_words():
    assert in_words(InputError("batch_size must be at least 1, not 0.")) == "batch_size must be at least 1, not 0."


def controls_of(settings: Settings, on_change=lambda: None) -> Controls:
    return Controls(settings, slider("workers", 2, 8), on_change)


UNUSUAL = {
    "model": "m/n",
    "engine": "simple",
    "batch_size": 3,
    "token_budget": 9000,
    "max_new_tokens": 7,
    "dtype": "bfloat16",
    "split": "static",
    "order": "as_given",
    "temperature": 0.73,
    "top_p": 0.01,
    "top_k": 40,
    "seed": 12,
    "stop": ("\n\n", " a | b", "back\\slash \\n", "مرحبا 🙂"),
    "special_tokens": "none",
    "pad_to_multiple_of": 2,
    "ignore_eos": True,
    "tokenize_first": True,
    "warm_up": False,
}


def test_every_field_of_settings_is_a_control():
    asked = Settings(**UNUSUAL)
    assert {f.name for f in dataclasses.fields(Settings) if getattr(asked, f.name) == f.default} == {"quantization"}
    assert controls_of(asked).settings() == asked
    assert controls_of(Settings(quantization="int4")).settings() == Settings(quantization="int4")
    assert controls_of(Settings()).settings() == Settings()


def test_controls_can_be_asked_to_show_other_settings():
    controls = controls_of(Settings())
    for asked in (Settings(**UNUSUAL), Settings(max_new_tokens=100_000, batch_size=5000), Settings()):
        controls.show(asked)
        assert controls.settings() == asked


def off(controls: Controls) -> dict[str, str]:
    """What each control that is off says."""
    return {field.control.description: field.says for field in controls.fields if field.control.disabled}


def test_every_control_says_what_it_is():
    assert all(field.says for field in controls_of(Settings()).fields)


def test_controls_are_made_from_what_there_is_to_know_of_the_fields():
    controls = controls_of(Settings())
    assert [field.control.description for field in controls.fields] == [
        *("engine", "batch size", "new tokens", "model"),
        *("dtype", "split", "order", "temperature", "top-p", "top-k", "seed", "quantization", "token budget"),
        *("special tokens", "pad to", "ignore end", "tokenise first", "warm up", "stop"),
    ]
    for name, info in FIELDS.items():
        assert controls.control(name).widget.description == info.label
        if name != "engine":
            assert controls.control(name).line.startswith(info.help)
    assert controls.control("max_new_tokens").widget.max == FIELDS["max_new_tokens"].values.slider_to
    assert controls.control("dtype").widget.options == FIELDS["dtype"].values.names
    assert controls.control("token_budget").line == "Tokens side by side on a worker; 0: no limit."


def test_controls_that_do_not_apply_are_off_and_say_why():
    controls = controls_of(Settings(temperature=0.5, batch_size=4))
    assert set(off(controls)) == {"pad to"}
    controls.control("engine").widget.value = "simple"
    assert set(off(controls)) == {"batch size", "pad to", "token budget", "quantization"}
    assert all("simple" in said for said in off(controls).values())
    assert controls.control("batch_size").word_box.disabled
    controls.control("engine").widget.value = "batched"
    assert set(off(controls)) == {"quantization"}
    assert not controls.control("batch_size").word_box.disabled
    controls.control("temperature").widget.value = 0.0
    assert set(off(controls)) == {"quantization", "top-p", "top-k", "seed"}
    assert all("temperature 0" in off(controls)[name] for name in ("top-p", "top-k", "seed"))


def test_auto_switches_the_batch_size_off_and_gives_it_back():
    changes = []
    controls = controls_of(Settings(), lambda: changes.append(controls.settings().batch_size))
    assert "auto" in off(controls)["batch size"]
    controls.control("batch_size").word_box.value = False
    assert "batch size" not in off(controls)
    controls.control("batch_size").widget.value = 5
    controls.control("batch_size").word_box.value = True
    assert changes == [16, 5, "auto"]


def test_an_engine_without_quantization_gets_none_and_the_choice_stays():
    controls = controls_of(Settings(quantization="int8"))
    controls.control("engine").widget.value = "batched"
    assert controls.settings().quantization == "none"
    controls.control("engine").widget.value = "compiled"
    assert controls.settings().quantization == "int8"


def test_engines_that_are_not_installed_are_offered_and_say_how_to_get_them(monkeypatch):
    monkeypatch.setattr(machine, "package_version", lambda name: "1.0" if name == "openvino-genai" else None)
    controls = controls_of(Settings())
    assert [name for _, name in controls.control("engine").widget.options] == list(ENGINES)
    assert [label for label, _ in controls.control("engine").widget.options][-2:] == [
        "vllm (not installed)",
        "openvino",
    ]
    controls.control("engine").widget.value = "vllm"
    assert "pip install vllm" in controls.fields[0].says
    controls.control("engine").widget.value = "openvino"
    assert "install" not in controls.fields[0].says


def test_the_fold_is_closed_and_its_title_names_what_is_not_as_usual():
    fold = controls_of(Settings()).more.fold
    assert (fold.is_open, fold.title) == (False, "More")
    controls = controls_of(Settings(stop=("a",)))
    controls.control("temperature").widget.value = 0.7
    assert words(controls.more) == "More: temperature, stop"


def test_a_fold_is_a_button_that_hides_its_content_and_shows_it_again():
    fold = Fold([ipywidgets.Label("inside")], "title", "What it is")
    [button] = pictured(fold, "caret-right")
    assert (words(fold), button.tooltip) == ("title", "title. What it is")
    button.value = True
    assert "inside" in words(fold) and fold.is_open
    assert pictured(fold, "caret-down") == [button]
    fold.is_open = False
    assert "inside" not in words(fold)


def test_stop_strings_are_typed_one_a_line():
    assert stop_strings("Q:\n\n the end \\n\n") == ("Q:", " the end \n")
    assert stop_strings("") == ()


@given(st.lists(st.text(min_size=1)))
def test_any_stop_strings_can_be_shown_and_read(texts):
    assert stop_strings(stop_text(texts)) == tuple(texts)


def test_each_change_of_a_control_is_told():
    changes = []
    controls = controls_of(Settings(batch_size=4), lambda: changes.append(controls.settings()))
    controls.control("batch_size").widget.value = 5
    controls.control("dtype").widget.value = "float32"
    controls.control("seed").widget.value = 3
    assert [(s.batch_size, s.dtype, s.seed) for s in changes] == [
        (5, "auto", 0),
        (5, "float32", 0),
        (5, "float32", 3),
    ]


def test_a_panel_that_fails_leaves_the_other_panels_alive(monkeypatch):
    view = LiveView()
    view.begin(range(2), Settings())
    monkeypatch.setattr(figures, "latency_points", lambda *_: 1 / 0)
    view.finish(run())
    assert "ZeroDivisionError" in words(view)
    assert "output 3" in words(view)
    assert any(bars["x"] for bars in figure(view, "Batches of each rank").shown)


def test_latencies_are_shown_of_a_finished_run_that_knows_them():
    view = LiveView()
    view.begin(range(2), Settings())
    drawn = view._distribution
    panel = view._panels[drawn]
    assert panel.layout.display == "none"
    view.finish(run())
    assert panel.layout.display == "none" and "p50" not in words(view)
    times = [OutputTimes.of(1.0, [1.5, 1.52, 1.54])] * 10
    view.finish(dataclasses.replace(run(), times=times))
    assert panel.layout.display is None
    assert drawn.title == "p99: TTFT 500 ms, ITL 20 ms, end-to-end 540 ms"
    assert "500 / 500 / 500 ms" in words(view) and "ITL p50 / p90 / p99" in words(view)
    view.begin(range(2), Settings())
    assert panel.layout.display == "none"


def test_a_finished_run_counts_each_ranks_prompts():
    view = LiveView()
    view.begin(range(2), Settings())
    view.finish(run(prompts=10, batch_size=3))
    assert re.findall(r"\d+ of \d+ prompts", words(view))[-2:] == ["6 of 6 prompts", "4 of 4 prompts"]


def test_a_run_on_some_ranks_is_shown_under_their_numbers():
    view = LiveView()
    view.begin((2, 3), Settings())
    made = run(prompts=10, batch_size=3)
    batches = [dataclasses.replace(batch, rank=batch.rank + 2) for batch in made.batches]
    view.finish(dataclasses.replace(made, batches=batches, ranks=[]))
    assert re.findall(r"rank \d", words(view))[:2] == ["rank 2", "rank 3"]
    assert "6 of 6 prompts" in words(view)
    assert sum(len(trace["x"]) for trace in figure(view, "Latency of each batch").arrays) == 2 * len(batches)


def test_a_run_is_shown_again_from_its_records_alone():
    view = LiveView()
    first, second = run(prompts=10, batch_size=3), run(prompts=4, world_size=1)
    view.begin(range(1), second.settings)
    view.finish(second)
    view.show_again(first)
    assert "6 of 6 prompts" in words(view) and "output 9" in words(view)
    lines = figure(view, "tokens/s overall").shown
    assert [line["name"] for line in lines] == ["all ranks", "rank 0", "rank 1"]
    assert all(line["x"] for line in lines)


def dots(panel: CurvePanel) -> list[list[float]]:
    """Batch sizes of the dots, a list a kind of run."""
    return [trace["x"] for trace in figure(panel, "atch size").shown if trace.get("customdata")]


def test_the_curve_has_a_dot_a_run_and_a_sentence_before_there_is_any():
    panel = CurvePanel(lambda run: None)
    assert "Every run becomes a dot here" in words(panel)
    assert figure_titles(panel) == []
    three, five, other = run(batch_size=3), run(batch_size=5), run(batch_size=5, world_size=1)
    panel.show([three, five, other], other)
    assert "Every run becomes" not in words(panel)
    assert dots(panel) == [[3, 5], [5]]
    panel.show([three, other], other)
    assert dots(panel) == [[3], [5]]
    panel.show([], None)
    assert figure_titles(panel) == []


def test_the_run_under_way_is_a_dot_that_moves_and_goes():
    panel = CurvePanel(lambda run: None)
    progress = RunProgress(Settings(batch_size=200), 20)
    panel.begin(progress.settings)
    panel.show_running(progress)
    assert figure_titles(panel) == [], "nothing is computed yet"
    progress.take(0, ShareBegun(20, 0.0, 1.0, 200))
    for tokens, at_s in ((200, 2.0), (800, 3.0)):
        progress.take(0, Progress(at_s, tokens))
        panel.show_running(progress)
        *_, running = figure(panel, "Tokens/s by batch size").shown
        assert (running["x"], running["y"]) == ([200], [tokens / (at_s - 1.0)])
    panel.end()
    assert figure_titles(panel) == []


def test_a_click_on_a_dot_shows_that_run_and_nothing_else_does():
    clicked = []
    panel = CurvePanel(clicked.append)
    runs = [run(batch_size=3), run(batch_size=5), run(batch_size=5, world_size=1)]
    panel.show(runs, None)
    drawn = figure(panel, "atch size")
    for place in (1, 2, 99, "0", None):
        drawn._handle_custom_msg({"clicked": place}, [])
    drawn._handle_custom_msg({}, [])
    assert [*map(id, clicked)] == [id(runs[1]), id(runs[2])]
    choose(panel, "ITL")
    figure(panel, "ITL")._handle_custom_msg({"clicked": 0}, [])
    assert clicked[-1] is runs[0]


def test_a_row_of_the_list_shows_its_run_and_a_deleted_run_is_told():
    shown, changes = [], []
    history = RunHistory(lambda: changes.append(len(history.runs)), shown.append)
    first = run()
    history.add(first)
    history.add(run())
    pictured(history, "eye")[-1].click()
    assert shown == [first]
    assert history.name_of(first) == "1: batched 3, 2w"
    delete_oldest(history)
    assert changes == [1, 2, 1]
    assert history.name_of(first) == ""


def test_text_of_models_is_shown_as_text():
    view = LiveView()
    view.begin(range(2), Settings())
    made = run(prompts=2)
    made.outputs[0] = "<script>alert(1)</script> مرحبا 🙂"
    view.finish(made)
    assert "<script>alert(1)</script> مرحبا 🙂" in words(view)


def test_a_list_of_runs_keeps_the_newest_and_what_is_pinned():
    before = open_widgets()
    listed = RunList(lambda: None)
    listed.add(run(), "first")
    pin(listed)
    for _ in range(MOST_UNPINNED):
        listed.add(run())
    full = len(open_widgets())
    for _ in range(5):
        listed.add(run())
    assert len(listed.runs) == 1 + MOST_UNPINNED
    assert "first" in listed.chosen
    assert len(open_widgets()) == full
    close_tree(listed.widget)
    assert open_widgets() == before


def test_the_newest_runs_are_chosen_and_the_pinned_stay_chosen():
    listed = RunList(lambda: None)
    listed.add(run(), "pinned")
    pin(listed)
    for name in "abcdef":
        listed.add(run(), name)
    assert list(listed.chosen) == ["pinned", *"cdef"]
    assert len(listed.chosen) == 1 + MOST_CHOSEN


def test_a_row_says_what_did_not_fit_into_memory():
    listed = RunList(lambda: None)
    listed.add(dataclasses.replace(run(), out_of_memory=[OutOfMemory(0, 2.0, 16, 8)]))
    assert "; 1 batch did not fit into memory: begun anew 8 at a time" in words(listed)


def test_runs_of_the_same_name_are_told_apart():
    listed = RunList(lambda: None)
    for _ in range(3):
        listed.add(run(), "same")
    assert list(listed.chosen) == ["same", "same (2)", "same (3)"]


def delete_oldest(history: RunHistory) -> None:
    """Press the oldest run's delete, which has a picture for a label."""
    pictured(history, "trash")[-1].click()


def pin(listed: RunList) -> None:
    """Pin the oldest run."""
    pictured(listed, "thumb-tack")[-1].value = True


def test_a_deleted_run_is_gone_from_list_and_comparison():
    history = RunHistory()
    for _ in range(2):
        history.add(run())
    delete_oldest(history)
    assert len(history.runs) == 1
    assert "batched 3, 2w" in words(history)
    delete_oldest(history)
    assert history.runs == []
    assert "batched 3, 2w" not in words(history)


def test_two_runs_are_compared():
    history = RunHistory()
    history.add(run(batch_size=3))
    other = run(batch_size=5)
    other.outputs[1] = "something else"
    history.add(other)
    assert "batch_size" in words(history)
    assert "9 of 10 outputs are the same; 1 differs." in words(history)
    assert [trace["name"] for trace in figure(history, "Throughput over time").shown] == [
        "1: batched 3, 2w",
        "2: batched 5, 2w",
    ]


def test_runs_are_saved_exported_and_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = {}
    files = RunFiles(lambda: {"mine": run()}, lambda name, run: loaded.update({name: run}))
    for name in ("JSON", "CSV", "HTML"):
        press(files, name)
    names = {path.name for path in (tmp_path / "results").iterdir()}
    assert names == {"runs.json", "runs-runs.csv", "runs-outputs.csv", "runs.html"}
    assert "Saved results/runs.html (download)" in words(files)

    press(files, "Load")
    assert loaded["mine"].outputs == run().outputs
    assert "Loaded 1 run: mine." in words(files)


def test_a_file_that_cannot_be_loaded_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = RunFiles(dict, lambda name, run: None)
    for name, problem in (("Load", "No such file"), ("JSON", "no Runs"), ("CSV", "no Runs"), ("HTML", "no runs")):
        press(files, name)
        assert problem in words(files)


def test_the_prompts_panel_leaves_no_widget_of_a_hidden_source_open():
    LiveFigure(figures.comparison({}))  # the library that all figures share stays
    before = open_widgets()
    panel = PromptsPanel(None, "tiny-random", lambda: None)
    unfold(panel)
    for source in ("pasted text", "a file", "synthetic"):
        choose(panel, source)
    panel.close()
    close_tree(panel.widget)
    assert open_widgets() == before


def test_prompts_come_from_the_chosen_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").write_text("id,prompt\n1,one\n2,two\n")
    changes = []
    panel = PromptsPanel(["a", "b"], "tiny-random", lambda: changes.append(panel.prompts()))
    unfold(panel)
    assert panel.prompts() == ["a", "b"]
    choose(panel, "first lines")
    assert changes[-1] == first_lines(20)
    choose(panel, "synthetic")
    assert len(changes[-1]) == 100
    with pytest.raises(InputError, match="no prompts were read yet"):
        choose(panel, "a file")
    control(panel, "file").value = "nowhere.csv"
    press(panel, "Read")
    assert "there is no file" in words(panel)
    control(panel, "file").value = "mine.csv"
    press(panel, "Read")
    assert changes[-1] == ["one", "two"]
    assert "2 prompts read from mine.csv: the column 'prompt'." in words(panel)
    control(panel, "column").value = "id"
    assert changes[-1] == ["1", "2"]
    panel.close()


def test_the_prompts_panel_guesses_no_column_and_forgets_what_another_file_held(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.txt").write_text("one\n")
    (tmp_path / "several.csv").write_text("source;question;answer\nweb;What?;That\n")
    (tmp_path / "chats.jsonl").write_text('{"id": "a", "messages": [{"role": "user", "content": "Hi"}]}\n')
    panel = PromptsPanel(None, "tiny-random", lambda: None)
    unfold(panel)
    choose(panel, "a file")
    read_file(panel, "plain.txt")
    assert panel.prompts() == ["one"]
    assert control(panel, "column").label == "-"

    read_file(panel, "several.csv")
    assert control(panel, "column").label == "the plain one"
    assert "choose the column with the prompts" in words(panel)
    with pytest.raises(InputError, match="no prompts were read yet"):
        panel.prompts()
    control(panel, "column").value = "question"
    assert panel.prompts() == ["What?"]
    assert "semicolons separate the columns" in words(panel)

    read_file(panel, "chats.jsonl")
    assert panel.prompts() == [Conversation.of([{"role": "user", "content": "Hi"}])]
    assert "the messages under" in words(panel)
    panel.close()


def read_file(panel: PromptsPanel, name: str) -> None:
    control(panel, "file").value = name
    press(panel, "Read")
