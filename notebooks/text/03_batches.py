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

MODEL = "smollm2-135m"
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


for prompt, mask in zip(prompts[:5], workers.run(show_padding, prompts[:5], MODEL)[0], strict=True):
    print(f"{mask}  {prompt[:50]}")

# %% [markdown]
# Each `#` is a token of the prompt, each `.` is padding: computed all the same, and of no use to anyone.
#
# ## The article's batched demo, in one cell


# %%
def batched(prompts, model_name, batch_size):
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
            sequences = loaded.model.generate(**inputs, max_new_tokens=20, do_sample=False)
            new = sequences[:, inputs.input_ids.shape[1] :]
            answers += loaded.tokenizer.batch_decode(new, skip_special_tokens=True)
    return gather_object(answers)


answers = workers.run(batched, prompts, MODEL, 10)[0]
print(len(answers), "answers; the first:", answers[0])

# %% [markdown]
# ## Exercise: how much does a batch bring?
#
# **Predict:** how many times the throughput does a batch of 10 have, against one prompt at a time? Then run the cell.

# %%
prediction = 10.0  # times

article = nbkit.Settings(**nbkit.ARTICLE, model=MODEL, max_new_tokens=20)
simple = workers.generate(prompts, article, engine="simple")
ten = workers.generate(prompts, article, engine="batched", batch_size=10)

ratio = ten.tokens_per_second / simple.tokens_per_second
print(f"{simple.tokens_per_second:.0f} -> {ten.tokens_per_second:.0f} tokens/s: {ratio:.1f} times")
print(f"a step for 10 sequences takes {ten.mean_tpot_s / simple.mean_tpot_s:.1f} times as long as one for 1")
print("Well predicted." if abs(prediction / ratio - 1) < 0.25 else f"You said {prediction}. See the solution.")

# %% [markdown]
# <details><summary>Solution</summary>
#
# About ten, divided by how much longer a step takes for ten sequences; the second line says how much that is here. On a
# CPU it takes longer: reading the weights was only part of the work, with more rows the arithmetic itself takes time,
# and the CPU's matrix units are soon busy. A GPU has far more arithmetic for each byte it reads, so there a step hardly
# takes longer, and the gain stays near the batch size, up to much larger batches.
# </details>

# %%
from nbkit import figures

figures.comparison({"one at a time": simple, "batches of 10": ten})

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
# rank:

# %%
short = ["Question: What is 2 + 2? Answer:", "Say hello.", "The opposite of hot is", "Hello! How are you?"]
uneven = workers.generate(short, article, ranks=1, batch_size=4, max_new_tokens=40)
for prompt, count, reason in zip(short, uneven.new_tokens, uneven.finish_reasons, strict=True):
    print(f"{count:3d} new tokens, ended by {reason:6s}: {prompt}")

print(f"\n{uneven.total_new_tokens} new tokens of {uneven.total_computed_tokens} computed")
print(f"{100 * uneven.padding_share:.0f}% of the prompts' positions were padding")

# %% [markdown]
# (Where all texts end at the same step, or none before the limit of 40, the two counts are equal.) The batch's record
# has both, and its padding:

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
explore = dashboards.Explore(workers, **in_eights, model=MODEL, max_new_tokens=20)
explore

# %% [markdown]
# ## What you have learned
#
# A batch shares each reading of the weights among its prompts: more throughput, at the price of padding, of tokens
# computed for sequences that have ended, and of a longer time to first token. The last, nearly empty batch costs far
# more than its share of the prompts, and where a step takes as long for one sequence as for many, as much as a full
# one.
#
# Next: [04_scaling](04_scaling.ipynb): more workers.

# %%
workers.close()  # frees the ranks' memory; the dashboard starts them again when you press Run
