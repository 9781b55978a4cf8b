# %% [markdown]
# # 5. Limits
#
# **The question of this notebook: how fast could this machine possibly be, and how far from it are you?** About 30
# minutes.
#
# Two things bound what a device can do: how many bytes a second it reads from memory, and how many operations a second
# it computes. A model needs so many of each for a token. That gives a limit which no engine can pass.

# %%
import nbkit
from nbkit import figures
from nbkit.app import exercises

lesson = exercises.begin("05_limits")
MODEL = "smollm2-135m"
WORDS = 60
if lesson.quick:
    MODEL, WORDS = "tiny-random", 30
workers = nbkit.Workers()

# %% [markdown]
# ## Prefill and decode
#
# A prompt goes through the model **all at once** (*prefill*); then every new token needs another pass for **one
# position** (*decode*). Watch what each costs:

# %%
article = nbkit.Settings(**nbkit.ARTICLE, model=MODEL, max_new_tokens=10, ignore_eos=True)
prompts = nbkit.synthetic_prompts(2 * workers.world_size, mean_words=WORDS, distribution="constant")
run = workers.generate(prompts, article, batch_size=2)
batch = run.batches[0]

positions = batch.prompt_tokens + batch.padding_tokens
print(f"prefill: {positions:4d} positions in {batch.prefill_s:.2f} s: {positions / batch.prefill_s:5.0f} a second")
decoded = batch.computed_tokens - len(batch.indices)
print(f"decode:  {decoded:4d} positions in {batch.decode_s:.2f} s: {decoded / batch.decode_s:5.0f} a second")
times = (batch.decode_s / decoded) / (batch.prefill_s / positions)
print(f"a position of decode takes {times:.1f} times as long as one of prefill")

# %% [markdown]
# Both kinds of position need the same arithmetic; but a decode step reads **all weights**, and launches every
# operation, for a few positions, and prefill does so once for all of them.
#
# ## What a token needs

# %%
from nbkit.models.model_shape import model_shape

shape = model_shape(MODEL)
print(f"{shape.parameters / 1e6:.1f} million parameters")
print(f"{shape.weight_bytes(run.dtype) / 1e6:.0f} MB of weights are read for a step in {run.dtype}")
print(f"{shape.flops_per_token(context=50) / 1e6:.0f} million operations for a token")
print(f"{shape.kv_bytes_per_position(run.dtype) / 1e3:.1f} kB of KV cache for each position of each sequence")

# %% [markdown]
# ## Exercise: arithmetic intensity
#
# *Arithmetic intensity* is operations per byte read. At batch size 1, in float32 (4 bytes), a weight is read and used
# for one multiplication and one addition. **How many operations per byte is that?** And at batch size 16?

# %%
at_1 = ...  # operations/byte
at_16 = ...

lesson.check("intensity-at-1", at_1)
lesson.check("intensity-at-16", at_16)

# %% [markdown]
# ## Measure the device
#
# Some seconds of reading and of multiplying matrices, on all ranks at the same moment, since they share what there is,
# in the dtype that the run above had. The result is kept for the next time.

# %%
from nbkit.measure.device_speed import measure

speed = measure(workers, run.dtype)
print(f"{speed.name}; ranks at once: {speed.ranks}, each:")
print(f"{speed.bytes_per_s / 1e9:.1f} GB/s from memory, {speed.flops_per_s / 1e9:.0f} GFLOP/s in {speed.dtype}")

# %% [markdown]
# ## Exercise: the speed limit
#
# At batch size 1, each token needs all the weights once. **How many tokens per second can one rank decode at most?**
# Take the two numbers from above.

# %%
tokens_per_second = ...

lesson.check("tokens-limit", tokens_per_second, speed, shape)

# %% [markdown]
# ## The roofline
#
# Both limits against the batch size: at small batches memory is the limit and every further sequence is nearly free;
# from the *knee* on arithmetic is, and a larger batch only takes longer. Where the knee lies depends on the device.
# Points are runs on all ranks.

# %%
from nbkit.analysis.roofline import of_run

runs = {}
for size in (1, 4, 16):
    listed = nbkit.first_lines(size * workers.world_size)
    runs[f"batch size {size}"] = workers.generate(listed, article, batch_size=size)
points = {name: of_run(run, shape, speed) for name, run in runs.items()}
figures.roofline(shape, speed, speed.dtype, 30, points)

# %%
for name, point in points.items():
    print(
        f"{name:13s} {point.tokens_per_second:6.0f} of {point.limit_tokens_per_second:6.0f} computed tokens/s:",
        end=" ",
    )
    print(f"{point.fraction:.0%} of what {point.limit.bound} allows")

