from __future__ import annotations

import dataclasses
import html
import json
import re
from pathlib import Path

import plotly
import pytest
from example_runs import run

from nbkit.errors import InputError
from nbkit.figures.html.report import (
    MOST_CHARACTERS,
    differences_table,
    html_table,
    output_differences,
    text_table,
    write_report,
)
from nbkit.records import OutOfMemory
from nbkit.records.run import Run

EVIL = "<script>alert('x')</script><b>bold</b>"


def with_outputs(*outputs: str | None, prompt: str = "prompt") -> Run:
    n = len(outputs)
    prompts = [f"{prompt} {i}" for i in range(n)]
    return dataclasses.replace(
        run(), prompts=prompts, outputs=list(outputs), new_tokens=[1] * n, finish_reasons=["stop"] * n
    )


def words_of(page: str) -> str:
    """A page's text, without tags."""
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def marked(page: str, tag: str) -> list[str]:
    """What stands in a page's <del> or <ins>, after the two words that explain the mark."""
    return [html.unescape(text) for text in re.findall(rf"<{tag} [^>]*>(.*?)</{tag}>", page, re.DOTALL)][1:]


def test_the_report_is_one_file_that_needs_no_network(tmp_path):
    path = write_report({"simple": run(engine="simple"), "batched": run()}, tmp_path / "report.html")
    page = path.read_text()

    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", page)
    assert page.count("plotly.js v") == 1
    assert page.count('class="plotly-graph-div"') == 5


def test_model_text_is_shown_as_text(tmp_path):
    made = dataclasses.replace(run(), prompts=[EVIL] * 10, outputs=[EVIL] * 10)
    page = write_report({EVIL: made}, tmp_path / "report.html", title=EVIL).read_text()
    assert EVIL not in page.replace("\\u003c", "<") or "<b>bold</b>" not in re.sub(r"<script.*?</script>", "", page)
    assert "&lt;b&gt;bold&lt;/b&gt;" in page


def test_tables_escape_heads_and_cells():
    table = html_table([{"<i>": "<b>", "number": 3}])
    assert "&lt;i&gt;" in table
    assert "&lt;b&gt;" in table
    assert html_table([]) == ""


def test_texts_are_read_from_the_side_where_they_begin_and_numbers_stand_on_the_right():
    table = html_table([{"text": "שלום", "number": 3}])
    assert re.search(r'<td dir="auto" style="text-align:start;[^>]*>שלום</td>', table)
    assert re.search(r'<td style="text-align:right;[^>]*>3</td>', table)


@pytest.mark.parametrize(
    ("length", "shown"),
    [
        (MOST_CHARACTERS, "x" * MOST_CHARACTERS),
        (10_000, "x" * MOST_CHARACTERS + "... (9,000 more characters)"),
    ],
)
def test_very_long_texts_are_cut(length, shown):
    assert words_of(text_table(with_outputs("x" * length), most=1)) == "promptoutputprompt 0" + shown


def test_the_settings_that_differ_stand_in_a_table():
    # A Run may have any name, the head's own too.
    table = differences_table({"setting": run(batch_size=3), "<b>": run(engine="simple", dtype="auto")})
    assert re.findall(r"<th [^>]*>(.*?)</th>", table) == ["setting", "setting", "&lt;b&gt;"]
    cells = re.findall(r"<td [^>]*>(.*?)</td>", table)
    assert cells == ["engine", "batched", "simple", "batch_size", "3", "1"]


def test_that_no_settings_differ_is_said():
    assert words_of(differences_table({"one": run(), "two": run()})) == "No settings differ."


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        (["a", "b"], ["a", "b"], "2 of 2 outputs are the same."),
        (["a", "b", "c"], ["a", "x", "c"], "2 of 3 outputs are the same; 1 differs."),
        (["a", "b", "c"], ["a", "x", "y"], "1 of 3 outputs are the same; 2 differ."),
        (["a", None], ["a", "b"], "1 of 2 outputs are the same; 1 cannot be compared"),
    ],
)
def test_how_many_outputs_differ_is_said_first(first, second, sentence):
    told = output_differences("one", with_outputs(*first), "two", with_outputs(*second))
    assert words_of(told).startswith(sentence)


def test_what_differs_is_marked_without_colours_too():
    told = output_differences("one", with_outputs("so it goes on"), "two", with_outputs("so it ends"))
    assert marked(told, "del") == [" goes on"]
    assert marked(told, "ins") == [" ends"]
    assert "Struck through: only in one. Underlined: only in two." in words_of(told)
    assert all("line-through" in style for style in re.findall(r'<del style="([^"]*)"', told))
    assert all("underline" in style for style in re.findall(r'<ins style="([^"]*)"', told))


def test_differences_are_shown_as_text():
    first, second = with_outputs(f"x {EVIL} y", prompt=EVIL), with_outputs("x y", prompt=EVIL)
    told = output_differences(EVIL, first, EVIL, second)
    assert "<b>" not in told
    assert "<script" not in told
    assert marked(told, "del") == [f" {EVIL}"]


