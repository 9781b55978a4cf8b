from __future__ import annotations

from example_runs import article
from hypothesis import given
from hypothesis import strategies as st

from nbkit.engines.sequence_end import SequenceEnd


def end(tiny, **settings):
    return SequenceEnd(article(**{"max_new_tokens": 30, **settings}), tiny)


@given(
    st.text("abc", min_size=1, max_size=30), st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=3)
)
def test_a_stop_string_ends_a_sequence_at_its_last_letter(tiny, text, stop):
    tokens = tiny.tokenizer(text, add_special_tokens=False).input_ids
    cut, reason = end(tiny, stop=stop).cut(tokens)
    ends = [text.find(each) + len(each) for each in stop if each in text]
    assert len(cut) == min(ends, default=len(tokens))
    assert reason == ("stop" if ends else "length")
    [shown] = end(tiny, stop=stop).text([text])
    assert not any(each in shown for each in stop)
    assert text.startswith(shown)


def test_an_end_of_sequence_token_ends_unless_it_is_ignored(tiny):
    eos = tiny.eos_token_ids[0]
    assert end(tiny).reason([5, eos]) == "stop"
    assert end(tiny, ignore_eos=True).reason([5, eos]) is None
    assert end(tiny, max_new_tokens=2).reason([5, 6]) == "length"
