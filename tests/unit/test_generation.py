from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
from example_runs import article, batch, outputs, rank_record

from nbkit.engines import BatchDone, Request
from nbkit.engines.prompt_check import check_prompts_fit
from nbkit.errors import InputError, WorkersError
from nbkit.inference.generation import ShareBegun, run_of
from nbkit.runtime import Emitted

ASKED = article(model="tiny-random", max_new_tokens=6)


def emitted(*shares: tuple[int, ...]) -> list[Emitted]:
    begun = [Emitted(rank, ShareBegun(len(s), 0.0, 1.0, 4)) for rank, s in enumerate(shares)]
    return begun + [Emitted(rank, BatchDone(batch(rank, s), tuple(outputs(s)))) for rank, s in enumerate(shares)]


def test_a_prompt_that_just_fits_is_taken_and_one_token_more_is_not(tiny):
    check_prompts_fit([Request(7, "x" * 250)], tiny, ASKED)
    with pytest.raises(InputError, match=r"prompt 7 has 251 tokens; with max_new_tokens=6 .*context of 256"):
        check_prompts_fit([Request(7, "x" * 251)], tiny, ASKED)


def test_new_tokens_must_leave_room_for_a_prompt(tiny):
    with pytest.raises(InputError, match="max_new_tokens=256 leaves no room"):
        check_prompts_fit([Request(0, "x")], tiny, article(max_new_tokens=256))


def test_a_model_that_names_no_context_takes_any_prompt(tiny):
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=tiny.config.vocab_size))
    check_prompts_fit([Request(0, "x" * 10_000)], dataclasses.replace(tiny, config=config), ASKED)
    with pytest.raises(InputError, match="prompt 0"):
        check_prompts_fit([Request(0, "x" * 10_000)], tiny, ASKED)


def test_characters_of_several_bytes_are_counted_as_tokens(tiny):
    check_prompts_fit([Request(0, "é" * 250)], tiny, ASKED)
    with pytest.raises(InputError, match="prompt 0 has 251 tokens"):
        check_prompts_fit([Request(0, "é" * 251)], tiny, ASKED)


def test_a_whole_account_makes_a_run():
    ranks = [rank_record(0, 2, 4), rank_record(1, 2, 4)]
    made = run_of(emitted((0, 1), (2, 3)), list("abcd"), ASKED, ranks, is_partial=False)
    assert made.is_complete
    assert made.world_size == 2


@pytest.mark.parametrize("shares", [((0, 1), (2,)), ((0, 1), (1, 2, 3)), ((0, 1, 2, 3), (0,))])
def test_an_account_with_a_missing_or_doubled_prompt_is_refused(shares):
    ranks = [rank_record(0, 2, 4), rank_record(1, 2, 4)]
    with pytest.raises(WorkersError, match="does not add up"):
        run_of(emitted(*shares), list("abcd"), ASKED, ranks, is_partial=False)


def test_a_gather_that_brought_something_else_is_refused():
    with pytest.raises(WorkersError, match="3 gathered"):
        run_of(emitted((0, 1, 2, 3)), list("abcd"), ASKED, [rank_record(0, 1, 3)], is_partial=False)


def test_a_stopped_job_makes_a_partial_run():
    events = [Emitted(1, ShareBegun(2, 0.0, 1.0, 4)), *emitted((1,))]
    made = run_of(events, list("abcd"), ASKED, [], is_partial=True)
    assert made.finished_prompts == 1
    assert made.world_size == 2
    assert made.rank_numbers == [0, 1], "also the one that finished nothing"
