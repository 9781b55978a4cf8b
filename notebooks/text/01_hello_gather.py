# %% [markdown]
# # 1. The hello-world gather
#
# **The question of this notebook: how do results that are spread over several processes come together?**
# About 15 minutes.
#
# The answer is a *collective operation*: a call that every rank makes and that returns when all have made it. The
# first one to know is the **gather**.

# %%
import nbkit

workers = nbkit.Workers()

# %% [markdown]
# ## Each rank says hello, and everyone hears it
#
# `gather_object` takes a list from each rank and gives the joined list to all of them, in rank order.


# %%
def hello():
    from accelerate import Accelerator
    from accelerate.utils import gather_object

    accelerator = Accelerator()
    message = [f"Hello this is rank {accelerator.process_index} on {accelerator.device}"]
    messages = gather_object(message)
    return messages


workers.run(hello)

# %% [markdown]
# Each rank returned the *same*, complete list. Between ranks with a GPU each the messages travel by NCCL; on a CPU, and
# where ranks share a GPU, by gloo. Your code is the same. (If there is one rank only, because there is one GPU, put
# `nbkit.Workers(2)` into the cell above: two ranks then share it, and have something to tell each other.)
#
# In the published article the same function is started with accelerate's own launcher:
#
# ```python
# from accelerate import notebook_launcher
#
# notebook_launcher(hello, num_processes=2)
# ```
#
# which prints, but returns nothing. (On a machine without a GPU, it also starts two processes that each believe to be
# rank 0 of 1, unless `ACCELERATE_USE_CPU=1` is set; the kit sets it for you.)

# %% [markdown]
# ## Exercise: why the message stands in a list
#
# `gather_object` flattens one level. **Predict** what comes back if each rank passes the bare string `"hi"`: how many
# items will the list have? Change `prediction`, then run the cell.

# %%
prediction = 2


def bare_string():
    from accelerate.utils import gather_object

    return gather_object("hi")


gathered = workers.run(bare_string)[0]
if prediction == len(gathered):
    print(f"Right: {gathered}")
else:
    print(f"You said {prediction}, but there are {len(gathered)} items: {gathered}. Why?")

# %% [markdown]
# <details><summary>Solution</summary>
#
# A string is a sequence of letters, and one level is flattened: each rank's <code>"hi"</code> becomes
# <code>"h", "i"</code>, so there are 2 x the number of ranks. Only with a single rank is nothing flattened, since
# nothing is gathered. Put what you gather in a list: <code>gather_object(["hi"])</code>.
# </details>

# %% [markdown]
# ## Everyone must come
#
# A collective returns when *every* rank has called it. A rank that fails before would leave the others waiting for
# ever, and in plain scripts it does. Here, the error reaches you at once, with the number of the rank and its own
# traceback; the others are freed from the barrier, and the workers go on.


# %%
def one_fails():
    from accelerate import Accelerator

    accelerator = Accelerator()
    if accelerator.is_last_process:
        raise ValueError("something is wrong with my share")
    accelerator.wait_for_everyone()


try:
    workers.run(one_fails)
except nbkit.RankError as error:
    print(error)

# %%
workers.run(hello)[0]

# %% [markdown]
# ## What a function can say on its way
#
# `workers.run` waits for the result. `workers.submit` returns a *job* at once, and the ranks work on while you do
# something else. Inside the function, `nbkit.current_job()` is the way back to the notebook: `emit` sends a value
# up at once, and `cancelled` tells whether somebody has asked the job to stop.


# %%
def count_down():
    import time

    job = nbkit.current_job()
    for left in range(100, 0, -1):
        if job.cancelled:
            return f"rank {job.rank} stopped with {left} to go"
        job.emit(left)
        time.sleep(0.05)


job = workers.submit(count_down)

# %% [markdown]
# It runs for five seconds, or until you stop it. Here is what rank 0 has told so far, then the cancel, and what each
# rank returned because it looked:

# %%
import time

time.sleep(1)
print("rank 0 has told:", [event.value for event in job.emitted() if event.rank == 0])
job.cancel()
try:
    job.result()
except nbkit.JobCancelled as cancelled:
    print(cancelled.partial)

# %% [markdown]
# A function that never looks can be cancelled, too: it is taken out of what it does, as by an interrupt, and returns
# nothing. And a job need not take all ranks: `workers.on(0).submit(count_down)` runs on rank 0 alone, and leaves the
# others free for another job at the same time.

# %% [markdown]
# ## How long does a gather take?
#
# People often suspect communication when more GPUs do not help. So measure it:

# %%
gathers_ms = [1000 * max(workers.hello().gather_s) for _ in range(5)]
print("milliseconds in the gather, on the slowest rank:", ", ".join(f"{ms:.2f}" for ms in gathers_ms))

# %% [markdown]
# Keep the number: the next notebook shows how long this machine takes to generate one token, and that is what to
# compare it with. The dashboard shows what each rank spent in the gather.

# %%
from nbkit import dashboards

dashboards.Hello(workers)

# %% [markdown]
# ## What you have learned
#
# Results come together in a collective: every rank calls `gather_object` with a list, and every rank gets the joined
# list, in rank order. All ranks must come; and what it takes, you have measured.
#
# Next: [02_one_prompt_at_a_time](02_one_prompt_at_a_time.ipynb), where the ranks get real work.

# %%
workers.close()  # frees the ranks' memory; the dashboard starts them again when you press its button