def test_only_the_first_differences_are_shown():
    told = output_differences("one", with_outputs(*"abc"), "two", with_outputs(*"xyz"), most=2)
    assert marked(told, "del") == ["a", "b"]
    assert "3 differ.The first 2 that differ." in words_of(told)


def test_a_difference_late_in_a_long_text_is_seen():
    beginning = "word " * 2000
    told = output_differences(
        "one", with_outputs(f"{beginning}here"), "two", with_outputs(f"{beginning}there" + " and on" * 900)
    )
    assert marked(told, "del") == [" here"]
    assert marked(told, "ins")[0].startswith(" there and on")
    assert "more characters) ..." in words_of(told)
    assert len(words_of(told)) < 2 * MOST_CHARACTERS


def test_of_many_differences_in_a_text_the_first_are_shown():
    first, second = (" ".join(f"w{i} {side}{i}" for i in range(400)) for side in "uv")
    told = output_differences("one", with_outputs(first), "two", with_outputs(second))
    assert marked(told, "del")[:2] == [" u0", " u1"]
    assert re.search(r"\.\.\. \([\d,]+ more characters\)</td>", told)
    assert len(words_of(told)) < 3 * MOST_CHARACTERS


def test_a_report_compares_the_first_two_runs_on_the_same_prompts(tmp_path):
    runs = {"others": run(prompts=3), "simple": run(engine="simple"), "batched": run(), "third": run()}
    page = write_report(runs, tmp_path / "report.html").read_text()
    assert "<title>nbkit</title>" in page
    assert "<h2>Settings that differ</h2>" in page
    assert page.count("<h2>Outputs of") == 1
    assert "<h2>Outputs of simple and batched</h2>" in page
    assert "10 of 10 outputs are the same." in page


def test_a_report_of_one_run_compares_nothing(tmp_path):
    page = write_report({"one": run()}, tmp_path / "report.html").read_text()
    assert "Settings that differ" not in page
    assert "<h2>Outputs of" not in page


def test_a_report_of_runs_on_other_prompts_compares_their_settings_only(tmp_path):
    page = write_report({"one": run(prompts=2), "two": run(prompts=3)}, tmp_path / "report.html").read_text()
    assert "<h2>Settings that differ</h2>" in page
    assert "<h2>Outputs of" not in page


def test_the_page_is_dark_where_people_like_it_dark(tmp_path):
    page = write_report({"one": run()}, tmp_path / "report.html").read_text()
    assert "@media (prefers-color-scheme: dark)" in page
    assert "color-scheme: light dark" in page


def test_a_report_says_what_did_not_fit_into_memory(tmp_path):
    made = dataclasses.replace(run(), out_of_memory=[OutOfMemory(0, 2.0, 16, 8)])
    page = write_report({"one": made}, tmp_path / "report.html").read_text()
    assert "<p>1 batch did not fit into memory: begun anew 8 at a time.</p>" in page


def test_no_figure_of_a_page_has_a_toolbar(tmp_path):
    page = write_report({"one": run(), "two": run()}, tmp_path / "report.html").read_text()
    figures_drawn = page.count('class="plotly-graph-div"')
    assert len(re.findall(r'\{"displayModeBar":\s*false', page)) == figures_drawn > 0


def test_a_report_says_what_waiting_cost_and_of_what_padding_is_a_share(tmp_path):
    made = run()
    waited = dataclasses.replace(
        made, ranks=[dataclasses.replace(rank, waiting_s=2.5 * rank.rank) for rank in made.ranks]
    )
    page = words_of(write_report({"one": waited}, tmp_path / "report.html").read_text())
    assert "rank 1 waited 31%: 2.5 s." in page
    assert "padding % of prompt positions" in page


def test_a_report_needs_a_run(tmp_path):
    with pytest.raises(InputError, match="no Runs to report; give at least one"):
        write_report({}, tmp_path / "report.html")


def test_a_report_plays_its_runs_back_and_two_of_them_race(tmp_path):
    one = write_report({"one": run()}, tmp_path / "one.html").read_text()
    assert one.count('class="nbkit-playback"') == one.count("createBatchPlayer(root)") == 1
    several = {"one": run(), EVIL: run(batch_size=1), "three": run()}
    page = write_report(several, tmp_path / "all.html").read_text()
    assert page.count('class="nbkit-playback"') == 4 and page.count("createBatchPlayer(root)") == 1
    data = [json.loads(each) for each in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    assert [len(grids) for grids in data] == [2, 1, 1, 1]
    assert [grid["name"] for grid in data[0]] == ["one", "three"]


def test_a_page_of_a_large_run_stays_small_beside_plotly(tmp_path):
    page = write_report({"one": run(prompts=4000, world_size=8, batch_size=64)}, tmp_path / "one.html")
    library = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    assert page.stat().st_size - library.stat().st_size < 1_000_000


def test_a_run_of_which_no_times_are_known_is_reported_without_a_playback(tmp_path):
    made = dataclasses.replace(run(), batches=[], ranks=[])
    assert 'class="nbkit-playback"' not in write_report({"one": made}, tmp_path / "report.html").read_text()
