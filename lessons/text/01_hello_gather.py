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
from nbkit.app import exercises

lesson = exercises.begin("01_hello_gather")
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
# `gather_object` flattens one level. What comes back if each rank passes the bare string `"hi"`: **how many items will
# the list have?** Put your number in the place of `...` and run the cell again.


# %%
def bare_string():
    from accelerate.utils import gather_object

    return gather_object("hi")


answer = ...

gathered = workers.run(bare_string)[0]
lesson.check("bare-string", answer, gathered)

# %% [markdown]
# Then look at the list, `gathered`: in a cell of your own, or in the one above. For a hint, run
# `lesson.hint("bare-string")`.
#
# ## Exercise: a sum that every rank knows
#
# Write a function in which each rank gathers **the square of its number**, and returns **the sum of what came
# together**. Your answer is what `workers.run` returns.

# %%
answer = ...

lesson.check("sum-of-squares", answer, workers.world_size)

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
# ## Exercise: how long does a gather take?
#
# People often suspect communication when more GPUs do not help. So it is measured here, on the slowest rank, five times
# after a first one that sets up the connections. **Predict the milliseconds**; within half and twice is right.

# %%
answer = ...

gathers_ms = [1000 * max(workers.hello().gather_s) for _ in range(6)][1:]
lesson.check("gather-ms", answer, gathers_ms)

# %% [markdown]
# Then look:

# %%
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

# %%
lesson.score()

# %% [markdown]
# [Solutions](../lessons/solutions/01_hello_gather.py); `%run -i ../lessons/solutions/01_hello_gather.py` tries them here.
#
# The dashboard above stays alive as long as this notebook's kernel. When you are done, shut the kernel down (menu
# *Kernel*), or run `workers.close()` in a cell: that frees the memory of the ranks, and the dashboard starts them again
# when you press its button.
#
# Next: [02_one_prompt_at_a_time](02_one_prompt_at_a_time.ipynb), where the ranks get real work.
