from __future__ import annotations

import dataclasses

import pytest

from nbkit.errors import InputError
from nbkit.records.settings import ARTICLE, FIELDS, Settings, with_batch_size


def test_the_defaults_are_the_fastest_without_extras_and_the_articles_are_one_name_away():
    settings = Settings()
    assert (settings.engine, settings.batch_size, settings.split) == ("compiled", "auto", "dynamic")
    article = Settings(**ARTICLE)
    assert (article.engine, article.batch_size, article.split, article.order) == ("batched", 16, "static", "as_given")
    assert (article.max_new_tokens, article.ignore_eos) == (100, False)


@pytest.mark.parametrize("field", ["batch_size", "max_new_tokens", "pad_to_multiple_of"])
@pytest.mark.parametrize("value", [0, -1, "x", None, 1.5, True])
def test_a_count_must_be_a_whole_number_of_at_least_one(field, value):
    with pytest.raises(InputError) as caught:
        Settings(**{field: value})
    assert field in str(caught.value)
    assert str(value) in str(caught.value)
    assert "at least 1" in str(caught.value)


@pytest.mark.parametrize(("field", "value"), [("engine", "warp"), ("dtype", "int3"), ("engine", None)])
def test_a_choice_names_what_there_is(field, value):
    with pytest.raises(InputError, match=f"{field} must be one of .*, not {value!r}"):
        Settings(**{field: value})


@pytest.mark.parametrize("model", ["", "  ", None, 3])
def test_a_model_must_be_named(model):
    with pytest.raises(InputError, match="model must be"):
        Settings(model=model)


@pytest.mark.parametrize("value", [None, 0, 1, "yes"])
def test_ignoring_the_end_is_a_yes_or_a_no(value):
    with pytest.raises(InputError, match=f"ignore_eos must be True or False, not {value!r}"):
        Settings(ignore_eos=value)


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().batch_size = 2


def test_of_changes_checks_and_names_unknown_fields():
    base = Settings(batch_size=4)
    assert Settings.of(base, engine="simple") == dataclasses.replace(base, engine="simple")
    assert Settings.of() == Settings()
    with pytest.raises(InputError, match=r"no setting 'batchsize'; the settings are .*batch_size"):
        Settings.of(base, batchsize=3)
    with pytest.raises(InputError, match="batch_size"):
        Settings.of(base, batch_size=0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": "many"}, "batch_size must be a whole number of at least 1 or \"auto\", not 'many'"),
        ({"token_budget": 1}, "token_budget must be at least 2"),
        ({"temperature": -0.1}, "temperature must be a number, 0 to 100, not -0.1"),
        ({"temperature": True}, "temperature must be a number"),
        ({"temperature": float("nan")}, "temperature must be a number"),
        ({"top_p": 0}, "top_p must be a number, above 0 and at most 1, not 0"),
        ({"top_k": -1}, "top_k must be at least 0"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"stop": "END"}, "write stop=\\['END'\\]"),
        ({"stop": [""]}, "strings that are not empty"),
        ({"stop": [3]}, "stop must be a list of strings"),
        ({"quantization": "int2"}, "quantization must be one of none, int8, int4"),
        ({"quantization": "int8", "engine": "batched"}, "quantization='int8' needs engine='compiled'"),
        ({"tokenize_first": 1}, "tokenize_first must be True or False"),
    ],
)
def test_what_cannot_be_asked_for_says_why(wrong, message):
    with pytest.raises(InputError, match=message):
        Settings(**wrong)


def test_stop_strings_from_a_file_are_those_that_were_written():
    assert Settings(**dataclasses.asdict(Settings(stop=["a", "b"]))) == Settings(stop=("a", "b"))


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_says_what_it_is(name):
    info = FIELDS[name]
    assert info.label and info.label == info.label.strip()
    assert info.help and not info.help.endswith(".")
    assert info.line("more").endswith("; more.")
    default = getattr(Settings(), name)
    assert info.values.checked(name, default) == default
    assert info.in_words(default)


def test_every_field_is_described():
    assert list(FIELDS) == [field.name for field in dataclasses.fields(Settings)]


NO_DRAWS = "Not used at temperature 0: nothing is drawn."


