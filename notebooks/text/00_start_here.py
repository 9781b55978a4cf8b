# %% [markdown]
# # 0. Start here
#
# **The question of this notebook: does everything work on this machine, and what are the parts?**
# It takes about ten minutes. No GPU and no model hub are needed; where there are GPUs, the same cells use all of them.
#
# You will learn what a *rank* is, start some, run a function of your own on all of them, and watch them answer.

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
# keeps its ranks alive: the next call takes milliseconds.
#
# Without a GPU you get 2 CPU workers; with GPUs, one worker for each. With a single GPU that is a single rank, and what
# ranks do together is better seen with two: `nbkit.Workers(2)` starts two that share it.

# %%
import time

import nbkit

began = time.perf_counter()
workers = nbkit.Workers()
for info in workers.wait_until_ready():
    print(f"rank {info.rank} of {info.world_size}: process {info.pid} on {info.device}, {info.device_name}")
print(f"ready after {time.perf_counter() - began:.1f} s")

# %% [markdown]
# That is importing torch, starting the processes and, on GPUs, getting these ready. As long as these ranks live you do
# not wait for it again.
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
# **Predict:** how long does it take to run a function that does nothing on all ranks? A second? A tenth? Now measure:

# %%
began = time.perf_counter()
for _ in range(100):
    workers.run(int)
print(f"{10 * (time.perf_counter() - began):.2f} ms for each round trip")

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
#
# Next: [01_hello_gather](01_hello_gather.ipynb), in which the ranks begin to talk to each other. Notebooks 1 to 5
# generate as the published article does, which shows best what happens; the kit's own settings are faster, and
# [06_faster](06_faster.ipynb) is about these.

# %%
workers.close()  # frees the ranks' memory; the dashboard starts them again when you press its button
