"""Measured: the figures of the documentation, read from ``benchmarks/results``, so that no page can drift from them.

``figures`` gives the short ones that pages name between double braces; ``write_result_pages`` makes a page of each
result file: its question, command, machine and tables.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
FRAME = ("question", "command", "date", "machine", "load_average_1_min_at_start", "options")
MOST_ROWS = 40


def figures() -> dict[str, str]:
    """Every figure that a page may name, as text; units stand in the page."""
    compare, float32 = _read("compare"), _read("compare_float32")
    start, bulk, memory = _read("start_up"), _read("bulk"), _read("memory")
    errors = [row["error %"] for row in _read("what_if")["held_out"]]
    kills, large, wall = bulk["kills"], bulk["memory"]["large"], bulk["wall"]
    return {
        "batched_tokens": _of_demo("demos_batched", "batched", "kit"),
        "batched_tokens_article": _of_demo("demos_batched", "batched", "article"),
        "simple_tokens": _of_demo("demos_simple", "simple", "kit"),
        "simple_tokens_article": _of_demo("demos_simple", "simple", "article"),
        **_of_peers("bfloat16", compare),
        **_of_peers("float32", float32),
        "schedule_short": f"{_times('schedules', 'dynamic, by length'):.2f}",
        "schedule_long": f"{_times('schedules_long_prompts', 'dynamic, by length'):.2f}",
        "default_short": f"{_times('schedules', 'the default'):.2f}",
        "default_long": f"{_times('schedules_long_prompts', 'the default'):.2f}",
        "round_trip_ms": f"{start['round_trip']['median_ms']:.2f}",
        "first_batch_ms": f"{1000 * start['first_batch']['live_median_s']:.1f}",
        "first_batch_fresh_s": f"{start['first_batch']['fresh_from_process_start_median_s']:.1f}",
        "ready_2": f"{_ready(start, '2 workers'):.2f}",
        "ready_4": f"{_ready(start, '4 workers'):.2f}",
        "import_s": f"{start['ready']['medians_s']['plain import']:.1f}",
        "slider_ms": f"{_read('dashboard_latency')['beyond_the_compute_ms']['median']:.0f}",
        "watched": f"{_read('dashboard_cost')['watched_to_plain']['median_of_pairwise_ratios']:.2f}",
        "what_if_lowest": f"{-min(errors):.1f}",
        "what_if_highest": f"{max(errors):.1f}",
        "bulk_outputs": f"{kills['outputs']:,}",
        "bulk_disturbances": str(len(kills["moments"])),
        "bulk_wall": f"{wall['wall']['median_of_pairwise_ratios']:.2f}",
        "bulk_processor": f"{wall['processor']['median_of_pairwise_ratios']:.2f}",
        **{f"bulk_memory_{look}": f"{seen['all, written']:.0f}" for look, seen in bulk["memory"]["many"].items()},
        "bulk_first_prompts": f"{bulk['memory']['many']['first']['prompts_done']:,}",
        "bulk_file_prompt_s": f"{large['first_prompt_s']:.2f}",
        "bulk_file_output_s": f"{large['first_output_s']:.1f}",
        "bulk_file_owner_MB": f"{large['owner_most_uss_MB']:.0f}",
        **_of_steps(_read("decode_step_h100")),
        **_of_lessons(start, float32),
        **_of_workshop(_read("workshop")),
        "ranks_memory": f"{_memory(memory, '2') / _memory(memory, '1'):.2f}",
        "ranks_memory_1": f"{_memory(memory, '1'):,.0f}",
        "ranks_memory_2": f"{_memory(memory, '2'):,.0f}",
    }


def write_result_pages(folder: Path) -> None:
    """A page for each result file, and ``index.md`` that lists them."""
    names = sorted(path.stem for path in RESULTS.glob("*.json"))
    for name in names:
        (folder / f"{name}.md").write_text(_page(name, _read(name)))
    listed = "\n".join(names)
    (folder / "index.md").write_text(
        "# Every measurement\n\nA page for each file in `benchmarks/results/`, made when these pages are built.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
    )


def _page(name: str, result: Mapping[str, Any]) -> str:
    machine = result.get("machine") or {}
    facts = {
        "Command": f"`{result['command']}`" if "command" in result else None,
        "Measured": result.get("date"),
        "Processor": machine.get("processor"),
        "Cores": machine.get("cores") or machine.get("usable_cores"),
        "GPU": machine.get("gpu"),
        "Load average at the start": result.get("load_average_1_min_at_start"),
    }
    lines = [f"# {name}", "", str(result.get("question", "")), "", "| | |", "|---|---|"]
    lines += [f"| {what} | {_cell(value)} |" for what, value in facts.items() if value is not None]
    for path, rows in _tables(result):
        lines += ["", f"## {path}", "", *_markdown(rows)]
    return "\n".join([*lines, "", f"All of it: `benchmarks/results/{name}.json`.", ""])


def _tables(value: object, path: str = "") -> list[tuple[str, Sequence[Mapping[str, Any]]]]:
    """What of a result can be a table: dicts of plain values, or lists of them, under the path of their keys."""
    if isinstance(value, Mapping):
        plain = {key: held for key, held in value.items() if _is_plain(held) and (path or key not in FRAME)}
        found = [(path or "figures", [plain])] if plain else []
        for key, held in value.items():
            if key not in FRAME or path:
                found += _tables(held, f"{path}, {key}" if path else str(key))
        return found
    if isinstance(value, list) and value and all(_is_row(row) for row in value):
        return [(path, value)]
    return []


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, str | int | float)


def _is_row(value: object) -> bool:
    return isinstance(value, Mapping) and all(_is_plain(held) for held in value.values())


def _markdown(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if len(rows) == 1:
        return ["| | |", "|---|---|", *(f"| {_cell(key)} | {_cell(value)} |" for key, value in rows[0].items())]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(map(_cell, columns)) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(key)) for key in columns) + " |" for row in rows[:MOST_ROWS]]
    left = len(rows) - MOST_ROWS
    return [*lines, *(["", f"{left} more rows are in the file."] if left > 0 else [])]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value).replace("|", "\\|")


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def _of_demo(name: str, engine: str, which: str) -> str:
    """Tokens per second, as median over pairs."""
    value: float = _read(name)["engines"][engine]["medians"][which]["useful_tokens_per_s"]
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _of_peers(dtype: str, result: Mapping[str, Any]) -> dict[str, str]:
    rows = {row["contender"]: row for row in result["table"]}
    default = rows["kit compiled (the default)"]
    best, times = result["best"], "times the article's"
    return {
        f"{dtype}_default": f"{default[times]:.2f}",
        f"{dtype}_default_tokens": f"{default['useful tokens/s']:.0f}",
        f"{dtype}_article_tokens": f"{rows['article, batches of 16']['useful tokens/s']:.0f}",
        f"{dtype}_int8": f"{rows['kit compiled, int8'][times]:.2f}",
        f"{dtype}_kit": best["kit"].removeprefix("kit "),
        f"{dtype}_peer": best["peer"],
        f"{dtype}_over_peer": f"{best['peer_s_over_kit_s']['median_of_pairwise_ratios']:.2f}",
        f"{dtype}_processor": result["ranks"][0]["device_name"].replace("(R)", "").replace(" Processor", ""),
    }


def _of_lessons(start: Mapping[str, Any], float32: Mapping[str, Any]) -> dict[str, str]:
    """What an instructor is told to expect, beside the figures of the other pages."""
    precision = {row["precision"]: row for row in _read("precision")["table"]}
    [compiled] = (row for row in _read("first_runs")["table"] if row["engine"] == "compiled")
    share = {row["contender"]: row["% of the roofline"] for row in float32["table"]}
    roof = float32["roofline"]
    return {
        "ready_2_s": f"{start['ready']['medians_s']['2 workers']:.1f}",
        "round_trip_p95_ms": f"{start['round_trip']['p95_ms']:.1f}",
        "one_sequence_tokens": f"{precision['float32']['one sequence a rank: tokens/s']:.0f}",
        "many_sequences_tokens": f"{precision['float32']['useful tokens/s']:.0f}",
        "bfloat16_emulated": f"{precision['bfloat16']['times float32']:.1f}",
        "int8_in_float32": f"{precision['float32, int8 weights']['times float32']:.1f}",
        "int8_same_texts": precision["float32, int8 weights"]["same texts"],
        "int8_perplexity": f"{precision['float32, int8 weights']['perplexity']:.1f}",
        "float32_perplexity": f"{precision['float32']['perplexity']:.1f}",
        "first_over_second": f"{compiled['first / second']:.2f}",
        "paid_once_s": f"{compiled['paid once, s']:.1f}",
        "float32_GB_per_s": f"{roof['GB_per_s_of_each_rank']:.0f}",
        "float32_GFLOP_per_s": f"{roof['GFLOP_per_s_of_each_rank']:.0f}",
        "float32_article_percent": f"{share['article, batches of 16']:.0f}",
        "float32_default_percent": f"{share['kit compiled (the default)']:.0f}",
        "h100_GB_per_s": f"{_read('decode_step_h100')['measured_GB_per_s']:,}",
    }


def _of_workshop(result: Mapping[str, Any]) -> dict[str, str]:
    """What learners' cells show: the median, and in brackets the lowest and the highest."""
    found = {"workshop_load": f"{result['load_average_1_min_at_start']:.1f}"}
    for row in result["table"]:
        median, lowest, highest = (_short(row[which]) for which in ("median", "lowest", "highest"))
        is_one = lowest == median == highest
        found[f"workshop_{row['key']}"] = median if is_one else f"{median} ({lowest} to {highest})"
    return found


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _of_steps(result: Mapping[str, Any]) -> dict[str, str]:
    """Of the engine as it is now."""
    now = {row["sequences"]: row for row in result["steps"] if row["what"].endswith("as it is now")}
    return {
        f"h100_{sequences}_{name}": f"{row[key]:.{digits}f}"
        for sequences, row in now.items()
        for name, key, digits in (
            ("ms", "ms_a_step", 2),
            ("percent", "percent_of_the_limit", 0),
            ("tokens", "tokens_per_s", 0),
            ("limit_ms", "limit_ms_a_step", 1),
        )
    }


def _times(name: str, schedule: str) -> float:
    """How many times as fast as the static split, the median of the rounds."""
    rounds = _read(name)["seconds"]
    of = _starting(rounds[0], schedule)
    static = _starting(rounds[0], "static, as given")
    return statistics.median(each[static] / each[of] for each in rounds)


def _starting(names: Mapping[str, Any], start: str) -> str:
    return next(name for name in names if name.startswith(start))


def _ready(start: Mapping[str, Any], workers: str) -> float:
    ratio: float = start["ready"]["workers_over_plain_import"][workers]["median_of_pairwise_ratios"]
    return ratio


def _memory(memory: Mapping[str, Any], ranks: str) -> float:
    """MB of all processes together (PSS), in float32."""
    megabytes: float = memory["dtypes"]["float32"]["workers"][ranks]["total_pss_after_MB"]
    return megabytes
