"""Run checks: whether the parts of a Run that was read from a file go together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nbkit.errors import InputError, shorten
from nbkit.records import BatchRecord
from nbkit.records.engine_spec import ENGINES
from nbkit.records.request import Conversation
from nbkit.records.settings import ARTICLE, FIELDS, Settings
from nbkit.records.stored import Damaged, value_of

if TYPE_CHECKING:
    from nbkit.records.run import Run

BEFORE_SCHEMA_4 = ARTICLE
"""Settings that older files leave out meant the article's way."""
MACHINE_TOLD: dict[str, type] = {"node": str, "processor": str, "cores": int, "memory_bytes": int}
"""What reports tell of the machine; the rest is for people who read the file."""


def check_consistent(run: Run) -> None:
    """Refuse a Run whose parts do not go together, from which no report could be made.

    Raises
    ------
    InputError
        Which part, and why.
    """
    in_order = (run.prompts, run.outputs, run.prompt_tokens, run.new_tokens, run.finish_reasons, run.times)
    if len({len(each) for each in in_order}) != 1:
        raise Damaged("its lists of prompts and outputs are not equally long")
    for number, batch in enumerate(run.batches):
        if not batch.indices and batch.decode_steps is None:
            raise Damaged(f"batches[{number}].indices is empty")
        if batch.step_times is not None and not batch.step_times.goes_with(len(batch.indices)):
            raise Damaged(f"batches[{number}].step_times does not tell of its {len(batch.indices)} indices")
    if len(set(run.rank_numbers)) != len(run.rank_numbers) or len(run.rank_numbers) != run.world_size:
        raise Damaged(f"rank_numbers does not name {run.world_size} ranks, as world_size says")
    for name in ("batches", "ranks"):
        for number, each in enumerate(getattr(run, name)):
            if each.rank not in run.rank_numbers:
                raise Damaged(f"{name}[{number}].rank is {each.rank}, which is none of its rank_numbers")
            if each.end_s < each.begin_s:
                raise Damaged(f"{name}[{number}] ends at {each.end_s} s, before it begins at {each.begin_s} s")
    for number, rank in enumerate(run.ranks):
        if rank.world_size < run.world_size:
            raise Damaged(
                f"ranks[{number}].world_size is {rank.world_size}, less than the {run.world_size} of the Run"
            )
    for number, sample in enumerate(run.load_samples):
        if (sample.rank is None) == (sample.gpu is None):
            raise Damaged(f"load_samples[{number}] should have either a rank or a gpu")
    if run.fallback and (run.fallback.engine not in ENGINES or not run.fallback.reasons):
        raise Damaged("fallback names no engine, or no reason")
    for name in MACHINE_TOLD:
        if name not in run.machine:
            raise Damaged(f"machine.{name} is missing")
        value_of(MACHINE_TOLD[name], run.machine[name], f"machine.{name}")


def as_of_now(version: int, fields: dict[str, Any]) -> tuple[dict[str, Any], Settings]:
    """The fields of a Run in a file of this schema version, and its settings.

    Raises
    ------
    InputError
        The settings are none, or an older file is damaged where it is made a newer one.
    """
    settings = fields.get("settings")
    if not isinstance(settings, dict):
        raise Damaged(f"settings should be an object, not {shorten(settings)}")
    if unknown := next((name for name in settings if name not in FIELDS), None):
        raise Damaged(f"settings has no field {shorten(unknown)}")
    try:
        asked = Settings(**(BEFORE_SCHEMA_4 if version < 4 else {}) | settings)
    except InputError as error:
        raise Damaged(f"settings: {str(error).removesuffix('.')}") from None
    if "prompt_tokens" not in fields:
        prompts = value_of(list[str | Conversation], fields.get("prompts"), "prompts")
        batches = value_of(list[BatchRecord], fields.get("batches"), "batches")
        fields = {**fields, "prompt_tokens": evenly_by_batch(len(prompts), batches)}
    return fields, asked


def evenly_by_batch(prompts: int, batches: Sequence[BatchRecord]) -> list[int]:
    """Tokens a prompt where a file tells only each batch's: shared out evenly, their sum kept.

    Raises
    ------
    InputError
        A batch tells of a prompt that is not there.
    """
    tokens = [0] * prompts
    for batch in batches:
        if any(index >= prompts for index in batch.indices):
            raise Damaged(f"a batch has the prompt {max(batch.indices)}, and there are {prompts} prompts")
        if not batch.indices:
            continue
        each, left_over = divmod(batch.prompt_tokens, len(batch.indices))
        for number, index in enumerate(batch.indices):
            tokens[index] = each + (number < left_over)
    return tokens
