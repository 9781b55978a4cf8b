# %% [markdown]
# # 6. Faster
#
# **The question of this notebook: what makes generation fast, and what does each step bring on your machine?** About
# 30 minutes.
#
# We start from the article's batched loop and change one thing at a time. Every gain is measured here and now, on the
# same prompts; on a GPU the same cells run unchanged, and other steps bring the most. What a step brings can be less
# than nothing: a figure below 1 means that it is slower here. Loading and warming up come before the time that is
# measured. Each figure is of three short runs: the median, and in brackets the lowest and the highest. What differs by
# less than that says little.

# %%
import nbkit
from nbkit.analysis.explained import ratios
from nbkit.analysis.scaling import Spread
from nbkit.app import exercises

lesson = exercises.begin("06_faster")
MODEL = "smollm2-135m"
NEW_TOKENS, WORDS = 10, 15
if lesson.quick:
    MODEL, NEW_TOKENS, WORDS = "tiny-random", 6, 5
A_RANK = 20  # prompts
workers = nbkit.Workers()
lines = nbkit.first_lines(A_RANK * workers.world_size)
prompts = [f"{number}. {line}" for number, line in enumerate(lines, start=1)]
equal_work = nbkit.Settings(model=MODEL, max_new_tokens=NEW_TOKENS, ignore_eos=True)
runs = {}

# %%
def tokens_per_second(run):
    return run.tokens_per_second


def measure(name, prompts=prompts, settings=equal_work, against=None, **changes):
    runs[name] = [workers.generate(prompts, settings, **changes) for _ in range(3)]
    line = f"{name}: {Spread.of([*map(tokens_per_second, runs[name])]).in_words(0)} tokens/s"
    if against is not None:
        line += f", {ratios(runs[name], runs[against], tokens_per_second).in_words()} times '{against}'"
    print(line)


def median_run(name):
    return sorted(runs[name], key=tokens_per_second)[1]


# %% [markdown]
# ## Where the article stands
#
# Batches of 16, an equal share of the prompts for each rank: 20 prompts, so a batch of 16 and one of 4.

# %%
measure("article", **nbkit.ARTICLE)

# %% [markdown]
# ### Exercise: empty places
#
# Two batches of 16 have places for 32 sequences. **What percentage of the places is empty** for the 20 prompts of a
# rank?

# %%
percent = ...

lesson.check("empty-places", percent)

# %% [markdown]
# ## Step 1: even batches, as large as memory allows
#
# A step reads all weights, however many sequences it serves. `batch_size="auto"` asks how many sequences fit into the
# rank's memory and deals them evenly, so that no small batch is left over. A batch that does not fit after all is
# halved and tried again (`run.out_of_memory` tells of it).
#
# ### Exercise: what do large batches bring?
#
# One batch of 20 for each rank, in the place of a batch of 16 and one of 4. **How many times the article's tokens per
# second will it bring here?** (What your ranks have memory for decides the size; it is printed below.)

# %%
gain = ...  # times

measure("large batches", **nbkit.ARTICLE | {"batch_size": "auto"})
lesson.check("gain-of-large-batches", gain, runs["article"], runs["large batches"])

# %% [markdown]
# Then look:

# %%
times = ratios(runs["large batches"], runs["article"], tokens_per_second)
print(f"{times.in_words()} times the article's; auto became {runs['large batches'][0].batch_size}")

# %% [markdown]
# ## Step 2: a loop that fits the hardware
#
# `generate` is made for everything; the engine `compiled` for one thing. It has a **static KV cache**: memory for the
# keys and values of all sequences is taken once, and each sequence has a slot that it fills from the start, so that
# nothing is padded. Beyond that it differs by device:
#
# - on a **GPU** `torch.compile` fuses the small kernels between the matrix products (once, which takes some ten
#   seconds), and what is left of a step, hundreds of kernels, is captured once as a **CUDA graph** and launched as one;
# - on a **CPU** that brought nothing where we measured, because the matrix products are what takes long. There the
#   weights are **packed** once, in the layout that the processor's matrix library wants.

# %%
own_loop = {"engine": "compiled", "split": "static", "order": "as_given"}
measure("compiled", against="large batches", **own_loop)

# %% [markdown]
# ### Exercise: all ranks against one alone
#
# **How many times the tokens per second of one rank alone do all your ranks bring**, if each has 20 prompts of its own?
# The cell measures one rank alone three times. (Without a GPU, one rank alone gets all cores, which several share. With one GPU there is one
# rank, and the cell runs the same once more.)

# %%
times = ...

with nbkit.Workers(1) as alone:
    one = [alone.generate(prompts[:A_RANK], equal_work, **own_loop) for _ in range(3)]
lesson.check("gain-of-ranks", times, one, runs["compiled"])

