# %% [markdown]
# # 6. Faster
#
# **The question of this notebook: what makes generation fast, and what does each step bring on your machine?** About
# 30 minutes.
#
# We start from the article's batched loop and change one thing at a time. Every gain is measured here and now, on the
# same prompts; on a GPU the same cells run unchanged, and other steps bring the most.

# %%
import nbkit

MODEL = "smollm2-135m"
workers = nbkit.Workers()
prompts = [f"{number}. {line}" for number, line in enumerate(nbkit.first_lines(40), start=1)]
equal_work = nbkit.Settings(model=MODEL, max_new_tokens=10, ignore_eos=True)
runs = {}


def measure(name, prompts=prompts, settings=equal_work, against=None, **changes):
    workers.generate(prompts[:8], settings, **{**changes, "max_new_tokens": 2})  # loads and warms up
    runs[name] = workers.generate(prompts, settings, **changes)
    line = f"{name}: {runs[name].tokens_per_second:.0f} tokens/s"
    if against is not None:
        line += f", {runs[name].tokens_per_second / runs[against].tokens_per_second:.2f} times '{against}'"
    print(line)


# %% [markdown]
# ## Where the article stands
#
# Batches of 16, an equal share of the prompts for each rank: on two ranks 20 prompts each, a batch of 16 and one of 4.

# %%
measure("article", **nbkit.ARTICLE)

# %% [markdown]
# ## Step 1: even batches, as large as memory allows
#
# A step reads all weights, however many sequences it serves. `batch_size="auto"` asks how many sequences fit into the
# rank's memory and deals them evenly, so that no small batch is left over. A batch that does not fit after all is
# halved and tried again (`run.out_of_memory` tells of it).

# %%
measure("large batches", against="article", **nbkit.ARTICLE | {"batch_size": "auto"})
print("auto became", runs["large batches"].batch_size)

# %% [markdown]
# ## Step 2: a loop that fits the hardware
#
# `generate` is made for everything; the engine `compiled` for one thing. It has a **static KV cache**: memory for the
# keys and values of all sequences is taken once, and each sequence has a slot that it fills from the start, so that
# nothing is padded. Beyond that it differs by device:
#
# - on a **GPU** `torch.compile` fuses the small kernels between the matrix products (once, which takes about 10 s), and
#   what is left of a step, hundreds of kernels, is captured once as a **CUDA graph** and launched as one;
# - on a **CPU** that would bring nothing, because the matrix products are what takes long. There the weights are
#   **packed** once, in the layout that the processor's matrix library wants.

# %%
measure("compiled", against="large batches", engine="compiled", split="static", order="as_given")

# %% [markdown]
# ### Exercise
#
# **Predict** how many times as fast two ranks are as one rank, then run the cell. (Without a GPU, one rank alone gets all
# cores; here two share them.)

# %%
prediction = 2.0  # times

with nbkit.Workers(1) as alone:
    alone.generate(prompts[:8], equal_work, max_new_tokens=2)
    one = alone.generate(prompts, equal_work)
ratio = runs["compiled"].tokens_per_second / one.tokens_per_second
print(f"{ratio:.2f} times; you said {prediction}")

# %% [markdown]
# <details><summary>Solution</summary>
#
# On GPUs nearly 2: the second rank brings a second device. On a CPU the cores are the same, so it is about 1. What pulls
# it up: two threads that share one small matrix product wait for each other at its end, two ranks that each have a
# product of their own do not. What pulls it down: each of the two ranks reads all weights, for half as many sequences a
# step. On processors with fast bfloat16 or AVX-512 the first has won where we measured, on an older one the second.
# </details>
#
# ## Step 3: uneven work
#
# Real prompts are of all lengths, and texts end when they end. Here are prompts with a long tail of lengths, and every
# text ends at its first comma, full stop or line break. A batch waits for its longest prompt and its longest text:
# look at padding, and at computed against new tokens.

# %%
uneven = nbkit.synthetic_prompts(40, 30, "lognormal", seed=1)
early = nbkit.Settings(model=MODEL, max_new_tokens=20, stop=[",", ".", "\n"])

measure("uneven: article", uneven, early, **nbkit.ARTICLE)
measure("uneven: by length", uneven, early, "uneven: article", **nbkit.ARTICLE | {"order": "by_length"})
measure(
    "uneven: and dynamic",
    uneven,
    early,
    "uneven: article",
    **nbkit.ARTICLE | {"order": "by_length", "split": "dynamic"},
)
measure("uneven: compiled", uneven, early, "uneven: article")
for name, run in runs.items():
    if name.startswith("uneven"):
        print(f"{name:20} {100 * run.padding_share:3.0f}% padding, {run.total_computed_tokens} computed", end=" ")
        print(f"for {run.total_new_tokens} new tokens, wall time {run.wall_s:.1f} s")

