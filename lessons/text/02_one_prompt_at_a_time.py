# %% [markdown]
# # 2. One prompt at a time
#
# **The question of this notebook: how do several processes share a list of prompts, and what does one token cost?**
# About 20 minutes.
#
# Here the model is SmolLM2-135M-Instruct, which comes with the kit and needs no hub. The first time, it is prepared
# for some 20 seconds. On GPUs, put the name of a larger model into `MODEL`; nothing else changes.

# %%
import nbkit
from nbkit.app import exercises

lesson = exercises.begin("02_one_prompt_at_a_time")
MODEL = "smollm2-135m"
NEW_TOKENS = 12
if lesson.quick:
    MODEL, NEW_TOKENS = "tiny-random", 8
workers = nbkit.Workers()
prompts = nbkit.first_lines(10)
prompts[:3]

# %% [markdown]
# ## Split, generate, gather
#
# Each rank loads the whole model; the *prompts* are divided (the field calls this **data parallelism**).
# `split_between_processes` gives each rank its share, in order. Each generates for its share, one prompt at a time, and
# the gather brings the answers together. This is the whole of the article's first demo.
#
# ### Exercise: the largest share
#
# The next cell divides these ten prompts among your ranks. **How many prompts does the rank get that has the most?**

# %%
answer = ...

lesson.check("busiest-share", answer, len(prompts), workers.world_size)


# %%
def one_at_a_time(prompts, model_name, new_tokens):
    from accelerate import Accelerator
    from accelerate.utils import gather_object

    import nbkit

    accelerator = Accelerator()
    loaded = nbkit.load_model(model_name, device=accelerator.device)
    results = []
    with accelerator.split_between_processes(prompts) as share:
        for prompt in share:
            inputs = loaded.tokenizer(prompt, return_tensors="pt").to(accelerator.device)
            sequence = loaded.model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False)[0]
            new = sequence[inputs.input_ids.shape[1] :]  # without the prompt
            results.append(loaded.tokenizer.decode(new, skip_special_tokens=True))
    return gather_object(results)


answers = workers.run(one_at_a_time, prompts, MODEL, NEW_TOKENS)[0]
for prompt, answer in zip(prompts[:3], answers[:3], strict=True):
    print(f"{prompt} ->{answer}\n")

# %% [markdown]
# The answers are in the prompts' order, since the shares are contiguous and the gather keeps the ranks' order.
#
# ## The same, measured
#
# `workers.generate` does the same with the model kept on the ranks, and writes down where the time goes. What comes
# back is a **Run**: settings, outputs in order, a record for each batch and each rank.
#
# What is asked for stands in **Settings**. Left alone, they are the fastest that the kit knows; `nbkit.ARTICLE` names
# those of the article: equal shares before the start, prompts in the order given. The *engine* `simple` takes one
# prompt at a time.

# %%
article = nbkit.Settings(**nbkit.ARTICLE, model=MODEL, max_new_tokens=NEW_TOKENS)
all_ranks = [workers.generate(prompts, article, engine="simple") for _ in range(3)]  # three: no two take equally long
run = all_ranks[-1]
run.summary()

# %% [markdown]
# - **TTFT**, time to first token: the model reads the whole prompt (*prefill*) and gives the first new token.
# - **TPOT**, time per output token: each further token (*decode*) needs one more pass through the model.
# - **tokens/s**, throughput: new tokens that users get, from all ranks together, per second of wall time.
#
# ### Exercise: passes
#
# **How many times does a text of `NEW_TOKENS` new tokens go through the model**, prefill and decode together?

# %%
answer = ...

lesson.check("passes", answer, NEW_TOKENS)

# %% [markdown]
# Every pass must read all the model's weights from memory, whether it computes one token or many. So no device
# generates one prompt at a time faster than it reads the weights once a token. A large model mostly waits for that; a
# small one on a fast GPU waits for Python, which launches every operation of a pass by itself. A pass for several
# prompts shares both; the next notebook measures what that is worth on this machine, and notebook 5 how near to the
# limit you are.
#
# ## Who worked when
#
# Do all ranks end at the same time? What would have to be true of the prompts and of their texts?

# %%
from nbkit import figures

figures.run_timeline(run)

# %% [markdown]
# ### Exercise: the gather's share
#
# Notebook 1 measured a gather. **What percentage of the wall time of these runs did it take**, on the slowest rank?
# Within half and twice is right.

# %%
answer = ...

lesson.check("gather-percent", answer, all_ranks)

