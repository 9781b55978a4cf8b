"""Measuring devices on live ranks: ranges are wide, for other work may be under way on the machine."""

from __future__ import annotations

import json

import pytest

from nbkit.errors import InputError
from nbkit.measure import device_speed
from nbkit.measure.device_speed import measurement, on_rank
from nbkit.measure.device_speed.speed import DeviceSpeed
from nbkit.runtime.pool import Ranks


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path))


@pytest.fixture
def briefly(monkeypatch):
    """Measure in less time than a good measurement takes."""
    monkeypatch.setattr(measurement, "WINDOW_S", 0.01)


@pytest.fixture
def counted(monkeypatch):
    """The kinds of work that were measured."""
    kinds = []
    run = Ranks.run

    def counting(ranks, fn, *args):
        if fn is on_rank.rate_on_rank:
            kinds.append(args[0])
        return run(ranks, fn, *args)

    monkeypatch.setattr(Ranks, "run", counting)
    return kinds


def test_speeds_are_plausible_and_measured_once(workers, counted, monkeypatch):
    speed = device_speed.measure(workers)
    assert speed.ranks == 2
    assert 1e8 < speed.bytes_per_s < 1e14
    assert 1e8 < speed.flops_per_s < 1e16
    assert "2 rank(s) at once" in speed.source
    assert speed.dtype in ("float32", "bfloat16", "float16")
    assert {"sum", "matvec", "matmul"} == set(counted)

    counted.clear()
    assert device_speed.measure(workers, dtype=speed.dtype) == speed
    assert counted == []
    monkeypatch.setattr(measurement, "WINDOW_S", 0.01)
    device_speed.measure(workers, refresh=True)
    assert counted != []


def test_one_rank_alone_has_a_speed_of_its_own(workers, briefly):
    alone = device_speed.measure(workers, ranks=1)
    both = device_speed.measure(workers)
    assert (alone.ranks, both.ranks) == (1, 2)
    assert len(json.loads(device_speed.cache_file().read_text())) == 2


@pytest.mark.parametrize("kind", ["file", "list", "fields", "number"])
def test_damage_is_measured_anew(workers, counted, briefly, kind):
    kept_key, fields = known_entry(workers)
    damaged = {
        "file": "{",
        "list": "[1]",
        "fields": json.dumps({kept_key: {"name": "device"}}),
        "number": json.dumps({kept_key: {**fields, "bytes_per_s": -1}}),
    }[kind]
    device_speed.cache_file().write_text(damaged)
    assert device_speed.measure(workers).bytes_per_s > 0
    assert counted != []
    assert list(json.loads(device_speed.cache_file().read_text())) == [kept_key]


def test_a_cache_that_cannot_be_written_is_no_hindrance(workers, briefly, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NBKIT_CACHE", str(tmp_path / "file"))
    assert isinstance(device_speed.measure(workers), DeviceSpeed)


def test_what_cannot_be_measured_is_refused(workers):
    with pytest.raises(InputError, match="dtype must be one of auto, float32"):
        device_speed.measure(workers, dtype="int8")
    for ranks in (0, 3, True, 1.0):
        with pytest.raises(InputError, match="ranks must be a whole number from 1 to 2"):
            device_speed.measure(workers, ranks=ranks)


def known_entry(workers) -> tuple[str, dict[str, object]]:
    """The key under which these workers' speed is kept, and made-up fields."""
    setups = workers.run(on_rank.setup_on_rank, "auto")
    speed = {
        "name": "device",
        "dtype": setups[0].dtype,
        "bytes_per_s": 1.0,
        "flops_per_s": 1.0,
        "source": "",
        "ranks": 2,
    }
    return measurement._key(setups), speed
