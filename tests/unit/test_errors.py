from __future__ import annotations

import pickle

import pytest

from nbkit.errors import InputError, ModelError, NbkitError, file_name, shorten, shorten_all


class Unshowable:
    def __repr__(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("ab", "'ab'"),
        (b"ab", "b'ab'"),
        ("\ud800", "'\\ud800'"),
        (10**5000, "<a value of type int>"),
        (Unshowable(), "<a value of type Unshowable>"),
    ],
    ids=["text", "bytes", "surrogate", "digits", "unshowable"],
)
def test_a_value_is_quoted(value, shown):
    assert shorten(value) == shown


@pytest.mark.parametrize("value", ["x" * 10**6, b"x" * 10**6, ["x" * 10**6], 10**100, "\0" * 70, "'\"" * 40])
def test_a_long_value_is_quoted_in_part(value):
    assert len(shorten(value)) == 60
    assert shorten(value).endswith("...")


def test_of_many_values_some_are_quoted():
    assert shorten_all(["a", 1]) == "'a', 1"
    assert shorten_all(range(1000)).endswith(", 11 and 988 more")


def test_a_files_name_keeps_both_its_ends_and_can_be_printed():
    assert file_name("results/run.json") == "results/run.json"
    long = file_name("/folder/" + "x" * 10**5 + ".json")
    assert (len(long), long[:8], long[-5:]) == (299, "/folder/", ".json")
    assert file_name("a\0\udcff") == "a\\0\\udcff"


@pytest.mark.parametrize("kind", [NbkitError, InputError, ModelError])
def test_every_message_can_be_printed_and_sent(kind):
    error = kind("file \ud800 is not there")
    str(error).encode()
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "file \\ud800 is not there"
