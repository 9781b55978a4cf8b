"""OpenVINO conversion: a model's folder -> a folder in OpenVINO's own format, made once.

The weights stay as they are. The converted folders are kept beside nbkit's models; as a
program, this file converts one folder.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sys
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from nbkit.errors import ModelError
from nbkit.files.cache import build_once, cache_folder
from nbkit.files.own_process import BuildFailed, run_module
from nbkit.models import FROM_FOLDER, LoadedModel, files_state
from nbkit.models.private_names import private_name
from nbkit.prompts import FIRST_LINES

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")
"""Decoders whose conversion is tested: full attention over all that came before."""

ROPE_TYPES = ("default", "linear", "llama3")
"""Rotary embeddings whose frequencies do not depend on the length, which a trace would freeze."""

PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}

ALLOWED = {"float32": 1e-3, "bfloat16": 8e-2}
CHECKED_TOKENS = 8
"""A converted model's logits may be away from the model's own by such a share of their spread, on so many tokens."""

FULL_BYTES = 1_000_000
"""A disk on which less is free counts as full."""

PARTS = ("model", "tokenizer", "detokenizer")
CONSTANT = re.compile(rb'\boffset="(\d+)" size="(\d+)"')
"""Where a graph's constant lies in the file beside it, in bytes."""

CONVERSION = 2
"""Raise it when the conversion changes, so that folders converted before are not taken."""


def why_unfit(config: Any) -> str | None:
    """Why a model cannot be converted; None if it can."""
    if config.model_type not in MODEL_TYPES:
        return f"its type is {config.model_type}, and only {', '.join(MODEL_TYPES)} are known to convert rightly"
    if getattr(config, "quantization_config", None) is not None:
        return "its weights are quantised"
    layers = set(getattr(config, "layer_types", None) or ())
    # Qwen's config says by layer whether its window is used, Mistral's window always is.
    is_windowed = not layers and getattr(config, "sliding_window", None) is not None
    if is_windowed or layers - {"full_attention"}:
        return "its attention has a sliding window"
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    if rope not in ROPE_TYPES:
        return f"its rotary embeddings are of type {rope}"
    return None


def plugin_options(dtype: str) -> dict[str, Any]:
    """What keeps OpenVINO's arithmetic to a dtype: by default activations and the cache are quantised to 8 bits."""
    precision = PRECISIONS[dtype]
    return {
        "INFERENCE_PRECISION_HINT": precision,
        "KV_CACHE_PRECISION": precision,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    }


def converted_folder(loaded: LoadedModel) -> Path:
    """The folder with the converted model, made unless it is there; safe against a second process and a kill."""
    shelf = cache_folder() / "openvino"
    try:
        return build_once(
            shelf / _name(loaded.folder, loaded.dtype),
            lambda folder: _convert_in_process(loaded.folder, folder, loaded.dtype),
            _why_not_whole,
        )
    except OSError as error:
        raise ModelError(
            f"cannot convert the model for OpenVINO in {shelf}: {error.strerror or error}. "
            "It needs as much room as the weights; make room or set NBKIT_CACHE to another folder."
        ) from error


def _name(folder: Path, dtype: str) -> str:
    """A name that changes with the folder's files, the dtype and the conversion."""
    digest = hashlib.sha256(repr((str(folder.resolve()), files_state(folder), CONVERSION)).encode()).hexdigest()[:16]
    return f"{digest}-{dtype}"


def _convert_in_process(source: Path, target: Path, dtype: str) -> None:
    """Convert in a process of its own: the memory and the threads of a conversion are not the rank's."""
    if shutil.disk_usage(target).free < sum(file.stat().st_size for file in source.glob("*.safetensors")):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    no_telemetry = {"CI": "true"}  # as in the pool
    try:
        run_module(__name__, str(source), str(target), dtype, environment=no_telemetry)
    except BuildFailed as error:
        # OpenVINO does not say why it could not write.
        if shutil.disk_usage(target).free < FULL_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
        raise ModelError(f"converting {source} for OpenVINO failed: {error}") from None


