"""Batch: what a rank tells of prompts computed together, and the sums over batches.

Seconds named ``begin_s`` and ``end_s`` count from the moment the job was submitted,
on one clock that all ranks of a machine share.
"""

from __future__ import annotations

from dataclasses import dataclass

from nbkit.records.step_times import StepTimes


@dataclass(frozen=True, slots=True)
class StepWork:
    """What steps of an engine in flight worked on, as sums over these steps.

    So many ``prefills`` read ``prompts``, in ``positions`` with the padding, and ``squares`` sums their
    positions times the width in which they were read. Decode steps add up their sequences in
    ``sequence_steps``, and the positions that these attended to in ``cached_positions``.
    """

    prefills: int = 0
    prompts: int = 0
    positions: int = 0
    squares: int = 0
    sequence_steps: int = 0
    cached_positions: int = 0

    @classmethod
    def of_prefill(cls, prompts: int, rows: int, width: int) -> StepWork:
        """Of one prefill, of so many rows of ``width`` positions."""
        return cls(prefills=1, prompts=prompts, positions=rows * width, squares=rows * width * width)

    @classmethod
    def of_decode(cls, sequences: int, length: int) -> StepWork:
        """Of one decode step, in which each sequence attends to ``length`` positions."""
        return cls(sequence_steps=sequences, cached_positions=sequences * length)

    def __add__(self, other: StepWork) -> StepWork:
        return StepWork(
            self.prefills + other.prefills,
            self.prompts + other.prompts,
            self.positions + other.positions,
            self.squares + other.squares,
            self.sequence_steps + other.sequence_steps,
            self.cached_positions + other.cached_positions,
        )


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One batch on one rank; of an engine that lets sequences join while others go on, one window of time.

    Tokens: ``prompt_tokens`` were given and ``padding_tokens`` added to make the
    prompts equally long; ``new_tokens`` are what users get; ``computed_tokens`` are
    all positions the device decoded, those after a sequence's end included
    (sequences x steps). Seconds: ``prefill_s`` runs until the first new token is
    there (time to first token of the batch), ``decode_s`` from there to the last;
    ``compile_s`` went into compiling or capturing a step and is in neither.
    ``peak_memory_bytes`` is the most that was held during the batch, by torch on a GPU, by the rank's process
    on a CPU; 0 where it is not known (a system other than Linux, if the process had held more before).
    Of CPUs, files of schema version 7 and before have the most that the process had held since its start.

    Of a window, ``indices`` are the prompts that came to their end in it, and the tokens
    are all of theirs, whenever they were computed; the seconds are the window's own,
    and ``decode_steps`` are the steps made in it. ``first_token_s`` sums, over these
    prompts, the time from being taken to the first new token, and ``after_first_s`` that
    from there to the last. ``work`` is what its steps worked on, for whatever prompts: None where the engine
    cannot tell, or in files of schema version 8 and before. The four are None of a batch, in which all begin
    and end together.

    ``step_times`` are there for the first steps of a rank's run, see ``StepTimes``; None in older files.
    """

    rank: int
    indices: tuple[int, ...]
    prompt_tokens: int
    padding_tokens: int
    new_tokens: int
    computed_tokens: int
    tokenize_s: float
    prefill_s: float
    decode_s: float
    detokenize_s: float
    begin_s: float
    end_s: float
    peak_memory_bytes: int
    compile_s: float = 0.0
    decode_steps: int | None = None
    first_token_s: float | None = None
    after_first_s: float | None = None
    step_times: StepTimes | None = None
    work: StepWork | None = None

    @property
    def steps(self) -> int:
        """Decoding steps, the prefill's token counted as one: in a batch, tokens computed for each sequence."""
        if self.decode_steps is not None:
            return self.decode_steps + 1
        return self.computed_tokens // len(self.indices)


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """Sequences that did not fit into a rank's memory; they were begun anew, ``then`` at a time.

    ``at_s`` is on the Run's clock, ``sequences`` were decoded side by side.
    """

    rank: int
    at_s: float
    sequences: int
    then: int


@dataclass(slots=True)
class BatchTotals:
    """The sums over batches from which the figures of a Run, finished or under way, are made."""

    prompts: int = 0
    prompt_tokens: int = 0
    padding_tokens: int = 0
    new_tokens: int = 0
    computed_tokens: int = 0
    ttft_s: float = 0.0
    """Summed over prompts, each waiting for its batch's first token."""
    decode_s: float = 0.0
    """From the first token to the last: of each batch, or of each sequence that joined by itself."""
    steps_after_first: int = 0
    peak_memory_bytes: int = 0

    def add(self, batch: BatchRecord) -> None:
        """Count a finished batch."""
        self.prompts += len(batch.indices)
        self.prompt_tokens += batch.prompt_tokens
        self.padding_tokens += batch.padding_tokens
        self.new_tokens += batch.new_tokens
        self.computed_tokens += batch.computed_tokens
        if batch.first_token_s is None or batch.after_first_s is None:
            self.ttft_s += (batch.tokenize_s + batch.prefill_s) * len(batch.indices)
            self.decode_s += batch.decode_s
            self.steps_after_first += batch.steps - 1
        else:
            self.ttft_s += batch.first_token_s
            self.decode_s += batch.after_first_s
            self.steps_after_first += batch.new_tokens - len(batch.indices)
        self.peak_memory_bytes = max(self.peak_memory_bytes, batch.peak_memory_bytes)

    @property
    def padding_share(self) -> float:
        """Share of the prefill's positions that were padding, 0 to 1."""
        positions = self.padding_tokens + self.prompt_tokens
        return self.padding_tokens / positions if positions else 0.0

    @property
    def mean_ttft_s(self) -> float:
        """Time to first token in seconds, from when its batch, or it alone, was taken; a mean over prompts."""
        return self.ttft_s / self.prompts if self.prompts else 0.0

    @property
    def mean_tpot_s(self) -> float:
        """Time per output token after the first, in seconds: a mean over steps, or tokens where each joins alone."""
        return self.decode_s / self.steps_after_first if self.steps_after_first else 0.0
