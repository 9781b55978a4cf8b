# %% [markdown]
# # 3. Batches
#
# **The question of this notebook: how much more can each worker do if it takes several prompts at once, and what does
# that cost?** About 25 minutes.
#
# A worker that generates one prompt at a time reads all the model's weights for a single token. With a *batch* of 16
# prompts it reads them once for 16 tokens.

# %%
import nbkit
from nbkit.app import exercises

lesson = exercises.begin("03_batches")
MODEL = "smollm2-135m"
NEW_TOKENS = 12
if lesson.quick:
    MODEL, NEW_TOKENS = "tiny-random", 6
workers = nbkit.Workers()
prompts = nbkit.first_lines(10 * workers.world_size)  # ten for each worker

# %% [markdown]
# ## Padding, on the left
#
# Prompts of a batch must be equally long, so shorter ones are filled up with *padding* tokens. A decoder continues at
# the right end, so the padding goes to the **left**; an *attention mask* of zeros hides it from the model. Lengths are
# rounded up to a multiple of 8, which suits the hardware.


# %%
def show_padding(prompts, model_name):
    import nbkit

    tokenizer = nbkit.load_model(model_name).tokenizer
    batch = tokenizer(prompts, padding=True, padding_side="left", pad_to_multiple_of=8)
    return ["".join(".#"[bit] for bit in mask) for mask in batch.attention_mask]


masks = workers.run(show_padding, prompts[:5], MODEL)[0]
for prompt, mask in zip(prompts[:5], masks, strict=True):
    print(f"{mask}  {prompt[:50]}")

# %% [markdown]
# Each `#` is a token of the prompt, each `.` is padding: computed all the same, and of no use to anyone.
#
# ### Exercise: how long is a row?
#
# **How many positions does each prompt of this batch take**, padding included? Count, or compute it from the longest.

# %%
answer = ...

lesson.check("row-length", answer, masks)

# %% [markdown]
# ## The article's batched demo, in one cell


# %%
def batched(prompts, model_name, batch_size, new_tokens):
    from accelerate import Accelerator
    from accelerate.utils import gather_object

    import nbkit

    accelerator = Accelerator()
    loaded = nbkit.load_model(model_name, device=accelerator.device)
    pad = dict(return_tensors="pt", padding=True, padding_side="left", pad_to_multiple_of=8)
    answers = []
    with accelerator.split_between_processes(prompts) as share:
        for start in range(0, len(share), batch_size):
            inputs = loaded.tokenizer(share[start : start + batch_size], **pad).to(accelerator.device)
            sequences = loaded.model.generate(**inputs, max_new_tokens=new_tokens, do_sample=False)
            new = sequences[:, inputs.input_ids.shape[1] :]
            answers += loaded.tokenizer.batch_decode(new, skip_special_tokens=True)
    return gather_object(answers)


answers = workers.run(batched, prompts, MODEL, 10, NEW_TOKENS)[0]
print(len(answers), "answers; the first:", answers[0])

# %% [markdown]
# ## Exercise: how much does a batch bring?
#
# The cell runs the same prompts one at a time and in batches of 10, three times in turn. **Predict how many times the
# throughput the batches of 10 have.**

# %%
answer = ...

article = nbkit.Settings(**nbkit.ARTICLE, model=MODEL, max_new_tokens=NEW_TOKENS)
ones, tens = [], []
for _ in range(3):
    ones.append(workers.generate(prompts, article, engine="simple"))
    tens.append(workers.generate(prompts, article, batch_size=10))
lesson.check("gain-of-ten", answer, ones, tens)

# %% [markdown]
# Then look:

# %%
from nbkit import figures
from nbkit.analysis.explained import explain_step, ratios

gain = ratios(tens, ones, lambda run: run.tokens_per_second)
print(f"Batches of 10 bring {gain.in_words(1)} times the tokens per second.")
print(explain_step(ratios(tens, ones, lambda run: run.mean_tpot_s), few=1, many=10))
simple, ten = ones[-1], tens[-1]
figures.comparison({"one at a time": simple, "batches of 10": ten})

# %% [markdown]
# ## Exercise: a nearly empty batch
#
# Twelve prompts for a rank at batch size 10 make a batch of 10 and one of 2. The second has a fifth of the prompts. **How
# long does a step for 2 sequences take, in % of a step for 10?** The cell measures both three times.

