"""Solutions of 04_scaling. In the notebook, after its cells: %run -i ../lessons/solutions/04_scaling.py"""

import statistics

# 100 / 5 = 20 prompts: a batch of 16 and one of 4. 100 / 4 = 25: 16 and 9. The fifth GPU only makes the second batch
# emptier. In general: ceil(ceil(100 / n) / 16).
lesson.check("batches-on-five", 2)
lesson.check("batches-on-four", 2)

# One rank runs two batches, and each of two ranks one.
lesson.check("speed-up-of-two", 2)

shares = [100 * account.losses["gather and synchronisation"] / account.wall_s for account in accounts]
lesson.check("gather-percent", statistics.median(shares))

# At most 16 prompts each: 100 / 7 is 15 at most, 100 / 6 is 17.
lesson.check("fewest-gpus", 7)