# %% [markdown]
# Then look where the time went. The bars of each rank add up to the wall time of the run. *Waiting* is the time a rank
# spends at the end until the slowest is done; *gather* is what bringing the answers together took.

# %%
figures.time_parts(run)

# %% [markdown]
# ## Why is the first run slow?
#
# You may have met it elsewhere: run the same thing twice, and the second time it is faster. What a process does for the
# first time costs extra: libraries load code onto the device, choose among their ways to compute a product of this shape,
# some compile. It is paid once a process and shape, and is no matter of how fast the model runs. So `generate` pays it
# *before* its clock begins: the figures in these notebooks do not hold it. `warm_up=False` leaves it in, as a part of its
# own.
#
# Here the ranks are started anew, so that they have computed nothing yet, and then run the same prompts twice:

# %%
workers.resize(workers.world_size)  # ends these processes and starts others
cold = workers.generate(prompts, article, engine="simple", warm_up=False)
again = workers.generate(prompts, article, engine="simple", warm_up=False)

for name, one in (("first", cold), ("second", again)):
    parts = one.time_parts(0)
    told = ", ".join(f"{part} {1000 * parts[part]:.0f} ms" for part in ("warm-up", "prefill", "decode"))
    print(f"{name} run: {told}, of {1000 * one.wall_s:.0f} ms; {one.tokens_per_second:.0f} tokens/s")

held = 100 * cold.time_parts(0)["warm-up"] / cold.wall_s
print(f"{held:.1f}% of the first run went into what is paid once;", end=" ")
print(f"loading the model came before it, and took {cold.ranks[0].load_s:.1f} s")

# %%
figures.time_parts(cold)

# %% [markdown]
# Where the share is large, as on GPUs, on which the warm-up takes seconds, whoever takes that run's tokens per second for
# the machine's measures the libraries' start, not the model. Where it is small, as on most CPUs, what the two runs differ
# by is what else the machine did. In both the second run has none, for its processes have met its shapes.
# Loading the weights is not in either: it comes before, and `run.ranks` tells what it took.
#
# Whoever compares two ways to generate must therefore warm up both, or say that the start is counted: where every
# process handles one short job and ends, it belongs to what a user waits for.

# %% [markdown]
# ## Exercise: n times the ranks, an nth of the time?
#
# Ten prompts of at most `NEW_TOKENS` new tokens each. From the TPOT and TTFT above, **predict the seconds that one of
# these ranks would need for all ten**, while the others are idle. The cell measures it three times. (If one rank is all
# you have, it runs the same again, and shows how steady your machine is.)

# %%
answer = ...

one_rank = [workers.generate(prompts, article, ranks=1, engine="simple") for _ in range(3)]
lesson.check("one-rank-alone", answer, one_rank)

# %% [markdown]
# Then look at what all ranks bring against one of them. Were all equal and alone, the largest share would decide: ten
# prompts on four ranks (3, 3, 2 and 2) are at most 10 / 3 times as fast.

# %%
from nbkit.analysis.explained import explain_ranks, ratios

times = ratios(one_rank, all_ranks, lambda run: run.wall_s)
largest_share = -(-len(prompts) // workers.world_size)
print(explain_ranks(times, workers.world_size, even=len(prompts) / largest_share))

# %% [markdown]
# ## Explore
#
# Now with controls. Press **Run** and watch; change the number of new tokens or of workers and run again; compare the
# runs in the table. **Stop** ends a run at the next token and keeps what is finished. What is below **More** and the
# other engines can wait.

# %%
from nbkit import dashboards

simple = nbkit.ARTICLE | {"engine": "simple"}
explore = dashboards.Explore(workers, **simple, model=MODEL, max_new_tokens=NEW_TOKENS)
explore

# %% [markdown]
# ## What you have learned
#
# `split_between_processes` divides the prompts, each rank generates with its own copy of the model, and the gather
# puts the answers together. A token costs one pass through the model, which reads all the weights: the time per output
# token.

# %%
lesson.score()

# %% [markdown]
# [Solutions](../lessons/solutions/02_one_prompt_at_a_time.py); `%run -i ../lessons/solutions/02_one_prompt_at_a_time.py` tries them here.
#
# The dashboard above stays alive as long as this notebook's kernel. When you are done, shut the kernel down (menu
# *Kernel*), or run `workers.close()` in a cell: that frees the memory of the ranks, and the dashboard starts them again
# when you press its button.
#
# Next: [03_batches](03_batches.ipynb): several prompts for one reading.
