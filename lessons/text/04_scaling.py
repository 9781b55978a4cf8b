# %% [markdown]
# # 4. Scaling
#
# **The question of this notebook: why do five GPUs not make it five times as fast?** About 30 minutes.
#
# The article that this kit grew from measured one to five GPUs, saw its times stop falling, and blamed *communication
# overhead*. You will find the real reason with a pencil, then measure here where every second goes.

# %%
import nbkit
from nbkit import figures
from nbkit.app import exercises

lesson = exercises.begin("04_scaling")
MODEL = "smollm2-135m"
if lesson.quick:
    MODEL = "tiny-random"
workers = nbkit.Workers()

# %% [markdown]
# ## The published table
#
# Llama-2-7b, 100 prompts, 100 new tokens each, on RTX 3090s: one prompt at a time (`simple`), and in batches of 16
# (`batched`). *Speed-up* is the time of one GPU over the time of n; *parallel efficiency* is the speed-up over n.

# %%
from nbkit.analysis import published

for engine in ("simple", "batched"):
    print(f"{engine}: GPUs, tokens/s, seconds, speed-up, efficiency")
    for row in published.rows(engine):
        speed_up = published.speed_ups(engine)[row.gpus]
        print(
            f"{row.gpus:6d} {row.tokens_per_second:9.0f} {row.wall_s:8.1f} {speed_up:8.2f} {speed_up / row.gpus:9.0%}"
        )
print(published.SOURCE)

# %% [markdown]
# In batches, four GPUs took 6.0 s, and five took 6.0 s. Communication? The ranks speak to each other **once**, at the
# end: one gather of a few kilobytes.
#
# ## Exercise: count the batches
#
# The 100 prompts are cut into equal shares, and each share into batches of 16. The last batch of a share may be nearly
# empty, and on such a GPU takes nearly as long as a full one. **How many batches does each of five GPUs run?** And each
# of four?

# %%
with_five = ...
with_four = ...

lesson.check("batches-on-five", with_five)
lesson.check("batches-on-four", with_four)

# %% [markdown]
# One GPU runs 7 batches in 19.2 s, so a batch takes 2.74 s. That one number and the count of batches predict the
# whole column, to within a tenth:

# %%
figures.published_rounds()

# %% [markdown]
# This is **batch quantisation**: work that comes in whole batches does not divide evenly. The `simple` column has no
# batches, yet it hardly scales beyond three GPUs either. Each rank's share over its time tells what a prompt took:

# %%
figures.published_seconds_per_prompt()

# %%
print(published.UNKNOWABLE)

# %% [markdown]
# ## Measure it here
#
# A **sweep** runs every combination of a grid: here one rank and all of them (one alone, if there is no more), at two
# batch sizes. The ranks that a run does not need stay idle. Every setting is measured three times, in an order shuffled anew
# for each repeat: a machine that grows warmer or busier would otherwise look like a trend. Generation goes on past the
# end of a text, so that every prompt is equal work.

# %%
counts = sorted({1, workers.world_size})
grid = nbkit.Grid(
    ranks=counts,
    batch_sizes=(4, 16),
    base=nbkit.Settings(**nbkit.ARTICLE, model=MODEL, max_new_tokens=8, ignore_eos=True),
    repeats=3,
)
sweep = nbkit.run_sweep(workers, grid, nbkit.first_lines(20))
sweep.summary_table()

# %% [markdown]
# ## Exercise: predict the speed-up
#
# 20 prompts at batch size 16. One rank runs a batch of 16 and one of 4. Two ranks get 10 prompts each: one batch of 10.
# If the time of a batch did not depend on how many prompts are in it, **how many times as fast would two ranks be?**

# %%
speed_up = ...  # times

lesson.check("speed-up-of-two", speed_up)

# %%
from nbkit.analysis.scaling import best_model, explain_all, points_by_series

points = points_by_series(sweep.runs)
figures.speed_up(points)

# %% [markdown]
# The count took every batch for equally long, as it nearly is on the article's GPUs. Is it here? The runs on one rank
# at batch size 16 have both, a batch of 16 and one of 4:

# %%
from nbkit.analysis.explained import explain_step
from nbkit.analysis.scaling import Spread


def step_s(batch):
    return batch.decode_s / (batch.steps - 1)


times = []
for run in sweep.runs:
    if run.settings.batch_size == 16 and len(run.ranks) == 1:
        few, many = sorted(run.batches, key=lambda batch: len(batch.indices))
        times.append(step_s(many) / step_s(few))
print(explain_step(Spread.of(times), few=4, many=16))

