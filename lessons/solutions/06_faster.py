"""Solutions of 06_faster. In the notebook, after its cells: %run -i ../lessons/solutions/06_faster.py"""

import statistics


def times(before, after):
    return statistics.median(
        new.tokens_per_second / old.tokens_per_second for old, new in zip(before, after, strict=True)
    )


# 20 prompts in 32 places.
lesson.check("empty-places", 100 * 12 / 32)

# How much of a step is shared by its sequences is a matter of the machine: the runs say it.
lesson.check("gain-of-large-batches", times(runs["article"], runs["large batches"]))

lesson.check("gain-of-ranks", times(one, runs["compiled"]))

lesson.check("gain-of-int8", times(runs["float32"], runs["int8 weights"]))

# Measure, then choose: padded batches of prompts of like length, or places that prompts join as soon as one is free.
by_length = {"batch_size": "auto", "split": "dynamic", "order": "by_length"}
candidates = [{"engine": engine, **by_length} for engine in ("batched", "compiled")]
tried = [
    statistics.median(
        workers.generate(uneven_prompts, challenge.settings(choice)).tokens_per_second for _ in range(3)
    )
    for choice in candidates
]
lesson.check("challenge", candidates[tried.index(max(tried))])
