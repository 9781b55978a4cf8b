from __future__ import annotations

import json
from pathlib import Path

from nbkit.figures import contenders
from nbkit.figures.style import USEFUL_COLOUR

RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "compare.json"


def row(contender, tokens_per_second, share=None):
    return {
        "contender": contender,
        "where": "2 ranks",
        "useful tokens/s": tokens_per_second,
        "% of the roofline": share,
    }


def test_the_fastest_is_on_top_and_the_title_says_how_much_faster():
    machine = {"processor": "A processor", "cores": 2}
    table = [row("article", 100.0), row("kit", 250.0, 41.6)]
    figure = contenders({"machine": machine, "options": {"dtype": "bfloat16"}, "table": table})

    [bars] = figure.data
    assert list(bars.y) == ["kit (2 ranks)", "article (2 ranks)"]
    assert list(figure.layout.yaxis.categoryarray)[-1] == "kit (2 ranks)"
    assert list(bars.text) == ["250, 42% of the roofline", "100"]
    assert bars.marker.color == USEFUL_COLOUR
    assert figure.layout.title.text == "kit: 2.5 times article"
    assert figure.layout.xaxis.title.text == "useful tokens/s (A processor, 2 cores, bfloat16)"


def test_the_benchmarks_result_is_drawn():
    result = json.loads(RESULT.read_text())
    assert len(contenders(result).data[0].y) == len(result["table"])
