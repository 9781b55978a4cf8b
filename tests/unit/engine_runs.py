"""Engines run in this process: what their tests share."""

from __future__ import annotations

import dataclasses

from example_runs import article

from nbkit.engines import BatchDone, Request, make_engine
from nbkit.prompts import first_lines


class Watch:
    """A clock that ticks, and a stop after so many tokens' reports."""

    rank = 0
    device = "cpu"

    def __init__(self, stop_after: int | None = None) -> None:
        self._ticks = 0
        self._reports = 0
        self._stop_after = stop_after
        self.streamed = []
        self.tokens = []
        self.under_way = []

    @property
    def cancelled(self) -> bool:
        return self._stop_after is not None and self._reports >= self._stop_after

    @property
    def elapsed_s(self) -> float:
        self._ticks += 1
        return float(self._ticks)

    @property
    def steps(self) -> int:
        return self._reports

    def report(self, tokens, streamed, under_way) -> None:
        self._reports += 1
        self.under_way.append(under_way())
        self.tokens.append(tokens)
        self.streamed.append(streamed())


def generate(loaded, prompts, watch=None, batch_size=16, **settings):
    """What an engine yields for prompts that come in batches of ``batch_size``."""
    asked = article(**{"batch_size": batch_size, **settings})
    size = asked.prompts_a_batch
    engine = make_engine(asked, loaded, size)
    listed = [Request(i, text) for i, text in enumerate(prompts)]
    return list(engine.generate((listed[i : i + size] for i in range(0, len(listed), size)), watch or Watch()))


def outputs(yielded):
    """The outputs of all batches, in the prompts' order."""
    batches = [each for each in yielded if isinstance(each, BatchDone)]
    return sorted((output for batch in batches for output in batch.outputs), key=lambda output: output.index)


def ending_early(loaded):
    """The same model, with an end of sequence that it is sure to generate now and then."""
    often = outputs(generate(loaded, ["the king."], engine="simple", max_new_tokens=40, ignore_eos=True))
    letter = loaded.tokenizer(often[0].text.strip()[-1]).input_ids[0]
    return dataclasses.replace(loaded, eos_token_ids=(*loaded.eos_token_ids, letter), prepared={})


PROMPTS = [line.lower()[: 8 + 11 * i] for i, line in enumerate(first_lines(9))]
