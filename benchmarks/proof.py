"""What does it cost to hold an engine against the model at first use?

Each round loads the model anew in a process with one thread, as a rank has, and then selects
each engine twice: as nobody has used it yet, and as it was kept. Loading finds the model's
files in the system's cache of files; the imports (see start_up.py) are not in it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from unittest.mock import patch

from comparison import print_table, result_path, write_result

from nbkit import models
from nbkit.engines import Request
from nbkit.records.settings import Settings

ENGINES = ("batched", "compiled", "continuous")


def seconds_of_round(model: str, dtype: str) -> dict[str, float]:
    """Seconds to load the model, and to select each engine at first use and once that is kept."""
    from nbkit.engines.selection import select

    began_s = time.perf_counter()
    loaded = models.load(model, dtype)
    seconds = {"load": time.perf_counter() - began_s}
    with tempfile.TemporaryDirectory() as nothing_proven, patch.dict(os.environ, NBKIT_CACHE=nothing_proven):
        for engine in ENGINES:
            for use in ("first use", "kept"):
                # What an engine makes of the model for itself, packed weights for one, it makes in any case.
                for name in [name for name in loaded.prepared if name.startswith("proof")]:
                    del loaded.prepared[name]
                began_s = time.perf_counter()
                selected = select(
                    Settings(model=model, engine=engine), loaded, [Request(0, "It was a bright cold day")]
                )
                seconds[f"{engine}, {use}"] = time.perf_counter() - began_s
                assert selected.index == 0, selected.reasons
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out")
    options = parser.parse_args()
    path = result_path(options.out, "proof")
    import torch

    torch.set_num_threads(1)
    measured: dict[str, list[dict[str, float]]] = {dtype: [] for dtype in options.dtypes}
    for _ in range(options.rounds):
        for dtype, rounds in measured.items():
            rounds.append(seconds_of_round(options.model, dtype))
    medians = {
        dtype: {what: statistics.median(each[what] for each in rounds) for what in rounds[0]}
        for dtype, rounds in measured.items()
    }
    rows = [{"what": what, **{dtype: own[what] for dtype, own in medians.items()}, "unit": "s"} for what in rounds[0]]
    print_table("Holding an engine against the model, medians", rows)
    question = (__doc__ or "").splitlines()[0]
    write_result(path, question, vars(options), {"medians_s": medians, "rounds_s": measured})


if __name__ == "__main__":
    main()
