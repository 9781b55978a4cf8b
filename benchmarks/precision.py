"""What do fewer bits bring, and what do they cost in quality?

The kit's default engine in each precision, in turns: tokens per second with large batches and
with one sequence at a time; how many greedy texts are those of float32; and the perplexity on a
fixed text (``nbkit.engines.perplexity``).
"""

from __future__ import annotations

import argparse
import statistics
import sys
from functools import partial
from typing import Any

from comparison import compare, describe_ranks, in_turns, print_table, result_path, write_result

import nbkit

REFERENCE = "float32"
PRECISIONS: dict[str, dict[str, str]] = {
    REFERENCE: {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "float16": {"dtype": "float16"},
    "float32, int8 weights": {"dtype": "float32", "quantization": "int8"},
    "bfloat16, int8 weights": {"dtype": "bfloat16", "quantization": "int8"},
    "bfloat16, int4 weights": {"dtype": "bfloat16", "quantization": "int4"},
}


def perplexity_on_rank(model: str, dtype: str, quantization: str = "none") -> float:
    from nbkit.engines.perplexity import perplexity

    return perplexity(nbkit.load_model(model, dtype), quantization)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--max-new-tokens", type=int, default=24)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out")
    options = parser.parse_args()
    path = result_path(options.out, "precision")
    prompts = [f"{number}. {line}" for number, line in enumerate(nbkit.first_lines(options.prompts), start=1)]
    common = {"model": options.model, "max_new_tokens": options.max_new_tokens, "ignore_eos": True}
    with nbkit.Workers(options.ranks) as workers:
        ranks = describe_ranks(workers)

        def large(choice: dict[str, str]) -> nbkit.Run:
            # The model is loaded anew at each change of dtype; a first run keeps that out of the time.
            workers.generate(prompts[: 4 * options.ranks], **common | choice | {"max_new_tokens": 2})
            return workers.generate(prompts, **common, **choice)

        def single(choice: dict[str, str]) -> nbkit.Run:
            return workers.generate(prompts[: options.ranks], **common, **choice, batch_size=1)

        measured = in_turns(
            {name: partial(lambda c: (large(c), single(c)), choice) for name, choice in PRECISIONS.items()},
            options.rounds,
        )
        quality = {
            name: workers.run(perplexity_on_rank, options.model, **choice)[0] for name, choice in PRECISIONS.items()
        }
    reference = measured[0][REFERENCE][0].outputs
    rows: list[dict[str, Any]] = []
    for name in PRECISIONS:
        runs = [taken[name][0] for taken in measured]
        same = sum(a == b for a, b in zip(runs[0].outputs, reference, strict=True))
        alone = [taken[name][1].tokens_per_second for taken in measured]
        ratios = compare([taken[REFERENCE][0].wall_s for taken in measured], [run.wall_s for run in runs])
        rows.append(
            {
                "precision": name,
                "useful tokens/s": statistics.median(run.tokens_per_second for run in runs),
                "times float32": ratios["median_of_pairwise_ratios"],
                "one sequence a rank: tokens/s": statistics.median(alone),
                "same texts": f"{same} of {len(prompts)}",
                "perplexity": quality[name],
            }
        )
    print_table(f"{len(prompts)} prompts, {options.max_new_tokens} new tokens each", rows)
    write_result(
        path,
        "What do fewer bits bring, and what do they cost in quality?",
        vars(options),
        {
            "ranks": ranks,
            "table": rows,
            "seconds": [{name: [run.wall_s for run in runs] for name, runs in taken.items()} for taken in measured],
        },
    )


if __name__ == "__main__":
    sys.exit(main())
