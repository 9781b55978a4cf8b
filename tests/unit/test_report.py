from __future__ import annotations

import dataclasses
import re

from example_runs import run

from nbkit.report import html_table, write_report

EVIL = "<script>alert('x')</script><b>bold</b>"


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
