"""Write a model of Llama-2-7b's shape with random weights: what speed is measured with where no hub can be reached.

``nbkit.models.random_llama`` says what is in it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nbkit.models.model_arithmetic import LLAMA_2_7B
from nbkit.models.random_llama import write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=LLAMA_2_7B.layers, help="fewer for a quick try")
    parser.add_argument("--dtype", default="bfloat16")
    options = parser.parse_args()
    print(f"written to {write(options.folder, options.layers, options.dtype)}")


if __name__ == "__main__":
    main()
