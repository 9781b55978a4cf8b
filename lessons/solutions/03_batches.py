"""Solutions of 03_batches. In the notebook, after its cells: %run -i ../lessons/solutions/03_batches.py"""

import statistics

# The longest prompt's tokens, rounded up to a multiple of 8.
longest = max(mask.count("#") for mask in masks)
lesson.check("row-length", 8 * -(-longest // 8))

# Ten, divided by how much longer a step takes for ten sequences, and a little less or more by what else a run does.
rates = [statistics.median(run.tokens_per_second for run in runs) for runs in (tens, ones)]
lesson.check("gain-of-ten", rates[0] / rates[1])

steps_s = [statistics.median(run.mean_tpot_s for run in runs) for runs in (twos, tens)]
lesson.check("nearly-empty-batch", 100 * steps_s[0] / steps_s[1])

# All go on until the last has ended.
lesson.check("in-vain", sum(max(uneven.new_tokens) - count for count in uneven.new_tokens))
