"""vLLM the ordinary way, for compare.py: run with the Python of vLLM's environment.

A line of JSON is asked for, and a line of JSON answered.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="the model's")
    parser.add_argument("dtype")
    options = parser.parse_args()
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    try:
        from vllm import LLM, SamplingParams
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is not installed for {sys.executable}: python -m pip install vllm")

    llm = LLM(options.folder, dtype=options.dtype, max_model_len=2048, disable_log_stats=True)
    for line in sys.stdin:
        asked = json.loads(line)
        sampling = SamplingParams(temperature=0, max_tokens=asked["new_tokens"], ignore_eos=True)
        began_s = time.perf_counter()
        made = llm.generate(asked["prompts"], sampling, use_tqdm=False)
        seconds = time.perf_counter() - began_s
        texts = [answer.outputs[0].text for answer in made]
        print("\n" + json.dumps({"seconds": seconds, "texts": texts}), flush=True)


if __name__ == "__main__":
    main()