def _why_not_whole(folder: Path) -> str | None:
    """What a converted folder lacks, in a sentence without its stop; None if nothing."""
    try:
        for part in PARTS:
            graph, constants = (folder / f"openvino_{part}.{ending}" for ending in ("xml", "bin"))
            text = graph.read_bytes()
            if not text.rstrip().endswith(b"</net>"):
                return f"{graph.name} breaks off"
            ends = [int(offset) + int(size) for offset, size in CONSTANT.findall(text)]
            if constants.stat().st_size < max(ends, default=0):
                return f"{constants.name} breaks off"
        json.loads((folder / "config.json").read_bytes())
    except OSError as error:
        return f"{error.filename or folder}: {error.strerror or error}"
    except ValueError as error:
        return f"config.json is damaged: {error}"
    return None


def _convert(source: Path, target: Path, dtype: str) -> None:
    """Write model and tokenizer of a Hugging Face folder in OpenVINO's format, the weights in ``dtype``."""
    import openvino
    import torch
    from openvino_tokenizers import convert_tokenizer
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(
        source, dtype=getattr(torch, dtype), attn_implementation="sdpa", use_safetensors=True, **FROM_FOLDER
    )
    converted = _stateful(model.eval())
    tokenizer = AutoTokenizer.from_pretrained(source, **FROM_FOLDER)
    _check_converted(converted, model, dtype, _checked_ids(tokenizer, model.config.vocab_size))
    # compress_to_fp16 is on by default.
    openvino.save_model(converted, target / "openvino_model.xml", compress_to_fp16=False)
    # The pipeline wants them, though ids go in and come out.
    parts = convert_tokenizer(tokenizer, with_detokenizer=True)
    for name, part in zip(("tokenizer", "detokenizer"), parts, strict=True):
        openvino.save_model(part, target / f"openvino_{name}.xml")
    model.config.save_pretrained(target)


def _checked_ids(tokenizer: Any, vocabulary: int) -> list[int]:
    """Ids of a text: on others, special tokens above all, a model may round so that its own logits mean nothing."""
    known = [token for token in tokenizer(FIRST_LINES[3]).input_ids if token < vocabulary] or [0]
    return list(islice(cycle(known), CHECKED_TOKENS))


def _check_converted(converted: Any, model: Any, dtype: str, checked: list[int]) -> None:
    """Hold the converted model's logits against the model's own: a prompt of several tokens, then one by one."""
    import openvino
    import torch

    ids = torch.tensor([checked])
    with torch.no_grad():
        expected = model(input_ids=ids).logits[0].float()
    request = openvino.compile_model(converted, "CPU", plugin_options(dtype)).create_infer_request()
    begin = 0
    for end in range(CHECKED_TOKENS - 2, CHECKED_TOKENS + 1):
        step = {
            "input_ids": ids[:, begin:end],
            "attention_mask": torch.ones(1, end, dtype=torch.long),
            "position_ids": torch.arange(begin, end)[None],
            "beam_idx": torch.zeros(1, dtype=torch.int32),
        }
        logits = torch.from_numpy(request.infer({name: value.numpy() for name, value in step.items()})["logits"])[0]
        apart = float((logits - expected[begin:end]).square().mean().sqrt() / expected.std())
        if not apart <= ALLOWED[dtype]:
            raise ModelError(f"its logits are {100 * apart:.2g}% of their spread away from the model's own.")
        begin = end


