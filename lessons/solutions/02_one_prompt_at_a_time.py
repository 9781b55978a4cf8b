"""Solutions of 02_one_prompt_at_a_time. In the notebook, after its cells:
%run -i ../lessons/solutions/02_one_prompt_at_a_time.py
"""

import math
import statistics

# Ten prompts on four ranks are 3, 3, 2 and 2.
lesson.check("busiest-share", math.ceil(len(prompts) / workers.world_size))

# The prefill gives the first token, and each decode pass one more.
lesson.check("passes", 1 + (NEW_TOKENS - 1))

# The gather's seconds over the wall time, on the slowest rank.
shares = [max(rank.gather_s for rank in run.ranks) / run.wall_s for run in all_ranks]
lesson.check("gather-percent", 100 * statistics.median(shares))

# The sum over the prompts of TTFT + (tokens - 1) x TPOT, if one rank is as fast alone as beside others, is near; how
# near the machine is to that, the measured runs say.
lesson.check("one-rank-alone", statistics.median(run.wall_s for run in one_rank))