@pytest.mark.parametrize(
    ("settings", "without"),
    [
        (
            {"engine": "simple", "temperature": 1.0},
            {
                "batch_size": "Not used by simple: it takes one prompt at a time.",
                "token_budget": "Not used by simple: it takes one prompt at a time.",
                "pad_to_multiple_of": "Not used by simple: it takes one prompt at a time.",
                "quantization": "Not used by simple: only compiled has it.",
            },
        ),
        ({"engine": "batched", "temperature": 1.0}, {"quantization": "Not used by batched: only compiled has it."}),
        (
            {"engine": "compiled"},
            {
                "pad_to_multiple_of": "Not used by compiled: it pads no batches.",
                "top_p": NO_DRAWS,
                "top_k": NO_DRAWS,
                "seed": NO_DRAWS,
            },
        ),
    ],
)
def test_a_field_without_effect_says_why(settings, without):
    asked = Settings(**settings)
    assert {name: said for name, info in FIELDS.items() if (said := info.why_not(asked))} == without
    assert not any(FIELDS[name].always_applies for name in without)


def test_what_takes_the_effect_of_others_away_always_has_one():
    """So that it can be told in one go what has an effect: a grid and the widgets rely on it."""
    always = [name for name, info in FIELDS.items() if info.always_applies]
    assert {"engine", "temperature"} <= set(always)


def test_schedules_and_batch_sizes_are_told_in_one_way():
    assert Settings(split="static", order="as_given").schedule_label == "static, as given"
    assert with_batch_size("batched", 16) == "batched, batch size 16"
    assert with_batch_size("compiled", "auto", is_short=True) == "compiled auto"
    assert with_batch_size("simple", 1) == with_batch_size("simple", 1, is_short=True) == "simple"
    assert with_batch_size("batched", 4, "batched (asked: compiled)") == "batched (asked: compiled), batch size 4"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("batch_size", "auto", "auto"),
        ("batch_size", "8", 8),
        ("token_budget", "none", None),
        ("top_p", "0.5", 0.5),
        ("engine", "simple", "simple"),
        ("ignore_eos", "yes", True),
        ("stop", " END", (" END",)),
        ("model", "m/n", "m/n"),
    ],
)
def test_a_command_lines_text_is_read(name, text, value):
    assert FIELDS[name].values.read("--option", text) == value


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("batch_size", "--option takes auto or a whole number of at least 1, not 'x'"),
        ("token_budget", "--option takes none or a whole number of at least 2, not 'x'"),
        ("top_p", "--option takes a number, not 'x'"),
        ("ignore_eos", "--option takes yes or no, not 'x'"),
    ],
)
def test_a_text_that_is_no_value_says_what_would_be(name, message):
    with pytest.raises(InputError, match=message):
        FIELDS[name].values.read("--option", "x")


@pytest.mark.parametrize(
    ("field", "most"),
    [
        ("batch_size", 10**6),
        ("max_new_tokens", 10**8),
        ("token_budget", 10**12),
        ("top_k", 10**8),
        ("seed", 2**63 - 1),
        ("pad_to_multiple_of", 65_536),
    ],
)
def test_a_number_beyond_all_sense_is_refused_before_any_work(field, most):
    assert getattr(Settings(**{field: most}), field) == most
    for beyond in (most + 1, 10**30, 10**5000):
        with pytest.raises(InputError, match=f"{field} must be at most {most:,}, not ") as caught:
            Settings(**{field: beyond})
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["\ud800", "\udcff", "a\udfffb"])
@pytest.mark.parametrize("field", ["model", "engine", "dtype", "stop", "quantization", "special_tokens"])
def test_half_a_character_is_no_text(field, text):
    with pytest.raises(InputError, match=field) as caught:
        Settings(**{field: [text] if field == "stop" else text})
    str(caught.value).encode()


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(
    "value",
    ["x" * 100_000, ["x" * 100_000, ""], 10**5000, {"x" * 100_000: 1}, b"x" * 100_000],
    ids=["text", "list", "number", "dict", "bytes"],
)
def test_a_long_value_is_quoted_in_part(name, value):
    if name == "model" and isinstance(value, str):
        return  # refused where it is looked for
    with pytest.raises(InputError, match=name) as caught:
        Settings(**{name: value})
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("name", ["batch_size", "token_budget", "top_p", "ignore_eos"])
def test_a_long_text_that_is_no_value_is_quoted_in_part(name):
    with pytest.raises(InputError) as caught:
        FIELDS[name].values.read("--option", "x" * 100_000)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("settings", ["x", 5, {"batch_size": 3}, ["x" * 100_000]])
def test_what_are_no_settings_is_said(settings):
    with pytest.raises(InputError, match="settings must be Settings, not ") as caught:
        Settings.of(settings, batch_size=4)
    assert len(str(caught.value)) < 200
