from __future__ import annotations

import dataclasses

import pytest

from nbkit.engines import make_engine
from nbkit.errors import InputError
from nbkit.settings import ENGINES, Settings


def test_the_defaults_are_the_published_demos():
    settings = Settings()
    assert (settings.batch_size, settings.max_new_tokens, settings.ignore_eos) == (16, 100, False)


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


def test_every_engine_of_the_settings_can_be_made(tiny):
    for engine in ENGINES:
        assert hasattr(make_engine(Settings(engine=engine), tiny), "generate")