# %% [markdown]
# - **By length**: neighbours in a batch are of like length, so little is padded. Outputs come back in your order.
# - **Dynamic**: a rank takes the next prompts when it is free; none waits while there is work.
# - **Joining**: in `compiled`, `continuous`, `vllm` and `openvino` a prompt joins as soon as a sequence has ended. No
#   step is computed for a text that is over: computed and new tokens are the same.
#
# All of them give the same texts; a schedule may change the time and nothing else.

# %%
names = [name for name in runs if name.startswith("uneven")]
assert all(runs[name].outputs == runs[names[0]].outputs for name in names)
print("the same", len(uneven), "texts from", len(names), "schedules")

# %% [markdown]
# ## Step 4: fewer bits
#
# bfloat16 halves what is read, and processors and GPUs that know it multiply it twice as fast; a processor that does
# not know it emulates it, several times as slowly as float32 (`nbkit doctor` says which yours is, and so does the first
# run below). int8 and int4 keep the weights in 8 and 4 bits. What is it worth, and what does it cost? Two measures of
# quality: how many greedy texts stay the same as in float32, and the *perplexity* on a fixed text (lower is better; a
# large rise means harm).

# %%
CHOICES = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "int8 weights": {"dtype": "float32", "quantization": "int8"},
    "int4 weights": {"dtype": "float32", "quantization": "int4"},
}


def perplexity_of(model, dtype, quantization="none"):
    import nbkit
    from nbkit.engines.perplexity import perplexity

    return perplexity(nbkit.load_model(model, dtype), quantization)


rows = []
for name, choice in CHOICES.items():
    measure(name, against="float32" if rows else None, **choice)
    same = sum(a == b for a, b in zip(runs[name].outputs, runs["float32"].outputs, strict=True))
    rows.append((name, runs[name].tokens_per_second, same, workers.run(perplexity_of, MODEL, **choice)[0]))

# %%
import pandas

pandas.DataFrame(rows, columns=["weights", "tokens/s", f"same texts of {len(prompts)}", "perplexity"]).round(1)

# %% [markdown]
# Text that differs is not yet text that is worse: two tokens that are nearly equally likely change places, and from
# there the texts part. The perplexity tells whether the model has suffered.
#
# ## Step 5: engines made by others
#
# `continuous` is transformers' own continuous batching. `vllm` (GPUs above all) and `openvino` (Intel and AMD
# processors) are packages of their own; `nbkit doctor` says what is installed. Each rank runs a replica of its own.

# %%
measure("continuous", against="article", engine="continuous", batch_size=16)

OPENVINO = False  # True, if it is installed: the first run converts the model once, which takes half a minute
if OPENVINO:
    measure("openvino", against="article", engine="openvino")

# %% [markdown]
# ## All in one picture

# %%
from nbkit import figures

equal = ["article", "large batches", "compiled", "bfloat16", "int8 weights", "continuous", "openvino"]
figures.comparison({name: runs[name] for name in equal if name in runs})

# %% [markdown]
# `benchmarks/compare.py` measures the same at length, beside transformers' pipeline, vLLM and others, against the
# limit of the hardware. Its latest result:

# %%
import json
from pathlib import Path

import plotly.graph_objects as go

result = Path("../benchmarks/results/compare.json")
if result.is_file():
    table = sorted(json.loads(result.read_text())["table"], key=lambda row: row["useful tokens/s"])
    shown = go.Figure(
        go.Bar(
            x=[row["useful tokens/s"] for row in table],
            y=[f"{row['contender']} ({row['where']})" for row in table],
            text=[f"{row['% of the roofline']:.0f}% of the roofline" for row in table],
            orientation="h",
        )
    )
    shown.update_layout(xaxis_title="useful tokens/s", height=420, margin={"l": 10, "t": 20}).show()

# %% [markdown]
# ## Which engine when
#
# | you want | take |
# |---|---|
# | to learn what happens, or to compare with the article | `simple`, `batched` |
# | throughput, with nothing more to install | the defaults: `compiled`, `auto`, dynamic, by length |
# | more of it, and can accept slightly other texts | `dtype="bfloat16"` where the device knows it; on a CPU also `quantization="int8"` |
# | a model that `compiled` is not right for | nothing else: the run goes on with `batched` by itself, and says so |
# | the most on an Intel or AMD processor | `openvino` |
# | the most on GPUs, long outputs, large models | `vllm` |
# | to see transformers' own continuous batching | `continuous` |
#
# ## Explore
#
# Engine, batch size, split and order are in the first rows; quantisation, sampling, stop strings and the token budget
# under **More**.

# %%
from nbkit import dashboards

explore = dashboards.Explore(workers, model=MODEL, max_new_tokens=20)
explore
