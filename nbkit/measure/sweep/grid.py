"""Grid: the settings that a sweep combines, and the order in which it measures them."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nbkit.errors import InputError, shorten
from nbkit.records.setting_fields import with_spaces
from nbkit.records.settings import AUTO, FIELDS, MOST_SEED, Settings, with_batch_size
from nbkit.runtime.pool import MOST_RANKS

MOST_REPEATS = 10_000

SHORT_FORMS = {
    "ranks": "ranks",
    "engine": "engines",
    "dtype": "dtypes",
    "split": "splits",
    "order": "orders",
    "batch_size": "batch_sizes",
}
"""Axes that have an argument of their own."""


@dataclass(frozen=True, slots=True)
class Point:
    """One combination: so many ranks, with these settings; ``axes`` are the others that its grid has, by name."""

    ranks: int
    settings: Settings
    axes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def sequences(self) -> int:
        """Sequences that all ranks together decode side by side."""
        return self.ranks * int(self.settings.prompts_a_batch)

    @property
    def others(self) -> dict[str, Any]:
        """What the grid's other axes have here, by their names in words."""
        return {with_spaces(name): getattr(self.settings, name) for name in self.axes}

    @property
    def label(self) -> str:
        """In words: ``2 ranks, batched 16, float32, static, as given``, and what the grid's other axes have here."""
        asked = self.settings
        engine = with_batch_size(asked.engine, asked.batch_size, is_short=True)
        others = [FIELDS[name].in_words(getattr(asked, name)) for name in self.axes]
        ranks = f"{self.ranks} rank{'s' if self.ranks != 1 else ''}"
        return ", ".join((ranks, engine, asked.dtype, asked.schedule_label, *others))


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
    axes : mapping of str to sequence
        Any field of ``Settings``, or ``ranks``, to its values: ``{"max_new_tokens": (50, 100)}``. The
        arguments above are short forms. Where a field has no effect, such as ``top_k`` at temperature
        0, its values make one combination, with what ``base`` has.
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
        A choice is empty, an axis is no field, or a value cannot be used.
    """

    ranks: Sequence[int] = (1,)
    batch_sizes: Sequence[int] = (16,)
    engines: Sequence[str] = ("batched",)
    dtypes: Sequence[str] = ("auto",)
    splits: Sequence[str] = ("static",)
    orders: Sequence[str] = ("as_given",)
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict, hash=False)
    base: Settings = field(default_factory=lambda: Settings(ignore_eos=True))
    repeats: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.base, Settings):
            raise InputError(
                f"base must be Settings, not {shorten(self.base)}; write base=Settings(max_new_tokens=20)."
            )
        self._take_short_forms()
        for count in self.ranks:
            if not _is_whole(count) or count < 1:
                raise InputError(f"ranks must be whole numbers of at least 1, not {shorten(count)}.")
            if count > MOST_RANKS:
                raise InputError(f"ranks must be at most {MOST_RANKS:,}, not {shorten(count)}.")
        if AUTO in tuple(self.batch_sizes):  # type: ignore[comparison-overlap]
            raise InputError(
                "batch_sizes must be whole numbers: a sweep shows what each brings, auto is one of them."
            )
        if not _is_whole(self.repeats) or self.repeats < 1:
            raise InputError(f"repeats must be a whole number of at least 1, not {shorten(self.repeats)}.")
        if self.repeats > MOST_REPEATS:
            raise InputError(f"repeats must be at most {MOST_REPEATS:,}, not {shorten(self.repeats)}.")
        if not _is_whole(self.seed):
            raise InputError(f"seed must be a whole number, not {shorten(self.seed)}.")
        if abs(self.seed) > MOST_SEED:
            raise InputError(f"seed must be at most {MOST_SEED:,}, not {shorten(self.seed)}.")
        self._check_values()
        self._leave_single_values_to_base()
        self.points()  # checks what goes together

    def _take_short_forms(self) -> None:
        """Give an axis that has an argument of its own to that argument."""
        axes = _checked_axes(self.axes)
        for name, argument in SHORT_FORMS.items():
            if name in axes:
                if getattr(self, argument) != _DEFAULTS[argument]:
                    raise InputError(f"{name} is given twice: in axes, and as {argument}; leave one out.")
                object.__setattr__(self, argument, axes.pop(name))
            object.__setattr__(self, argument, _each_once(argument, getattr(self, argument)))
        object.__setattr__(self, "axes", {name: _each_once(name, values) for name, values in axes.items()})

    def _check_values(self) -> None:
        for name, values in self.choices().items():
            if name == "ranks":
                continue
            checked = tuple(FIELDS[name].values.checked(name, value) for value in values)
            if name in self.axes:
                object.__setattr__(self, "axes", {**self.axes, name: checked})

    def _leave_single_values_to_base(self) -> None:
        """An axis of one value is none: it is the same for all."""
        single = {name: values[0] for name, values in self.axes.items() if len(values) == 1}
        if single:
            changes = {"engine": self.engines[0], **single}
            object.__setattr__(self, "base", Settings.of(self.base, **changes))
            object.__setattr__(self, "axes", {name: own for name, own in self.axes.items() if name not in single})

    def choices(self) -> dict[str, tuple[Any, ...]]:
        """Every axis, by its field of ``Settings`` or ``ranks``, with its values; the last varies first."""
        first, last = ("engine", "dtype", "split", "order"), ("batch_size", "ranks")
        short = {name: tuple(getattr(self, argument)) for name, argument in SHORT_FORMS.items()}
        others = {name: tuple(values) for name, values in self.axes.items()}
        return {name: short[name] for name in first} | others | {name: short[name] for name in last}

    def points(self) -> list[Point]:
        """Every combination once, in the order of the choices."""
        choices = self.choices()
        found: dict[Point, None] = {}
        for values in itertools.product(*choices.values()):
            chosen = dict(zip(choices, values, strict=True))
            ranks = chosen.pop("ranks")
            found[Point(ranks, self._settings(chosen), tuple(self.axes))] = None
        return list(found)

    def _settings(self, chosen: Mapping[str, Any]) -> Settings:
        """The base with what is chosen, as far as it has an effect."""
        always = {name: value for name, value in chosen.items() if FIELDS[name].always_applies}
        asked = Settings.of(self.base, **always)
        applying = {name: value for name, value in chosen.items() if FIELDS[name].why_not(asked) is None}
        asked = Settings.of(self.base, **applying)
        return Settings.of(asked, batch_size=asked.prompts_a_batch)

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
        own, theirs = dict(self._fields()), dict(other._fields())
        return {name: (own[name], theirs[name]) for name in own if own[name] != theirs[name]}

    def _fields(self) -> Iterator[tuple[str, Any]]:
        """What is measured, by the names in which people give it: an axis' values, else the one value of all."""
        choices = self.choices()
        for name in SHORT_FORMS:
            yield SHORT_FORMS[name], choices[name]
        yield "seed", self.seed
        for name in FIELDS:
            if name not in SHORT_FORMS:
                called = "seed of the draws" if name == "seed" else name
                yield called, choices.get(name, getattr(self.base, name))

    def to_dict(self) -> dict[str, Any]:
        """The grid as plain dicts, lists, strings and numbers."""
        data = dataclasses.asdict(self)
        if not self.axes:
            del data["axes"]  # as older files have it
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Grid:
        """The grid that ``to_dict`` gave.

        Raises
        ------
        InputError, KeyError, TypeError
            The data are no grid.
        """
        return cls(**{**data, "base": Settings(**data["base"])})


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Grid)}


def whole_numbers(text: str, what: str) -> tuple[int, ...]:
    """Numbers separated by commas: ``"1,2, 4"`` is ``(1, 2, 4)``.

    Raises
    ------
    InputError
        The text holds something else; ``what`` names it in the message.
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise InputError(f"{what} takes whole numbers of at least 1, separated by commas, not {shorten(text)}.")
    return tuple(int(part) for part in parts)


def _checked_axes(axes: Any) -> dict[str, Any]:
    if not isinstance(axes, Mapping):
        raise InputError(f'axes must map fields to their values, not {shorten(axes)}; write axes={{"seed": (0, 1)}}.')
    for name in axes:
        if name not in FIELDS and name != "ranks":
            raise InputError(f"there is no axis {shorten(name)}; the axes are ranks, {', '.join(FIELDS)}.")
    return dict(axes)


def _each_once(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"{name} must be a list, for example {name}=[{shorten(values)}].")
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
