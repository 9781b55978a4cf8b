"""Solutions of 05_limits. In the notebook, after its cells: %run -i ../lessons/solutions/05_limits.py"""

import statistics

# Two operations for four bytes; 16 times as many for the same bytes.
lesson.check("intensity-at-1", 2 / 4)
lesson.check("intensity-at-16", 16 * 2 / 4)

# Bytes a second, over bytes a token.
lesson.check("tokens-limit", speed.bytes_per_s / shape.weight_bytes(speed.dtype))

# 936 / 13.5 = 69 tokens/s are possible.
lesson.check("percent-of-limit", 100 * 44 / (936 / 13.5))

# Between 1 and 2 where reading the weights is a part of the time; what it is here, the runs say.
gains = [new.tokens_per_second / old.tokens_per_second for old, new in zip(float32, bfloat16, strict=True)]
lesson.check("gain-of-bfloat16", statistics.median(gains))

# SmolLM2-135M in float32: 538 MB over 1,000 x 46.1 kB is about 12; in bfloat16 both are half as large.
lesson.check("as-large-as-the-weights", shape.weight_bytes("float32") / (1000 * shape.kv_bytes_per_position("float32")))