# %% [markdown]
# What is missing? Python and the launch of every operation, which is most of it for a small model on a fast GPU; matrix
# products of few rows that use the device badly; attention; choosing the token. (More than 100% would mean that the
# weights are read from a cache, into which a small model may fit, and not from memory.)
#
# ## The article's GPUs
#
# An RTX 3090 reads 936 GB/s; Llama-2-7b in bfloat16 has 13.5 GB of weights. **What share of the limit were the
# article's 44 tokens per second?**

# %%
percent = ...

lesson.check("percent-of-limit", percent)

# %% [markdown]
# <details><summary>Solution</summary>
#
# 936 / 13.5 = 69 tokens/s at most, and 44 / 69 is about **63%**. Not bad for a loop in Python. But in batches of 16 the
# limit is nearly 16 times as high, and the article's 520 tokens/s are about half of it.
# </details>
#
# ## Precision
#
# Half the bytes a weight, twice the tokens where memory is the limit. Does it come out so here? **Predict**, then run:

# %%
listed = nbkit.first_lines(2 * workers.world_size)
halved = {}
for dtype in ("float32", "bfloat16"):
    simple = nbkit.Settings.of(article, engine="simple", dtype=dtype, max_new_tokens=16)
    halved[dtype] = workers.generate(listed, simple)

gain = halved["bfloat16"].tokens_per_second / halved["float32"].tokens_per_second
print(f"bfloat16: {gain:.2f} times the tokens per second of float32")
same = sum(a == b for a, b in zip(*(run.outputs for run in halved.values()), strict=True))
print(f"{same} of {len(listed)} texts are the same")

# %% [markdown]
# Near 2, and memory was the limit. Near 1, and it was something else: a small model on a fast GPU waits for Python, one
# sequence at a time on a CPU may do so too. Below 1, and the device multiplies bfloat16 more slowly than float32 at
# such shapes: some processors do, and one that has no arithmetic for it emulates it; the run then says so. Texts that
# differ are rounded otherwise; that alone does not make them worse.
#
# ## The KV cache
#
# Attention looks back at every earlier position, so its keys and values are kept: the *KV cache*. It grows with every
# token of every sequence and is read at each step, so with long contexts and large batches it takes as much of the
# memory's time as the weights. **For how many sequences of 1,000 positions is this model's cache as large as its
# weights?**

# %%
sequences = ...

lesson.check("as-large-as-the-weights", sequences, shape)

# %% [markdown]
# <details><summary>Solution</summary>
#
# SmolLM2-135M in float32: 538 MB over 1,000 x 46.1 kB is about **12**; in bfloat16 both are half as large. This model
# shares keys and values among three heads each (*grouped-query attention*); without that, 4 sequences would do.
# Llama-2-7b does not share: 524 kB a position in bfloat16, so 26 sequences of 1,000 positions are as large as its 13.5
# GB of weights.
# </details>
#
# ## Why batching helps, and until when

# %%
import math

from nbkit.analysis.roofline import ridge_batch_size

for context in (50, 1000, 4000):
    knee = ridge_batch_size(shape, speed, speed.dtype, context)
    since = "at no batch size" if math.isinf(knee) else f"from batch size {max(1, knee):.0f} on"
    print(f"context {context:4d}: arithmetic is the limit {since}")

# %% [markdown]
# Up to the knee a larger batch brings more tokens in nearly the same time. Beyond it the time grows with the batch.
# With longer contexts it lies elsewhere: every sequence brings its own cache to read, which no batch shares, and where
# that takes longer to read than to compute with, memory stays the limit at every batch size.
#
# ## The scaling dashboard
#
# Press **Measure device** there, after a sweep, to see all its runs below the roof.

# %%
from nbkit import dashboards

lab = dashboards.Scaling(workers)
lab

# %% [markdown]
# ## What you have learned
#
# Decoding one sequence is bound by memory: bytes a second over bytes a token. Batches share the reading of the weights
# until arithmetic is busy. Smaller weights move the first limit, not the second. And a fraction of the limit says how
# much there is still to win, before you have tried anything.

# %%
lesson.score()

# %% [markdown]
# [Solutions](../lessons/solutions/05_limits.py); `%run -i ../lessons/solutions/05_limits.py` tries them here.
#
# The dashboard above stays alive as long as this notebook's kernel. When you are done, shut the kernel down (menu
# *Kernel*), or run `workers.close()` in a cell: that frees the memory of the ranks, and the dashboard starts them again
# when you press its button.