def _stateful(model: Any) -> Any:
    """The traced model with keys and values as its state, as OpenVINO GenAI expects it.

    Inputs are ``input_ids``, ``attention_mask``, ``position_ids`` (batch x tokens) and
    ``beam_idx`` (batch); the output is ``logits`` (batch x tokens x vocabulary).
    """
    import openvino
    from openvino import opset13

    make_stateful = private_name(
        "openvino._offline_transformations:apply_make_stateful_transformation",
        "makes keys and values a model's state",
        "install openvino-genai 2026.2 to 2026.4, or take another engine",
    )
    traced = _traced(model)
    pasts, presents = traced.inputs[3:], traced.outputs[1:]
    heads, head = model.config.num_key_value_heads, _head_size(model.config)
    for port in traced.inputs[:3]:
        port.node.set_partial_shape(openvino.PartialShape([-1, -1]))
    for number, (past, present) in enumerate(zip(pasts, presents, strict=True)):
        past.node.set_partial_shape(openvino.PartialShape([-1, heads, -1, head]))
        past.tensor.set_names({f"past.{number}"})
        present.tensor.set_names({f"present.{number}"})
    traced.outputs[0].tensor.set_names({"logits"})

    beams = opset13.parameter([-1], openvino.Type.i32, name="beam_idx")
    beams.output(0).tensor.set_names({"beam_idx"})
    traced.add_parameters([beams])
    for past in pasts:
        readers = past.get_target_inputs()
        chosen = opset13.gather(past.node, beams, opset13.constant(0))
        for reader in readers:
            reader.replace_source_output(chosen.output(0))
    traced.validate_nodes_and_infer_types()

    make_stateful(traced, {f"past.{i}": f"present.{i}" for i in range(len(pasts))})
    _begin_empty(traced, heads, head)
    return traced


def _traced(model: Any) -> Any:
    """The model in OpenVINO's operations: past keys and values are inputs, present ones outputs."""
    import openvino
    import torch
    from transformers.cache_utils import DynamicCache, DynamicLayer

    config = model.config

    class Decoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, position_ids: Any, past: list[Any]) -> tuple[Any, ...]:
            cache = DynamicCache()
            for keys, values in zip(past[::2], past[1::2], strict=True):
                # Not by update(): it would put an empty tensor before them, which does not convert.
                layer = DynamicLayer()
                layer.keys, layer.values, layer.is_initialized = keys, values, True
                layer.dtype, layer.device = keys.dtype, keys.device
                cache.layers.append(layer)
            tokens, total = input_ids.shape[1], attention_mask.shape[1]
            last = torch.arange(tokens)[:, None] + (total - tokens)
            allowed = (torch.arange(total)[None, :] <= last)[None, None] & attention_mask[:, None, None, :].bool()
            # By position: the cache's name differs between versions of transformers.
            logits = self.model(input_ids, allowed, position_ids, cache, use_cache=True).logits
            return (logits.float(), *(tensor for layer in cache.layers for tensor in (layer.keys, layer.values)))

    # Sizes that differ, and none of 1: the trace must not take one for another.
    batch, tokens, before = 2, 4, 3
    shape = (batch, config.num_key_value_heads, before, _head_size(config))
    example = {
        "input_ids": torch.ones(batch, tokens, dtype=torch.long),
        "attention_mask": torch.ones(batch, before + tokens, dtype=torch.long),
        "position_ids": torch.arange(before, before + tokens)[None].repeat(batch, 1),
        "past": [torch.zeros(shape, dtype=model.dtype) for _ in range(2 * config.num_hidden_layers)],
    }
    with torch.no_grad():
        return openvino.convert_model(Decoder(), example_input=example)


def _head_size(config: Any) -> int:
    return getattr(config, "head_dim", None) or int(config.hidden_size // config.num_attention_heads)


def _begin_empty(stateful: Any, heads: int, head: int) -> None:
    """Let each state begin as batch x heads x 0 x head: without that GenAI does not find the cache."""
    from openvino import opset13

    sizes = opset13.shape_of(stateful.input("input_ids"), output_type="i64")
    batch = opset13.gather(sizes, opset13.constant([0]), opset13.constant(0))
    shape = opset13.concat([batch, *(opset13.constant([size]) for size in (heads, 0, head))], 0)
    for node in stateful.get_ops():
        if node.get_type_name() == "ReadValue":
            zero = opset13.constant(0.0, dtype=node.get_output_element_type(0))
            node.set_arguments([opset13.broadcast(zero, shape).output(0)])
    stateful.validate_nodes_and_infer_types()


if __name__ == "__main__":
    _convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
