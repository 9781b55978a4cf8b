"""Solutions of 03_batches. In the notebook, after its cells: %run -i ../lessons/solutions/03_batches.py"""

import statistics

# The longest prompt's tokens, rounded up to a multiple of 8.
longest = max(mask.count("#") for mask in masks)
lesson.check("row-length", 8 * -(-longest // 8))

# Ten, divided by how much longer a step takes for ten sequences, and a little less or more by what else a run does.
gains = [ten.tokens_per_second / one.tokens_per_second for one, ten in zip(ones, tens, strict=True)]
lesson.check("gain-of-ten", statistics.median(gains))

shares = [two.mean_tpot_s / ten.mean_tpot_s for two, ten in zip(twos, tens, strict=True)]
lesson.check("nearly-empty-batch", 100 * statistics.median(shares))

# All go on until the last has ended.
lesson.check("in-vain", sum(max(uneven.new_tokens) - count for count in uneven.new_tokens))