# %% [markdown]
# ## Where did the time go?
#
# Every run keeps the seconds of every batch and rank, so what is lost can be accounted for, and the account adds up
# exactly. **Useful work** is what the prompts' own tokens take in full batches. The rest is lost:
#
# | loss | what it is |
# |---|---|
# | batch quantisation | batches that are not full, and ranks that wait because another has more of them |
# | imbalance | ranks that wait because another has longer texts |
# | padding | padding, and steps after a text's end |
# | slower ranks | the same batch takes longer than on one rank: ranks share memory and power. Below 0: it is faster |
# | start-up and tokenisation | beginning, text to tokens and back |
# | gather and synchronisation | the communication that was blamed |

# %%
label, of_16 = list(points.items())[-1]
print(label)
for sentence in explain_all(of_16) or ["There is one rank: no speed-up to explain, but an account of its time."]:
    print(sentence)

measured = of_16[-1].lost
print(f"ranks: {measured.ranks}; of {measured.wall_s:.2f} s the largest loss is {measured.largest},", end=" ")
print(f"{measured.losses[measured.largest]:.2f} s")
figures.lost_time(of_16)

# %% [markdown]
# Which loss is the largest depends on the machine. Ranks on one processor share its memory and its power, so that each
# may be slower than it is alone. GPUs have a memory each, but share the processor that feeds them. The gather is there
# too: look for it.
#
# ## Exercise: how large is the blamed communication?
#
# **What percentage of the wall time did it take on the most ranks**, at batch size 16? Within half and twice is right.

# %%
from nbkit.analysis.lost_time import lost_time

gather_percent = ...

model = best_model(sweep.runs, sweep.runs[0])
most = [run for run in sweep.runs if run.settings.batch_size == 16 and len(run.ranks) == workers.world_size]
accounts = [lost_time(run, model) for run in most]
lesson.check("gather-percent", gather_percent, accounts)

# %% [markdown]
# ## Predict, then check
#
# From the sweep, a **cost model** is fitted: a step of decoding takes some fixed time, and some for each sequence. The
# simulation deals the prompts with the very code that the ranks use, and adds up the model's seconds. What would batch
# size 8 bring, which nobody has measured?

# %%
from nbkit.analysis.what_if import Workload, simulate

asked = nbkit.Settings.of(grid.base, batch_size=8)
forecast = simulate(model, Workload.of(sweep.runs[0]), asked, ranks=workers.world_size)
measured_s = Spread.of([workers.generate(sweep.prompts, asked).wall_s for _ in range(3)])

print(f"one step: {1000 * model.step_fixed_s:.2f} ms + {1000 * model.step_sequence_s:.3f} ms a sequence")
off = forecast.wall_s / measured_s.median - 1
print(f"foretold {forecast.wall_s:.2f} s, measured {measured_s.in_words()} s: {off:+.0%}")
print(*forecast.notes, sep="\n")

# %% [markdown]
# These are three runs, held against a model of three repeats: a fifth off is no surprise, and more where the machine
# does other things too. `benchmarks/what_if.py` shows what more repeats bring. The last lines are what the forecast says of
# itself: what it is not held to, and what of it nobody has measured.
#
# ## Exercise: how many GPUs would the article have needed?
#
# With batches of 16, **from how many GPUs on is the article's run as fast as it can get?**

# %%
gpus = ...

lesson.check("fewest-gpus", gpus)

# %% [markdown]
# ## The scaling dashboard
#
# All of this with sliders: run larger sweeps, hold runs against the hardware's limit, and ask what 64 or 1,000 ranks
# would bring. Among the machines to simulate is the article's. Things to try:
#
# - the article's machine, 100 prompts, batch size 16: move *ranks* from 1 to 8. Then set *split* to `dynamic`.
# - the article's machine, batch size 256 on 4 ranks: does it fit into 24 GB, and what does the forecast make of it?
# - 1,000,000 prompts: how many ranks pay? What does the advice say for the goal *cost* with a deadline of 60 minutes?

# %%
from nbkit import dashboards

lab = dashboards.Scaling(workers, sweep)
lab

# %% [markdown]
# ## What you have learned
#
# Count before you blame: batches are whole, so shares of them are not equal. A decomposition that adds up shows what is
# lost and to what. And a plateau is a property of the workload as much as of the machine: with more prompts, or
# smaller batches, or ranks that take the next batch when they are free, it lies elsewhere.

# %%
lesson.score()

# %% [markdown]
# [Solutions](../lessons/solutions/04_scaling.py); `%run -i ../lessons/solutions/04_scaling.py` tries them here.
#
# The dashboard above stays alive as long as this notebook's kernel. When you are done, shut the kernel down (menu
# *Kernel*), or run `workers.close()` in a cell: that frees the memory of the ranks, and the dashboard starts them again
# when you press its button.
