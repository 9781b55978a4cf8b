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
from nbkit.analysis.explained import explain_decode
from nbkit.analysis.scaling import Spread

article = nbkit.Settings(**nbkit.ARTICLE, model=MODEL, max_new_tokens=8, ignore_eos=True)
prompts = nbkit.synthetic_prompts(2 * workers.world_size, mean_words=WORDS, distribution="constant")

times = []
for _ in range(3):
    run = workers.generate(prompts, article, batch_size=2)
    batch = run.batches[0]
    positions = batch.prompt_tokens + batch.padding_tokens
    decoded = batch.computed_tokens - len(batch.indices)
    times.append((batch.decode_s / decoded) / (batch.prefill_s / positions))
    print(f"prefill: {positions:4d} positions in {batch.prefill_s:.3f} s;", end=" ")
    print(f"decode: {decoded:4d} positions in {batch.decode_s:.3f} s")
print(explain_decode(Spread.of(times)))

# %% [markdown]
# Both kinds of position need the same arithmetic; but a decode step reads **all weights**, and launches every
# operation, for one position of each sequence, and prefill does so once for all of them.
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
# Both limits against the batch size, for one rank. Up to the *knee* memory is the limit, and the limit of a step hardly
# grows with the batch; from there on arithmetic is, and a step takes longer with every sequence. Where the knee lies
# depends on the device, and whether a real step comes near to the limit is another question. Points are runs on all
# ranks, the median of three each, shown as the mean of a rank.

# %%
from nbkit.analysis.roofline import of_run

sizes = (1, 4, 16)
runs = {size: [] for size in sizes}
for _ in range(3):
    for size in sizes:
        listed = nbkit.synthetic_prompts(size * workers.world_size, mean_words=8, distribution="constant")
        runs[size].append(workers.generate(listed, article, batch_size=size))
reached = {size: sorted([of_run(run, shape, speed) for run in runs[size]], key=lambda p: p.fraction) for size in sizes}
points = {f"batch size {size}": of_three[1] for size, of_three in reached.items()}
figures.roofline(shape, speed, speed.dtype, points["batch size 16"].context, points)

# %%
for size, of_three in reached.items():
    point = of_three[1]
    a_rank, limit = (each / point.ranks for each in (point.tokens_per_second, point.limit_tokens_per_second))
    percent_reached = Spread.of([100 * point.fraction for point in of_three]).in_words(0)
    print(f"batch size {size:2d}: {a_rank:6.0f} of {limit:6.0f} decoded tokens/s a rank:", end=" ")
    print(f"{percent_reached}% of what {point.limit.bound} allows")

# %% [markdown]
# And what does a further sequence cost a real step, on this machine?

# %%
from nbkit.analysis.explained import explain_step, ratios

print(explain_step(ratios(runs[16], runs[1], lambda run: run.mean_tpot_s), few=1, many=16))

# %% [markdown]
# What is missing? Python and the launch of every operation, which is most of it for a small model on a fast GPU; matrix
# products of few rows that use the device badly; attention; choosing the token. (More than 100% would mean that the
# weights are read from a cache, into which a small model may fit, and not from memory; or that the machine did other
# things while its speed was measured.)
#
# ## Exercise: the article's GPUs
#
# An RTX 3090 reads 936 GB/s; Llama-2-7b in bfloat16 has 13.5 GB of weights. **What share of the limit were the
# article's 44 tokens per second?**

# %%
percent = ...

lesson.check("percent-of-limit", percent)

# %% [markdown]
# ## Exercise: precision
#
# bfloat16 has half the bytes of float32. **How many times the tokens per second does it bring here**, one prompt at a
# time? The cell measures both three times.

# %%
gain = ...  # times

listed = nbkit.first_lines(workers.world_size)
float32, bfloat16 = [], []
for _ in range(3):
    for runs_in, dtype in ((float32, "float32"), (bfloat16, "bfloat16")):
        runs_in.append(workers.generate(listed, article, engine="simple", dtype=dtype))
lesson.check("gain-of-bfloat16", gain, float32, bfloat16)

# %% [markdown]
# Then look:

# %%
from nbkit.analysis.explained import explain_fewer_bytes

print(explain_fewer_bytes(ratios(bfloat16, float32, lambda run: run.tokens_per_second), "bfloat16", fewer=2))
same = sum(a == b for a, b in zip(float32[0].outputs, bfloat16[0].outputs, strict=True))
print(f"{same} of {len(listed)} texts are the same")

# %% [markdown]
# Texts that differ are rounded otherwise; that alone does not make them worse. Where a processor has no arithmetic for
# bfloat16 and emulates it, the run says so.
#
# ## Exercise: the KV cache
#
# Attention looks back at every earlier position, so its keys and values are kept: the *KV cache*. It grows with every
# token of every sequence and is read at each step, so with long contexts and large batches it takes as much of the
# memory's time as the weights. **For how many sequences of 1,000 positions is this model's cache as large as its
# weights?**

# %%
sequences = ...

lesson.check("as-large-as-the-weights", sequences, shape)

# %% [markdown]
# ## Why batching helps, and until when

# %%
import math

from nbkit.analysis.roofline import ridge_batch_size

for context in (50, 1000, 4000):
    knee = ridge_batch_size(shape, speed, speed.dtype, context)
    since = "at no batch size" if math.isinf(knee) else f"from batch size {max(1, knee):.0f} on"
    print(f"context {context:4d}: arithmetic is the limit {since}")

# %% [markdown]
# Up to the knee the limit of a step hardly grows with the batch, so that a device which comes near to it gets more tokens
# in nearly the same time. Beyond it the time grows with the batch. With longer contexts it lies elsewhere: every sequence brings its own cache to read, which no batch shares, and where
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
