"""How fast is each engine beside its peers, and how far from the hardware's limit?

The same prompts, each with exactly as many new tokens, on the same machine in turns: the
article's loop (``article_loops``), transformers' pipeline, the kit's engines, and peers run
the ordinary way, in one process with all cores (vLLM and llama.cpp in environments of their
own, named by their Python). Every prompt begins otherwise, so that nobody gains by a cache
of prefixes. Loading is excluded. First, every contender's texts in float32 are held against
one prompt at a time. The limit is the measured roofline of the whole work at once: all
prompts, spread over the ranks, read and decoded side by side.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import article_loops
import peers
from comparison import compare, describe_ranks, in_turns, print_table, result_path, write_result

import nbkit
from nbkit.analysis.roofline import decode_limit, prefill_limit
from nbkit.files.machine import package_version
from nbkit.measure import device_speed
from nbkit.models.model_shape import model_shape
from nbkit.models.token_lengths import token_lengths
from nbkit.records.settings import ARTICLE

CHECKED_PROMPTS, CHECKED_TOKENS = 10, 30
WARM_UP_TOKENS = 4
BASELINE = "article, batches of 16"

Answer = tuple[float, list[str]]
"""Seconds, and the texts in the prompts' order."""


@dataclass(frozen=True, slots=True)
class Work:
    """What every contender is given."""

    model: str
    prompts: Sequence[str]
    dtype: str
    new_tokens: int

    def smaller(self, prompts: int, new_tokens: int, dtype: str) -> Work:
        return Work(self.model, self.prompts[:prompts], dtype, new_tokens)


@dataclass(frozen=True, slots=True)
class Contender:
    """``where`` says in how many processes and threads; ``is_kit`` tells the kit's engines from peers.

    ``exact`` is whether its float32 is that of the others; quantised weights' is not.
    """

    where: str
    is_kit: bool
    run: Callable[[Work], Answer]
    exact: bool = True


def kit(workers: nbkit.Workers, **settings: Any) -> Callable[[Work], Answer]:
    """One of the kit's engines, with its defaults but for ``settings``."""

    def run(work: Work) -> Answer:
        asked = {"model": work.model, "dtype": work.dtype, "max_new_tokens": work.new_tokens, **settings}
        made = workers.generate(work.prompts, **asked, ignore_eos=True)
        assert made.total_new_tokens == len(work.prompts) * work.new_tokens
        return made.wall_s, [output or "" for output in made.outputs]

    return run


def article(workers: nbkit.Workers) -> Callable[[Work], Answer]:
    """The article's batched loop."""

    def run(work: Work) -> Answer:
        asked = ("batched", work.model, work.dtype, list(work.prompts), work.new_tokens, ARTICLE["batch_size"])
        timings = workers.run(article_loops.timed_on_rank, *asked)
        assert timings[0].num_tokens == len(work.prompts) * work.new_tokens
        return max(t.end_s for t in timings) - min(t.begin_s for t in timings), timings[0].outputs

    return run


def on_one_process(workers: nbkit.Workers, function: Callable[..., Answer]) -> Callable[[Work], Answer]:
    """A peer that is a library in this environment, in one process with all cores."""

    def run(work: Work) -> Answer:
        return workers.run(function, work.model, work.dtype, list(work.prompts), work.new_tokens)[0]

    return run


def contenders(ranks: int, options: argparse.Namespace, stack: ExitStack) -> Iterator[tuple[str, Contender]]:
    """All that can be measured here, by name."""
    many = stack.enter_context(nbkit.Workers(ranks))
    one = stack.enter_context(nbkit.Workers(1))
    spread, together = f"{ranks} ranks", "1 process"
    yield BASELINE, Contender(spread, False, article(many))
    yield "article, one process", Contender(together, False, article(one))
    yield "transformers pipeline, batches of 16", Contender(together, False, on_one_process(one, peers.pipeline))
    yield "kit batched", Contender(spread, True, kit(many, engine="batched"))
    yield "kit compiled (the default)", Contender(spread, True, kit(many))
    yield "kit compiled, int8", Contender(spread, True, kit(many, quantization="int8"), exact=False)
    yield "kit continuous", Contender(spread, True, kit(many, engine="continuous", batch_size=16))
    if package_version("openvino-genai"):
        yield "kit openvino", Contender(spread, True, kit(many, engine="openvino"))
        yield "OpenVINO GenAI", Contender(together, False, on_one_process(one, peers.openvino))
    if options.vllm_python:
        peer = stack.enter_context(peers.Subprocess(options.vllm_python, "vllm_peer.py"))
        yield "vLLM", Contender(together, False, peer.run)
    if options.llama_cpp_python:
        peer = stack.enter_context(
            peers.Subprocess(options.llama_cpp_python, "llama_cpp_peer.py", peers.llama_cpp_file)
        )
        yield "llama.cpp", Contender(together, False, peer.run)


def without_refusals(
    found: dict[str, Contender], works: Sequence[Work]
) -> tuple[dict[str, Contender], dict[str, str]]:
    """Those that can do all of this work, having done it once; and why each other cannot."""
    able, refused = {}, {}
    for name, contender in found.items():
        try:
            for work in works:
                contender.run(work)
        except Exception as error:  # whatever a peer raises: it shall not end the others' measurement
            refused[name] = f"{type(error).__name__}: {error}"
            print(f"{name} is left out: {refused[name]}", file=sys.stderr, flush=True)
        else:
            able[name] = contender
    return able, refused