# %% [markdown]
# Then look:

# %%
times = ratios(runs["compiled"], one, tokens_per_second)
print(f"ranks: {workers.world_size}; {times.in_words()} times the tokens per second of one rank alone")

# %% [markdown]
# On GPUs nearly as many times as there are ranks: each brings a device of its own, for work of its own, as long as the
# machine's processor launches fast enough for all. (Had they *shared* 20 prompts it would be far less: a step for 10
# sequences takes nearly as long as one for 20.) On a CPU the cores are the same, so it would be 1 if both used them
# alike. What pulls it up: threads that share one small matrix product wait for each other at its end, ranks that each
# have a product of their own do not. What pulls it down: the ranks compete for caches and memory. The line above says
# which of the two wins here.
#
# ## Step 3: uneven work
#
# Real prompts are of all lengths, and texts end when they end. Here are prompts with a long tail of lengths, and every
# text ends at its first comma, full stop or line break, if it comes to one. A batch waits for its longest prompt and
# its longest text: look at padding, and at computed against new tokens.

# %%
uneven = nbkit.synthetic_prompts(len(prompts), WORDS, "lognormal", seed=1)
early = nbkit.Settings(model=MODEL, max_new_tokens=2 * NEW_TOKENS, stop=[",", ".", "\n"])

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
for name in runs:
    if name.startswith("uneven"):
        run = median_run(name)
        print(f"{name:20} {100 * run.padding_share:3.0f}% padding, {run.total_computed_tokens} computed", end=" ")
        print(f"for {run.total_new_tokens} new tokens, wall time {run.wall_s:.1f} s")

# %% [markdown]
# - **By length**: neighbours in a batch are of like length, so little is padded. Outputs come back in your order.
# - **Dynamic**: a rank takes the next prompts when it is free; none waits while there is work. (One rank alone has
#   nobody to wait for.)
# - **Joining**: in `compiled`, `continuous`, `vllm` and `openvino` a prompt joins as soon as a sequence has ended. No
#   step is computed for a text that is known to be over (a GPU may have begun one more).
#
# Do all give the same texts? A schedule changes which prompts are computed side by side, and with that how sums are
# rounded. In float32, which keeps seven digits, that changes no text unless two tokens are as good as equally likely.
# In bfloat16, which keeps between two and three, some texts part. So count, and count in float32, too:


# %%
def count_same(same_prompts):
    same = sum(len(set(texts)) == 1 for texts in zip(*(run.outputs for run in same_prompts), strict=True))
    print(f"{same_prompts[0].dtype}: {same} of {len(uneven)} texts are the same in {len(same_prompts)} schedules")


schedules = [median_run(name) for name in runs if name.startswith("uneven")]
count_same(schedules)
if schedules[0].dtype != "float32":
    count_same([workers.generate(uneven, run.settings, dtype="float32") for run in schedules])

# %% [markdown]
# ## Step 4: fewer bits
#
# bfloat16 halves what is read, and many processors and GPUs multiply it faster than float32; some that know it are no
# faster, and a processor that does not know it emulates it, several times as slowly (`nbkit doctor` says which yours
# is, and so does a run). int8 and int4 keep the weights in 8 and 4 bits, and compute in the dtype that this device
# takes by itself, which is bfloat16 on GPUs and float32 on CPUs. What is it worth, and what does it cost? Two measures
# of quality: how many greedy texts stay the same as in float32, and the *perplexity* on a fixed text (lower is better;
# a large rise means harm).
#
# ### Exercise: int8
#
# **How many times the tokens per second of float32 will int8 weights bring here**, with all prompts of a rank side by
# side? The cells measure every kind three times.

# %%
gain_of_int8 = ...  # times

# %%
CHOICES = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "int8 weights": {"quantization": "int8"},
    "int4 weights": {"quantization": "int4"},
}


def perplexity_of(model, dtype="auto", quantization="none"):
    from accelerate import Accelerator

    import nbkit
    from nbkit.engines.perplexity import perplexity

    return perplexity(nbkit.load_model(model, dtype, Accelerator().device), quantization)


# %%
rows = []
for name, choice in CHOICES.items():
    try:
        measure(name, against="float32" if rows else None, **choice)
    except nbkit.InputError as error:
        print(f"{name}: not on this device: {error}")
        continue
    run = median_run(name)
    same = sum(a == b for a, b in zip(run.outputs, median_run("float32").outputs, strict=True))
    perplexity = workers.on(0).run(perplexity_of, MODEL, **choice)[0]
    rows.append((name, run.dtype, run.tokens_per_second, same, perplexity))
lesson.check("gain-of-int8", gain_of_int8, runs["float32"], runs["int8 weights"])

