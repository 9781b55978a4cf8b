"""Grid: the settings that a sweep combines, and the order in which it measures them."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbkit.errors import InputError
from nbkit.records.settings import AUTO, Settings


@dataclass(frozen=True, slots=True)
class Point:
    """One combination: so many ranks, with these settings."""

    ranks: int
    settings: Settings

    @property
    def sequences(self) -> int:
        """Sequences that all ranks together decode side by side."""
        return self.ranks * int(self.settings.prompts_a_batch)

    @property
    def label(self) -> str:
        """In words: ``2 ranks, batched 16, float32, static, as given``."""
        asked = self.settings
        batch = "" if asked.engine == "simple" else f" {asked.batch_size}"
        ranks = f"{self.ranks} rank{'s' if self.ranks != 1 else ''}"
        return f"{ranks}, {asked.engine}{batch}, {asked.dtype}, {asked.split}, {asked.order.replace('_', ' ')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Every combination of these choices, so often.

    Parameters
    ----------
    ranks : sequence of int
        How many ranks work; the others that are started idle.
    batch_sizes : sequence of int
        The engine ``simple``, which has none, appears once for each other choice.
    engines, dtypes, splits, orders : sequence of str
        As in ``Settings``.
    base : Settings
        All that is the same for all: model, new tokens, padding, whether to go on past the
        end of a text (``ignore_eos=True`` gives every prompt equal work).
    repeats : int
        How often every combination is measured, at least 1.
    seed : int
        Of the order in which they are measured.

    Raises
    ------
    InputError
        A choice is empty, or a value cannot be used.
    """

    ranks: Sequence[int] = (1,)
    batch_sizes: Sequence[int] = (16,)
    engines: Sequence[str] = ("batched",)
    dtypes: Sequence[str] = ("auto",)
    splits: Sequence[str] = ("static",)
    orders: Sequence[str] = ("as_given",)
    base: Settings = field(default_factory=lambda: Settings(ignore_eos=True))
    repeats: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in CHOICES:
            object.__setattr__(self, name, _each_once(name, getattr(self, name)))
        for count in self.ranks:
            if not _is_whole(count) or count < 1:
                raise InputError(f"ranks must be whole numbers of at least 1, not {count!r}.")
        if AUTO in tuple(self.batch_sizes):  # type: ignore[comparison-overlap]
            raise InputError(
                "batch_sizes must be whole numbers: a sweep shows what each brings, auto is one of them."
            )
        if not _is_whole(self.repeats) or self.repeats < 1:
            raise InputError(f"repeats must be a whole number of at least 1, not {self.repeats!r}.")
        if not _is_whole(self.seed):
            raise InputError(f"seed must be a whole number, not {self.seed!r}.")
        if not isinstance(self.base, Settings):
            raise InputError(f"base must be Settings, not {self.base!r}; write base=Settings(max_new_tokens=20).")
        self.points()  # checks every value

    def points(self) -> list[Point]:
        """Every combination once, in the order of the choices."""
        combinations = itertools.product(
            self.engines, self.dtypes, self.splits, self.orders, self.batch_sizes, self.ranks
        )
        found: dict[Point, None] = {}
        for engine, dtype, split, order, batch_size, ranks in combinations:
            settings = Settings.of(
                self.base, engine=engine, dtype=dtype, split=split, order=order, batch_size=batch_size
            )
            found[Point(ranks, Settings.of(settings, batch_size=settings.prompts_a_batch))] = None
        return list(found)

    def plan(self) -> list[tuple[Point, int]]:
        """What to measure in which order: each point with the number of its repeat, from 0 on.

        Every repeat is a pass over all points in an order of its own, shuffled by the seed: a
        randomised complete block design (Montgomery, "Design and Analysis of Experiments",
        chapter 4), in which a machine that drifts makes no trend.
        """
        planned = []
        for repeat in range(self.repeats):
            block = self.points()
            random.Random(f"{self.seed}-{repeat}").shuffle(block)
            planned += [(point, repeat) for point in block]
        return planned

    def differences(self, other: Grid) -> dict[str, tuple[Any, Any]]:
        """What another grid measures in another way: a field to this one's value and the other's.

        Repeats do not count, and of ``base`` only what the choices leave as it is.
        """
        own, theirs = self._fields(), other._fields()
        return {name: (own[name], theirs[name]) for name in own if own[name] != theirs[name]}

    def _fields(self) -> dict[str, Any]:
        base = {name: value for name, value in dataclasses.asdict(self.base).items() if name not in CHOSEN}
        base["seed of the draws"] = base.pop("seed")
        return {name: getattr(self, name) for name in (*CHOICES, "seed")} | base

    def to_dict(self) -> dict[str, Any]:
        """The grid as plain dicts, lists, strings and numbers."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Grid:
        """The grid that ``to_dict`` gave.

        Raises
        ------
        InputError, KeyError, TypeError
            The data are no grid.
        """
        return cls(**{**data, "base": Settings(**data["base"])})


CHOICES = ("ranks", "batch_sizes", "engines", "dtypes", "splits", "orders")
CHOSEN = ("batch_size", "engine", "dtype", "split", "order")
"""The settings that a grid's choices take the place of."""


def whole_numbers(text: str, what: str) -> tuple[int, ...]:
    """Numbers separated by commas: ``"1,2, 4"`` is ``(1, 2, 4)``.

    Raises
    ------
    InputError
        The text holds something else; ``what`` names it in the message.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise InputError(f"{what} takes whole numbers of at least 1, separated by commas, not {text!r}.")
    return tuple(int(part) for part in parts)


def _each_once(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"{name} must be a list, for example {name}=[{values!r}].")
    once: list[Any] = []
    for value in values:
        # By type, too: True equals 1 and would be dropped before it can be refused.
        if not any(type(value) is type(kept) and value == kept for kept in once):
            once.append(value)
    if not once:
        raise InputError(f"{name} is empty; give at least one value.")
    return tuple(once)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