# %%
answer = ...

twos = []
for _ in range(3):
    twos.append(workers.generate(prompts[: 2 * workers.world_size], article, batch_size=2))
lesson.check("nearly-empty-batch", answer, twos, tens)

# %%
print(explain_step(ratios(tens, twos, lambda run: run.mean_tpot_s), few=2, many=10))

# %% [markdown]
# ## Same answers?
#
# Sums are rounded differently for other shapes. float32 keeps seven digits, so that batched and one at a time give the
# same text, unless two tokens are as good as equally likely. bfloat16, in which most GPUs compute unless you ask
# otherwise, keeps between two and three: there, two tokens that are nearly equally likely can change places, and from
# there the texts part. Count them, in the dtype of the runs above and in float32:

# %%
pairs = {simple.dtype: (simple, ten)}
if simple.dtype != "float32":
    pairs["float32"] = [workers.generate(prompts, run.settings, dtype="float32") for run in (simple, ten)]
for dtype, (one, other) in pairs.items():
    same = sum(a == b for a, b in zip(one.outputs, other.outputs, strict=True))
    print(f"{dtype}: {same} of {len(prompts)} outputs are the same")

# %% [markdown]
# ## Two token counts
#
# A model ends its text with an *end-of-sequence* token. A batch goes on until its **last** sequence has ended; those
# that ended before are computed further, and what comes out is thrown away. So there are two counts: the **new tokens**
# that users get, and the **computed tokens**. Throughput means the first. Here are four prompts in one batch, on one
# rank, with up to 40 new tokens each:

# %%
short = ["Question: What is 2 + 2? Answer:", "Say hello.", "The opposite of hot is", "Hello! How are you?"]
uneven = workers.generate(short, article, ranks=1, batch_size=4, max_new_tokens=40)
for prompt, count, reason in zip(short, uneven.new_tokens, uneven.finish_reasons, strict=True):
    print(f"{count:3d} new tokens, ended by {reason:6s}: {prompt}")

# %% [markdown]
# ### Exercise: computed in vain
#
# The batch went on for all four until the last of them had ended. **How many tokens were computed that nobody gets?**
# (Where all texts end at the same step, or none before the limit of 40, it is none.)

# %%
answer = ...

lesson.check("in-vain", answer, uneven)

# %% [markdown]
# Then look. The batch's record has both counts, and its padding:

# %%
columns = ["rank", "prompt_tokens", "padding_tokens", "new_tokens", "computed_tokens", "decode_s"]
uneven.table("batches")[columns]

# %% [markdown]
# ## Explore
#
# Move the **batch size** slider and press **Run**: the model is loaded already. With **Live** on, moving a control is
# enough. In the timeline, hatched orange is waste: padding, and steps after a sequence's end.
# Things to try:
#
# - batch sizes 1, 4, 10: where does the throughput stop growing? What happens to TTFT?
# - set the number of prompts to 10 for each worker (20 for 2 workers). Batch size 8 then makes batches of 8 and 2. Look
#   at the timeline: what does the small batch cost? Is batch size 10 or 5 better?
# - tick **auto** beside the slider: the kit finds a size that fits into memory and divides evenly. The list of runs
#   says which it was.

# %%
from nbkit import dashboards

in_eights = nbkit.ARTICLE | {"batch_size": 8}
explore = dashboards.Explore(workers, **in_eights, model=MODEL, max_new_tokens=NEW_TOKENS)
explore

# %% [markdown]
# ## What you have learned
#
# A batch shares each reading of the weights among its prompts: more throughput, at the price of padding, of tokens
# computed for sequences that have ended, and of a longer time to first token. How much it brings is how little longer a
# step takes for more sequences, and that decides, too, what a last, nearly empty batch costs. Both differ between
# machines, and you have measured them on yours.

# %%
lesson.score()

# %% [markdown]
# [Solutions](../lessons/solutions/03_batches.py); `%run -i ../lessons/solutions/03_batches.py` tries them here.
#
# The dashboard above stays alive as long as this notebook's kernel. When you are done, shut the kernel down (menu
# *Kernel*), or run `workers.close()` in a cell: that frees the memory of the ranks, and the dashboard starts them again
# when you press its button.
#
# Next: [04_scaling](04_scaling.ipynb): more workers.
