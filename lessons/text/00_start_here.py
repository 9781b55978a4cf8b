# %% [markdown]
# # 0. Start here
#
# <img src="../docs/start_here.svg" width="600" alt="A notebook sends prompts to ranks, one process on each device; their texts come back, and a dot tells how fast.">
#
# **Run the cell below (Shift+Enter), wait for the first dot, move the slider *batch size*, and see a new dot.**

# %%
import nbkit
from nbkit.app import exercises
from nbkit.app.dashboards.first_move import FirstMove

lesson = exercises.begin("00_start_here")
workers = nbkit.Workers()
explore = FirstMove(workers)
explore

# %% [markdown]
# Each dot is a run: the same prompts, written on by a small language model. The first dot takes longest, since processes
# start and the model is loaded; the very first time the model is also unpacked, for some 20 seconds. After that, a moved
# slider only has to wait for its run. *Live* is on: every change runs again.
#
# **The question of this notebook: what are the parts behind that picture, and does everything work on this machine?**
# It takes about ten minutes. No GPU and no model hub are needed; where there are GPUs, the same cells use all of them.
# In an exercise, put your answer in the place of `...` and run the cell again; a score stands at the end.

# %% [markdown]
# ## What this machine has
#
# `nbkit doctor` looks at the machine and says what the kit will use, what is missing and how to get it.

# %%
import sys

# !{sys.executable} -m nbkit doctor

# %% [markdown]
# ## Workers: processes that stay alive behind the notebook
#
# One Python process can keep one GPU busy. To use several GPUs we need several processes, one for each.
# The field calls each process a **rank**, numbers them from 0, and calls how many there are the **world size**.
#
# accelerate starts such processes from a notebook with `notebook_launcher(function, num_processes=2)`. That is fine
# once, but it starts new processes, which import everything and load the model again, *each time*, and it throws
# the functions' return values away. `nbkit.Workers` calls `notebook_launcher` once, in a process of its own, and
# keeps its ranks alive: the next call takes milliseconds. The cell at the top has started some:

# %%
for info in workers.wait_until_ready():
    print(f"rank {info.rank} of {info.world_size}: process {info.pid} on {info.device}, {info.device_name}")

# %% [markdown]
# Without a GPU you get 2 CPU workers; with GPUs, one worker for each. With a single GPU that is a single rank, and what
# ranks do together is better seen with two: `nbkit.Workers(2)` starts two that share it.
#
# ## A function of yours, on every rank
#
# Any function from a cell can be run on every rank. You get back **every rank's return value, in rank order**, and
# what the ranks print appears here with their numbers.


# %%
def who_am_i():
    import os

    from accelerate import Accelerator

    accelerator = Accelerator()
    print(f"I run on {accelerator.device}")
    return accelerator.process_index, os.getpid()


import os

print("this notebook is process", os.getpid())
workers.run(who_am_i)

# %% [markdown]
# Two things to notice. No rank has the notebook's process id: these really are separate processes. And the imports
# stand *inside* the function: it runs in another process, which knows nothing of this notebook's imports.
#
# ### Exercise: ten times the rank
#
# Write a function that returns **ten times the number of the rank** on which it runs, and run it on all ranks. Your
# answer is what `workers.run` returns.

# %%
answer = ...

lesson.check("ten-times-rank", answer, workers.world_size)

# %% [markdown]
# ### Exercise: a round trip
#
# How long does it take to run a function that does nothing on all ranks, and to have all their answers? A second? A
# hundredth? The cell measures it five times. **Predict the milliseconds**; within half and twice is right.

# %%
import time

answer = ...

while explore.is_busy:  # the dashboard uses the same ranks
    time.sleep(0.1)
trips_ms = []
for _ in range(5):
    began = time.perf_counter()
    for _ in range(20):
        workers.run(int)
    trips_ms.append(1000 * (time.perf_counter() - began) / 20)
lesson.check("round-trip", answer, trips_ms)

# %% [markdown]
# Then look:

# %%
print("milliseconds for each round trip:", ", ".join(f"{ms:.2f}" for ms in trips_ms))

# %% [markdown]
# ## The same with buttons
#
# Every notebook of this series has a dashboard that does what the cells do. Press **Say hello**; then move the slider
# and press it again. (A new number of workers means new processes, so that takes a few seconds again.)

# %%
from nbkit import dashboards

dashboards.Hello(workers)

# %% [markdown]
# ## What you have learned
#
# Everything works here if the cells above did. A *rank* is one process on one device; `Workers` keeps the ranks
# alive; `workers.run(function)` calls a function on every rank and returns every rank's value.

# %%
lesson.score()

# %% [markdown]
# [Solutions](../lessons/solutions/00_start_here.py); `%run -i ../lessons/solutions/00_start_here.py` tries them here.
#
# The dashboards above stay alive as long as this notebook's kernel. When you are done, shut the kernel down (menu
# *Kernel*), or run `workers.close()` in a cell: that frees the memory of the ranks, and a dashboard starts them again
# when you press its button.
#
# Next: [01_hello_gather](01_hello_gather.ipynb), in which the ranks begin to talk to each other. Notebooks 1 to 5
# generate as the published article does, which shows best what happens; the kit's own settings are faster, and
# [06_faster](06_faster.ipynb) is about these.
