# %% [markdown]
# # 2. One prompt at a time
#
# **The question of this notebook: how do several processes share a list of prompts, and what does one token cost?**
# About 20 minutes.
#
# Here the model is SmolLM2-135M-Instruct, which comes with the kit and needs no hub. The first time, it is prepared
# for about 20 seconds. On GPUs, put the name of a larger model into `MODEL`; nothing else changes.

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
# Every pass must read all the model's weights from memory, whether it computes one token or many. That is why a device
# that generates one prompt at a time mostly waits for its memory; the next notebook makes use of it.
#
# ## Who worked when
#
# **Predict** before you run the cell: do all ranks end at the same time? What would have to be true of the prompts?

# %%
from nbkit import figures

figures.run_timeline(run)

# %%
figures.time_parts(run)

# %% [markdown]
# The bars of each rank add up to the wall time of the run. *Waiting* is the time a rank spends at the end until the
# slowest is done; look how small *gather* is.
#
# ## Exercise: twice the ranks, half the time?
#
# Ten prompts of 20 tokens each. From the TPOT and TTFT above, estimate the wall time in seconds that **one** worker
# alone would need. Write it into `prediction`, then run the cell.

# %%
prediction = 10.0  # seconds

with nbkit.Workers(1) as one_worker:
    alone = one_worker.generate(prompts, article, engine="simple")

print(f"one worker: {alone.wall_s:.1f} s; {run.world_size} workers: {run.wall_s:.1f} s")
error = abs(prediction - alone.wall_s) / alone.wall_s
print("Well predicted." if error < 0.25 else f"Your {prediction} s are {100 * error:.0f}% off. See the solution.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# A prompt takes TTFT + 19 x TPOT; ten prompts take ten times that. On GPUs one worker is about as fast as each of
# several, so two bring nearly a factor of two. On a CPU the workers share the cores: one worker has all of them for
# itself, but a matrix with a single row does not use them well, so two workers with half the cores each still win.
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
# puts the answers together. A token costs one reading of all the weights: the time per output token.
#
# Next: [03_batches](03_batches.ipynb): several prompts for one reading.

# %%
workers.close()  # frees the ranks' memory; the dashboard starts them again when you press Run
