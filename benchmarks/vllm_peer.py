"""vLLM the ordinary way, for compare.py: run with the Python of vLLM's environment, a folder and a dtype."""

from __future__ import annotations

import json
import os
import sys
import time


def main(folder: str, dtype: str) -> None:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    from vllm import LLM, SamplingParams

    llm = LLM(folder, dtype=dtype, max_model_len=2048, disable_log_stats=True)
    for line in sys.stdin:
        asked = json.loads(line)
        sampling = SamplingParams(temperature=0, max_tokens=asked["new_tokens"], ignore_eos=True)
        began_s = time.perf_counter()
        made = llm.generate(asked["prompts"], sampling, use_tqdm=False)
        seconds = time.perf_counter() - began_s
        texts = [answer.outputs[0].text for answer in made]
        print("\n" + json.dumps({"seconds": seconds, "texts": texts}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
