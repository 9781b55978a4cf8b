"""Run: what came back from one generation, whole: outputs in the prompts' order, records, settings, machine.

It outlives the session as JSON with a schema version; old files load.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nbkit.errors import InputError, file_name, shorten
from nbkit.files.atomic_write import write_atomically
from nbkit.files.json_files import read_json
from nbkit.records import (
    BatchRecord,
    BatchTotals,
    Fallback,
    Latencies,
    LoadSample,
    OutOfMemory,
    Output,
    OutputTimes,
    RankRecord,
)
from nbkit.records.engine_spec import ENGINES, EngineSpec
from nbkit.records.request import Conversation
from nbkit.records.run_checks import as_of_now, check_consistent
from nbkit.records.run_tables import summary_of, table_of, timed
from nbkit.records.settings import Settings
from nbkit.records.stored import Damaged, record_of
from nbkit.records.stored_times import columns_of, times_of

if TYPE_CHECKING:
    import pandas

SCHEMA_VERSION = 9
"""1 had no ``load_samples``; 1 and 2 had no ``prompt_tokens`` and no ``order_s``; before 4 all were batches; before
5 prompts were strings, and nothing was said of fallbacks and of the model's generation rules; before 6 the ranks'
numbers were always 0, 1, ...; before 7 what the first time costs was not told apart from the other parts; before 8
nothing was said of when an output's tokens came, and a Run was never of a bulk: of one attempt, in which no
prompt failed; before 9 nothing was said of when each step of a batch ended, nor of what the steps of an engine in
flight worked on."""
PARTS = ("warm-up", "tokenise", "compile", "prefill", "decode", "detokenise", "waiting", "gather", "other")
"""Where a rank's seconds go; they add up to the wall time of the Run."""
COLUMNS = ("prompts", "outputs", "prompt_tokens", "new_tokens", "finish_reasons", "batches", "times")
"""What has a value a prompt or a batch, and may stand in a file."""
PAID_ONCE = ("warm-up", "compile")
"""Of these parts most runs have none: a legend names them only where there is any."""


