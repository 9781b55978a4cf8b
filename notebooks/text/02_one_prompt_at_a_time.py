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

MODEL = "smollm2-135m"
workers = nbkit.Workers()
prompts = nbkit.first_lines(10)
prompts[:3]

# %% [markdown]
# ## Split, generate, gather
#
# Each rank loads the whole model; the *prompts* are divided (the field calls this **data parallelism**).
# `split_between_processes` gives each rank its share, in order. Each generates for its share, one prompt at a time, and
# the gather brings the answers together. This is the whole of the article's first demo.


# %%
def one_at_a_time(prompts, model_name):
    from accelerate import Accelerator
    from accelerate.utils import gather_object

    import nbkit

    accelerator = Accelerator()
    loaded = nbkit.load_model(model_name, device=accelerator.device)
    results = []
    with accelerator.split_between_processes(prompts) as share:
        for prompt in share:
            inputs = loaded.tokenizer(prompt, return_tensors="pt").to(accelerator.device)
            sequence = loaded.model.generate(**inputs, max_new_tokens=20, do_sample=False)[0]
            new = sequence[inputs.input_ids.shape[1] :]  # without the prompt
            results.append(loaded.tokenizer.decode(new, skip_special_tokens=True))
    return gather_object(results)


answers = workers.run(one_at_a_time, prompts, MODEL)[0]
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
article = nbkit.Settings(**nbkit.ARTICLE, model=MODEL, max_new_tokens=20)
run = workers.generate(prompts, article, engine="simple")
run.summary()

# %% [markdown]
# - **TTFT**, time to first token: the model reads the whole prompt (*prefill*) and gives the first new token.
# - **TPOT**, time per output token: each further token (*decode*) needs one more pass through the model.
# - **tokens/s**, throughput: new tokens that users get, from all ranks together, per second of wall time.
#
# Every pass must read all the model's weights from memory, whether it computes one token or many. So no device
# generates one prompt at a time faster than it reads the weights once a token. A large model mostly waits for that; a
# small one on a fast GPU waits for Python, which launches every operation of a pass by itself. Either way a pass for
# several prompts costs far less than several passes; the next notebook makes use of it, and notebook 5 measures how
# near to the limit you are.
#
# ## Who worked when
#
# **Predict** before you run the cell: do all ranks end at the same time? What would have to be true of the prompts?

# %%
from nbkit import figures

figures.run_timeline(run)

# %%
gather_s = max(rank.gather_s for rank in run.ranks)
print(f"the gather: {1000 * gather_s:.1f} ms of {run.wall_s:.2f} s; a token: {1000 * run.mean_tpot_s:.1f} ms")
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
# Here the ranks are started anew, so that they have computed nothing yet, and then run the same prompts twice.
# **Predict:** how much longer does the first run take?

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
# On a GPU the warm-up takes seconds and can be most of a short run: take its tokens per second for the machine's and you
# measure the libraries' start, not the model. On a CPU it is some milliseconds, which the first run hardly shows; what two
# runs then differ by is what else the machine did. In both the second run has none, for its processes have met its shapes.
# Loading the weights is not in either: it comes before, and `run.ranks` tells what it took.
#
# Whoever compares two ways to generate must therefore warm up both, or say that the start is counted: where every
# process handles one short job and ends, it belongs to what a user waits for.

# %% [markdown]
# The bars of each rank add up to the wall time of the run. *Waiting* is the time a rank spends at the end until the
# slowest is done; *gather* is what bringing the answers together took.
#
# ## Exercise: n times the ranks, an nth of the time?
#
# Ten prompts of at most 20 new tokens each. From the TPOT and TTFT above, estimate the wall time in seconds that
# **one** worker alone would need. Write it into `prediction`, then run the cell. (If one worker is all you have, it
# runs the same again, and shows how steady your machine is.)

# %%
prediction = 10.0  # seconds

with nbkit.Workers(1) as one_worker:
    alone = one_worker.generate(prompts, article, engine="simple")

print(f"1 worker: {alone.wall_s:.2f} s; workers above: {run.world_size}, {run.wall_s:.2f} s,", end=" ")
print(f"{alone.wall_s / run.wall_s:.2f} times as fast")
error = abs(prediction - alone.wall_s) / alone.wall_s
print("Well predicted." if error < 0.25 else f"Your {prediction} s are {100 * error:.0f}% off. See the solution.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# A prompt takes TTFT + 19 x TPOT, less where its text ends early; ten prompts take ten times that, if one worker is as
# fast as each of several. With a GPU each it nearly is, as long as the machine's processor launches fast enough for
# all: then the largest share decides, and ten prompts on four workers (3, 3, 2 and 2) are at most 10 / 3 times as fast.
# On a CPU the workers share the cores: one worker has all of them for itself, but a matrix with a single row does not
# use them well, so that several workers with a part of the cores each are often faster. The line above says what it was
# here.
# </details>

# %% [markdown]
# ## Explore
#
# Now with controls. Press **Run** and watch; change the number of new tokens or of workers and run again; compare the
# runs in the table. **Stop** ends a run at the next token and keeps what is finished. What is below **More** and the
# other engines can wait.

# %%
from nbkit import dashboards

simple = nbkit.ARTICLE | {"engine": "simple"}
explore = dashboards.Explore(workers, **simple, model=MODEL, max_new_tokens=20)
explore

# %% [markdown]
# ## What you have learned
#
# `split_between_processes` divides the prompts, each rank generates with its own copy of the model, and the gather
# puts the answers together. A token costs one pass through the model, which reads all the weights: the time per output
# token.
#
# Next: [03_batches](03_batches.ipynb): several prompts for one reading.

# %%
workers.close()  # frees the ranks' memory; the dashboard starts them again when you press Run
