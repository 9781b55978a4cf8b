"""One fresh launch: import, call accelerate's notebook_launcher, load the model in each process, stop there.

What a notebook without live workers does before its first batch. ``start_up`` runs this
in a new process each time and reads the moments it prints, on the monotonic clock.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import time

from nbkit.files.machine import usable_cores, uses_cpu

MARK = "moments:"


def set_environment(processes: int) -> None:
    """What ranks on a CPU need before torch is imported; the same as live workers get."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import torch

    # Counted, as is_available() would, in some settings, begin with CUDA before the fork.
    if uses_cpu() or torch.cuda.device_count() == 0:
        os.environ["ACCELERATE_USE_CPU"] = "1"
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


def import_packages() -> None:
    """Before the launcher forks, so that the processes need not import for themselves."""
    import transformers.models.llama.modeling_llama
    import transformers.models.llama.tokenization_llama  # noqa: F401
    from accelerate import Accelerator, notebook_launcher  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
    from transformers.utils import logging

    import nbkit.models  # noqa: F401

    logging.disable_progress_bar()


def load_and_report(model: str, dtype: str, called_s: float) -> None:
    """In each process: load the model, wait for the others; the first prints the last one's moment."""
    from accelerate import Accelerator
    from accelerate.utils import gather_object

    from nbkit import models

    accelerator = Accelerator()
    models.load(model, dtype, accelerator.device)
    accelerator.wait_for_everyone()
    begun_s = gather_object([time.monotonic()])
    if accelerator.is_main_process:
        moments = {"called_s": called_s, "first_batch_s": max(begun_s), "processes": len(begun_s)}
        print(MARK, json.dumps(moments), flush=True)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("processes", type=int)
    parser.add_argument("model")
    parser.add_argument("dtype")
    asked = parser.parse_args()
    set_environment(asked.processes)
    import_packages()
    from accelerate import notebook_launcher

    called_s = time.monotonic()
    notebook_launcher(
        load_and_report,
        (asked.model, asked.dtype, called_s),
        num_processes=asked.processes,
        use_port=str(free_port()),
    )


if __name__ == "__main__":
    main()