@dataclass(frozen=True)
class Run:
    """What came back from one generation.

    ``outputs``, ``prompt_tokens``, ``new_tokens`` and ``finish_reasons`` are in the
    prompts' order; where a run was stopped early, unfinished prompts have ``None``, 0,
    0 and ``None``. ``world_size`` and ``ranks`` are those that took part, ``rank_numbers`` the
    numbers they have among the workers.
    ``load_samples`` are there if a ``Monitor`` watched the run. ``out_of_memory`` tells of
    sequences that were begun anew, fewer at a time, because a rank's memory was too small.
    ``fallback`` tells of another engine than the one asked for. ``generation_rules`` are what
    the model's ``generation_config.json`` asks for and the outputs keep; ``unheeded_rules``
    what it asks for beside that, where the settings decide instead or there is one beam.
    ``times``, in the prompts' order, are when each output's tokens came; None where it is not known.

    A Run of a bulk (``open``) tells more. ``failed_prompts`` have an error in the place of an output, which
    ``nbkit.Bulk.open(folder).failures()`` tells. It took so many ``attempts``; between them the clock stands
    still, and ``paused_s`` is how long that was: pauses, new ranks, loading, warm-up. 0: nothing is known of times.
    """

    settings: Settings
    prompts: Sequence[str | Conversation]
    outputs: Sequence[str | None]
    prompt_tokens: Sequence[int]
    new_tokens: Sequence[int]
    finish_reasons: Sequence[str | None]
    batches: Sequence[BatchRecord]
    ranks: list[RankRecord]
    world_size: int
    machine: dict[str, Any]
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    load_samples: list[LoadSample] = field(default_factory=list)
    out_of_memory: list[OutOfMemory] = field(default_factory=list)
    fallback: Fallback | None = None
    generation_rules: dict[str, Any] = field(default_factory=dict)
    unheeded_rules: dict[str, Any] = field(default_factory=dict)
    rank_numbers: list[int] = field(default_factory=list)
    times: Sequence[OutputTimes | None] = ()
    failed_prompts: int = 0
    attempts: int = 1
    paused_s: float = 0.0

    def __post_init__(self) -> None:
        # A column that stands in a file is read when it is asked for its length.
        if isinstance(self.times, list | tuple) and not self.times:
            object.__setattr__(self, "times", [None] * len(self.prompts))
        if not self.rank_numbers:
            object.__setattr__(self, "rank_numbers", list(range(self.world_size)))

    @classmethod
    def assemble(
        cls,
        settings: Settings,
        prompts: Sequence[str | Conversation],
        finished: Sequence[tuple[BatchRecord, Sequence[Output]]],
        ranks: Sequence[RankRecord],
        world_size: int,
        machine: dict[str, Any],
        out_of_memory: Sequence[OutOfMemory] = (),
        fallback: Fallback | None = None,
        generation_rules: dict[str, Any] | None = None,
        unheeded_rules: dict[str, Any] | None = None,
        rank_numbers: Sequence[int] = (),
    ) -> Run:
        """Put the ranks' batches, in whatever order they came, into the prompts' order."""
        by_index = {output.index: output for _, outputs in finished for output in outputs}
        in_order = [by_index.get(index) for index in range(len(prompts))]
        return cls(
            settings=settings,
            prompts=list(prompts),
            outputs=[output.text if output else None for output in in_order],
            prompt_tokens=[output.prompt_tokens if output else 0 for output in in_order],
            new_tokens=[output.new_tokens if output else 0 for output in in_order],
            finish_reasons=[output.finish_reason if output else None for output in in_order],
            batches=sorted((record for record, _ in finished), key=lambda b: (b.begin_s, b.rank)),
            ranks=sorted(ranks, key=lambda r: r.rank),
            world_size=world_size,
            machine=machine,
            out_of_memory=list(out_of_memory),
            fallback=fallback,
            generation_rules=generation_rules or {},
            unheeded_rules=unheeded_rules or {},
            rank_numbers=sorted(rank_numbers),
            times=[output.times if output else None for output in in_order],
        )

    @property
    def engine(self) -> str:
        """The engine that generated: the one asked for, or the one fallen back to."""
        return self.fallback.engine if self.fallback else self.settings.engine

    @property
    def engine_spec(self) -> EngineSpec:
        """The facts of the engine that generated."""
        return ENGINES[self.engine]

    @property
    def dtype(self) -> str:
        """What the ranks computed in; what was asked for where no rank tells, maybe ``auto``."""
        return self.ranks[0].dtype if self.ranks else self.settings.dtype

    @property
    def engine_label(self) -> str:
        """The engine as figures name it: one that was fallen back to beside the one asked for."""
        return self.engine if self.fallback is None else f"{self.engine} (asked: {self.settings.engine})"

    @property
    def is_in_flight(self) -> bool:
        """Whether a sequence joined whenever another had ended, instead of batch after batch."""
        return self.engine_spec.in_flight

    @property
    def batch_size(self) -> int:
        """Sequences decoded side by side on a rank: as asked for, or what ``auto`` became."""
        asked = self.settings.batch_size if self.engine_spec.batches else 1
        if isinstance(asked, int):
            return asked
        chosen = [rank.batch_size for rank in self.ranks] or [len(batch.indices) for batch in self.batches]
        return max(chosen, default=0)

    @property
    def finished_prompts(self) -> int:
        """Prompts that have an output."""
        return len(self.outputs) - self.outputs.count(None)

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do: every prompt has an output, or has failed."""
        return self.finished_prompts + self.failed_prompts == len(self.prompts)

    @property
    def is_timed(self) -> bool:
        """Whether anything is known of its times."""
        return bool(self.ranks) or bool(self.batches)

    @property
    def untimed_prompts(self) -> int:
        """Prompts with an output of which no batch tells: made before a kill, or by an nbkit that kept no times."""
        return max(0, self.finished_prompts - self._timed[0])

    @cached_property
    def _timed(self) -> tuple[int, int]:
        return timed(self)

    @property
    def idle_ranks(self) -> int:
        """Ranks that were started and had no part in this run."""
        return self.ranks[0].world_size - self.world_size if self.ranks else 0

    @cached_property
    def begin_s(self) -> float:
        """When the first rank began, in seconds since the job was submitted."""
        return min([r.begin_s for r in self.ranks] + [b.begin_s for b in self.batches], default=0.0)

    @cached_property
    def end_s(self) -> float:
        """When the last rank ended, in seconds since the job was submitted."""
        return max([r.end_s for r in self.ranks] + [b.end_s for b in self.batches], default=0.0)

    @property
    def wall_s(self) -> float:
        """Wall time in seconds, from the first rank's begin to the last rank's end."""
        return self.end_s - self.begin_s

    @property
    def warm_up_s(self) -> float:
        """What the slowest rank paid once, in seconds: before the run; in it where ``Settings.warm_up`` is False."""
        return max((rank.warm_up_s + rank.cold_start_s for rank in self.ranks), default=0.0)

    @property
    def total_new_tokens(self) -> int:
        """Tokens that users get."""
        return sum(self.new_tokens)

    @cached_property
    def totals(self) -> BatchTotals:
        """Sums over all batches."""
        totals = BatchTotals()
        for batch in self.batches:
            totals.add(batch)
        return totals

    @property
    def total_computed_tokens(self) -> int:
        """Tokens the devices decoded, those after a sequence's end included."""
        return self.totals.computed_tokens

    @property
    def tokens_per_second(self) -> float:
        """Throughput: tokens that users get, per second of wall time; NaN where that is not known.

        Without the tokens of ``untimed_prompts``.
        """
        if not self.wall_s:
            return math.nan if self.untimed_prompts else 0.0
        return self._timed[1] / self.wall_s

    @property
    def computed_tokens_per_second(self) -> float:
        """Tokens computed per second of wall time, whether or not a user gets them."""
        return self.total_computed_tokens / self.wall_s if self.wall_s else 0.0

    @property
    def padding_share(self) -> float:
        """Share of the prefill's positions that were padding, 0 to 1."""
        return self.totals.padding_share

    @property
    def mean_ttft_s(self) -> float:
        """Time to first token in seconds, from its batch's begin, a mean over prompts."""
        return self.totals.mean_ttft_s

    @property
    def mean_tpot_s(self) -> float:
        """Time per output token in seconds: decode seconds per step after the first."""
        return self.totals.mean_tpot_s

    @cached_property
    def latencies(self) -> Latencies:
        """Percentiles of TTFT, inter-token and end-to-end latency, over the outputs that are finished."""
        return Latencies.of(self.times)

    @property
    def peak_memory_bytes(self) -> int:
        """The most memory any rank held while it computed, in bytes; see ``BatchRecord``."""
        return self.totals.peak_memory_bytes

    def time_parts(self, rank: int) -> dict[str, float]:
        """Where one rank's seconds went: ``PARTS`` to seconds, adding up to ``wall_s``.

        ``warm-up`` is 0 where that was before the run.
        ``other`` is what no clock was set on: the loop between batches, and in a
        stopped run the batch that was given up. Of a bulk it is also the work that was lost
        with a rank, and the attempts in which this one had no part.
        """
        own = [b for b in self.batches if b.rank == rank]
        parts = {
            "warm-up": sum(r.cold_start_s for r in self.ranks if r.rank == rank),
            "tokenise": sum(b.tokenize_s for b in own) + sum(r.order_s for r in self.ranks if r.rank == rank),
            "compile": sum(b.compile_s for b in own),
            "prefill": sum(b.prefill_s for b in own),
            "decode": sum(b.decode_s for b in own),
            "detokenise": sum(b.detokenize_s for b in own),
            "waiting": sum(r.waiting_s for r in self.ranks if r.rank == rank),
            "gather": sum(r.gather_s for r in self.ranks if r.rank == rank),
        }
        parts["other"] = self.wall_s - sum(parts.values())
        return parts

    def summary(self) -> dict[str, Any]:
        """One row of a comparison: what was asked and what it brought, units in the names.

        ``TTFT ms`` and ``TPOT ms`` are means; percentiles say so, and are None where they are not known.
        """
        return summary_of(self)

    def table(self, of: Literal["outputs", "batches", "ranks", "load"] = "outputs") -> pandas.DataFrame:
        """A pandas table with one row a prompt, a batch, a rank or a sample of the load."""
        return table_of(self, of)

    def to_dict(self) -> dict[str, Any]:
        """The Run as plain dicts, lists, strings and numbers."""
        # Columns may stand in a file, where asdict would leave them as they are.
        others = dataclasses.replace(self, **{name: [] for name in COLUMNS})  # type: ignore[arg-type]
        return {
            "schema_version": SCHEMA_VERSION,
            **dataclasses.asdict(others),
            **{
                name: list(getattr(self, name))
                for name in ("outputs", "prompt_tokens", "new_tokens", "finish_reasons")
            },
            "prompts": [p.to_list() if isinstance(p, Conversation) else p for p in self.prompts],
            "batches": [dataclasses.asdict(batch) for batch in self.batches],
            "times": columns_of(self.times),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Run:
        """The Run that ``to_dict`` gave.

        Raises
        ------
        InputError
            The data are not a Run, or of a schema version this nbkit does not know.
        """
        version = data.get("schema_version") if isinstance(data, dict) else None
        if type(version) is not int or version not in range(1, SCHEMA_VERSION + 1):
            raise InputError(
                f"not a Run of schema version 1 to {SCHEMA_VERSION} (found {shorten(version)}); "
                "a newer file needs a newer nbkit, any other is no Run."
            )
        try:
            fields, settings = as_of_now(version, {key: data[key] for key in data if key != "schema_version"})
            times = times_of(fields.pop("times")) if "times" in fields else []
            # Settings have checked themselves, and so have times.
            stored = record_of(cls, {**fields, "settings": {}})
            run = dataclasses.replace(stored, settings=settings, times=times or stored.times)
            check_consistent(run)
        except Damaged as error:
            raise InputError(f"the data of this Run are damaged: {error}.") from None
        except RecursionError:
            raise InputError("the data of this Run are damaged: lists within lists, too deep to read.") from None
        return run

    def save(self, path: str | Path) -> Path:
        """Write the Run as JSON, whole or not at all, and return the path.

        Raises
        ------
        InputError
            The file cannot be written.
        """
        return write_atomically(path, json.dumps(self.to_dict(), ensure_ascii=False, indent=1))

    @classmethod
    def load(cls, path: str | Path) -> Run:
        """Read a Run that ``save`` wrote.

        Raises
        ------
        InputError
            The file cannot be read or is not a Run.
        """
        data = read_json(path, "saved Run")
        try:
            return cls.from_dict(data)
        except InputError as error:
            raise InputError(f"{file_name(path)}: {error}") from None

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """The Run of a finished bulk, by its folder. Little of it is in memory, however many prompts it has.

        Nothing is read of prompts, outputs and batches until they are asked for; then the file is gone
        through once for where its lines begin and for the counts, and texts are read one by one. Prompts
        that failed have None, 0, 0 and None as those of a stopped run, and ``failed_prompts`` counts
        them; one that could not be read is an empty string. ``settings`` and ``machine`` are those of the beginning.

        Attempts are laid end to end on the clock, see ``attempts``. A rank that was killed has lost
        what it was at: that is part of its ``other`` time up to when the loss was seen, or, where the owner
        was killed too, up to the last batch of any rank. Of outputs that were written in the moment before, no
        batch may tell: ``untimed_prompts``. Of a bulk that an earlier nbkit has finished nothing is known of times.

        Raises
        ------
        InputError
            The folder holds no bulk, or one that is not finished: go on with it first.
        """
        from nbkit.records.bulk_run import open_run

        return open_run(folder)
