"""A model that is built by whichever rank comes first, into a cache where nothing is."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("builder", [0, 1])
def test_the_model_is_whole_whichever_rank_builds_it(workers, tmp_path, builder):
    def build(cache: str) -> list[tuple[int, ...]]:
        import os

        from accelerate import Accelerator

        from nbkit import models

        accelerator = Accelerator()
        before = os.environ.get("NBKIT_CACHE")
        os.environ["NBKIT_CACHE"] = cache
        try:
            if accelerator.process_index == builder:
                models.locate("tiny-random", "float32")
            accelerator.wait_for_everyone()
            return [
                tuple(models.load("tiny-random", dtype).model.lm_head.weight.shape)
                for dtype in ("float32", "bfloat16")
            ]
        finally:
            del os.environ["NBKIT_CACHE"]
            if before is not None:
                os.environ["NBKIT_CACHE"] = before

    assert workers.run(build, str(tmp_path)) == [[(33, 32), (33, 32)]] * 2