# %% [markdown]
# Then look. In float32 a weight has 32 bits; in int4 it has 5, its share of a scale and a zero point for every 32
# weights included.

# %%
import pandas

from nbkit.analysis.explained import explain_fewer_bytes, explain_perplexity

fewer_bytes = {"bfloat16": 2, "int8 weights": 4, "int4 weights": 6.4}
reference = rows[0][-1]
for name, *_, perplexity in rows[1:]:
    times = ratios(runs[name], runs["float32"], tokens_per_second)
    print(explain_fewer_bytes(times, name, fewer_bytes[name]))
    print(explain_perplexity(perplexity, reference, name))

columns = ["weights", "computed in", "tokens/s", f"same texts of {len(prompts)}", "perplexity"]
pandas.DataFrame(rows, columns=columns).round(1)

# %% [markdown]
# Text that differs is not yet text that is worse: two tokens that are nearly equally likely change places, and from
# there the texts part. The perplexity tells whether the model has suffered.
#
# Fewer bits are not harm by their number alone. int8 has one scale for a whole row of weights here, and on a CPU the
# *activations* are rounded to 8 bits, too, so that the product is one of whole numbers: fast, where the processor has
# instructions for it, and coarser where a few activations are much larger than the others. int4 has a scale for every 32
# weights and multiplies in bfloat16: it can be the better of the two. It saves reading, which many sequences share
# anyway, and unpacks for each product: with one sequence it gains most, and in a batch such as this one it can be
# slower than float32.
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

equal = ["article", "large batches", "compiled", *CHOICES, "continuous", "openvino"]
figures.comparison({name: median_run(name) for name in equal if name in runs})

# %% [markdown]
# `benchmarks/compare.py` measures the same at length, beside transformers' pipeline, vLLM and others, against the
# limit of the hardware. Its latest result, from the machine that is named below the figure, which is not yours:

# %%
import json
from pathlib import Path

result = Path("../benchmarks/results/compare.json")
figures.contenders(json.loads(result.read_text())) if result.is_file() else f"{result} is not beside these notebooks."

# %% [markdown]
# ## Which engine when
#
# | you want | take |
# |---|---|
# | to learn what happens, or to compare with the article | `simple`, `batched` |
# | throughput, with nothing more to install | the defaults: `compiled`, `auto`, dynamic, by length |
# | more of it, and can accept slightly other texts | `dtype="bfloat16"` where the device is faster in it (GPUs take it by themselves), `quantization="int8"` where the table above has it faster |
# | a model that `compiled` is not right for | nothing else: the run goes on with `batched` by itself, and says so |
# | to see what others reach on an Intel or AMD processor | `openvino` |
# | to see what others reach on GPUs; long outputs, large models | `vllm` |
# | to see transformers' own continuous batching | `continuous` |
#
# ## The final challenge
#
# **Get these prompts of uneven lengths through your machine as fast as you can.** Choose settings; you may set `engine`,
# `batch_size`, `split`, `order` and `token_budget`, and what you do not name stays the article's. Model, prompts,
# precision and where texts end stay as they are, so that everybody does the same work.
#
# It is judged by useful tokens per second, in three runs: against the article's settings, and against the fastest of a
# small sweep. The sweep runs once, when you try for the first time, and takes as long as a dozen runs. As fast as its
# fastest, within the noise, is right; faster is better. There is no need to guess: measure first, here or in the
# dashboard below.

# %%
uneven_prompts = nbkit.synthetic_prompts(A_RANK * workers.world_size, min(WORDS, 10), "lognormal", seed=6)
challenge = exercises.Challenge(workers, uneven_prompts, early)

# %%
settings = ...  # a dict, such as {"batch_size": 8}

lesson.check("challenge", settings, challenge)

# %% [markdown]
# ## Explore
#
# Engine, batch size, split and order are in the first rows; quantisation, sampling, stop strings and the token budget
# under **More**.

# %%
from nbkit import dashboards

explore = dashboards.Explore(workers, model=MODEL, max_new_tokens=2 * NEW_TOKENS)
explore

# %% [markdown]
# ## What you have learned
#
# Even batches, prompts of like length side by side, prompts that join as soon as there is room, and a loop that fits
# the hardware change the time, and texts by their rounding at most. Fewer bits change the arithmetic: they bring what
# the device can make of them, and what they cost is to be measured, too. Which step brings the most is a question to
# your machine, not to a table.

# %%
lesson.score()

# %% [markdown]
# [Solutions](../lessons/solutions/06_faster.py); `%run -i ../lessons/solutions/06_faster.py` tries them here.
#
# The dashboard above stays alive as long as this notebook's kernel. When you are done, shut the kernel down (menu
# *Kernel*), or run `workers.close()` in a cell: that frees the memory of the ranks, and the dashboard starts them again
# when you press its button.