def agreement(found: dict[str, Contender], work: Work) -> dict[str, int]:
    """How many texts of each contender are, in float32, those of one prompt at a time."""
    exact = work.smaller(CHECKED_PROMPTS, CHECKED_TOKENS, "float32")
    with nbkit.Workers(1) as alone:
        expected = kit(alone, engine="simple")(exact)[1]
    return {
        name: sum(a == b for a, b in zip(contender.run(exact)[1], expected, strict=True))
        for name, contender in found.items()
    }


def limit_tokens_per_s(work: Work, ranks: int) -> tuple[float, dict[str, float]]:
    """New tokens per second that the hardware allows for this work at most, and what it was worked out from."""
    with nbkit.Workers(ranks) as workers:
        speed = device_speed.measure(workers, work.dtype, refresh=True)
    shape, sequences = model_shape(work.model), len(work.prompts) / ranks
    lengths = token_lengths(work.model, work.prompts)
    assert lengths is not None
    prompt = statistics.mean(lengths)
    prefill_s = prefill_limit(shape, speed, work.dtype, sequences, prompt).seconds
    step = decode_limit(shape, speed, work.dtype, sequences, prompt + work.new_tokens / 2)
    seconds = prefill_s + (work.new_tokens - 1) * step.seconds
    used = {"GB_per_s_of_each_rank": speed.bytes_per_s / 1e9, "GFLOP_per_s_of_each_rank": speed.flops_per_s / 1e9}
    return len(work.prompts) * work.new_tokens / seconds, used


def rows_of(
    found: dict[str, Contender], measured: list[dict[str, Answer]], same: dict[str, int], work: Work, limit: float
) -> list[dict[str, Any]]:
    tokens = len(work.prompts) * work.new_tokens
    baseline = [taken[BASELINE][0] for taken in measured]
    rows = []
    for name, contender in found.items():
        seconds = [taken[name][0] for taken in measured]
        rate = tokens / statistics.median(seconds)
        rows.append(
            {
                "contender": name,
                "where": contender.where,
                "useful tokens/s": rate,
                "times the article's": compare(baseline, seconds)["median_of_pairwise_ratios"],
                # Weights in fewer bits have another limit.
                "% of the roofline": 100 * rate / limit if contender.exact else None,
                "same text in float32": f"{same[name]} of {min(CHECKED_PROMPTS, len(work.prompts))}",
            }
        )
    return rows


def best_against_best(found: dict[str, Contender], measured: list[dict[str, Answer]]) -> dict[str, Any] | None:
    """The kit's fastest engine against the fastest peer in one process, both unquantised; None if one is missing."""
    medians = {name: statistics.median(taken[name][0] for taken in measured) for name in found}
    own = [name for name, c in found.items() if c.is_kit and c.exact]
    others = [name for name, c in found.items() if not c.is_kit and c.where == "1 process"]
    if not own or not others:
        return None
    fastest, peer = (min(names, key=lambda name: medians[name]) for names in (own, others))
    ratios = compare([taken[peer][0] for taken in measured], [taken[fastest][0] for taken in measured])
    return {"kit": fastest, "peer": peer, "peer_s_over_kit_s": ratios}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--max-new-tokens", type=int, default=100)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="measure contenders whose names hold one of these words")
    parser.add_argument("--vllm-python", help="Python of an environment with vLLM")
    parser.add_argument("--llama-cpp-python", help="Python of an environment with llama-cpp-python")
    parser.add_argument("--out", help="result file (default: benchmarks/results/compare.json)")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    path = result_path(options.out, "compare")
    prompts = [f"{number}. {line}" for number, line in enumerate(nbkit.first_lines(options.prompts), start=1)]
    work = Work(options.model, prompts, options.dtype, options.max_new_tokens)
    limit, used = limit_tokens_per_s(work, options.ranks)
    with ExitStack() as stack:
        found = dict(contenders(options.ranks, options, stack))
        if options.only:
            found = {n: c for n, c in found.items() if n == BASELINE or any(word in n for word in options.only)}
        warm_up = work.smaller(len(prompts), WARM_UP_TOKENS, work.dtype)
        found, refused = without_refusals(found, [work.smaller(1, 1, "float32"), warm_up])
        same = agreement(found, work)
        without_refusals(found, [warm_up])  # some load a model anew for another dtype
        runs = {name: (lambda c=contender: c.run(work)) for name, contender in found.items()}
        measured = in_turns(runs, options.rounds)
    rows = rows_of(found, measured, same, work, limit)
    print_table(f"{len(prompts)} prompts, {work.new_tokens} new tokens each, {work.dtype}", rows)
    best = best_against_best(found, measured)
    if best is not None:
        ratio = best["peer_s_over_kit_s"]["median_of_pairwise_ratios"]
        print(f"\n{best['kit']} is {ratio:.2f} times as fast as the best peer in one process, {best['peer']}")
    with nbkit.Workers(options.ranks) as workers:
        ranks = describe_ranks(workers)
    hidden = {"vllm_python", "llama_cpp_python"}
    write_result(
        path,
        "How fast is each engine beside its peers, and how far from the hardware's limit?",
        {name: value for name, value in vars(options).items() if name not in hidden},
        {
            "ranks": ranks,
            "roofline": {"useful_tokens_per_s": limit, **used},
            "versions": peers.versions(),
            "table": rows,
            "left_out": refused,
            "best": best,
            "seconds": [{name: answer[0] for name, answer in taken.items()} for taken in measured],
        },
    )


if __name__ == "__main__":
    sys.exit(main())
