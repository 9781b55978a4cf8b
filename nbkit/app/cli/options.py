"""Options: fields of ``Settings`` as a command's options, made from what there is to know of each field."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from nbkit.records.setting_values import Choice, Flag, Number, Texts, Values, Whole
from nbkit.records.settings import FIELDS

WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers", help="How many ranks; left out: one for each GPU, or 2 CPU workers.", show_default=False
    ),
]
SEVERAL = ", one value or several with commas"


@dataclass(frozen=True)
class SettingOptions:
    """Options for fields of ``Settings``.

    Attributes
    ----------
    usual : mapping
        The fields, each with the value, or values, that hold where none is given.
    takes_several : bool
        Whether each takes several values, separated by commas; a yes or no then is given both ways.
    called : mapping
        Fields whose option has another name.
    hints : mapping
        What is particular to the command, by the field, in the place of what is said of it elsewhere.
    """

    usual: Mapping[str, Any]
    takes_several: bool = False
    called: Mapping[str, str] = field(default_factory=dict)
    hints: Mapping[str, str] = field(default_factory=dict)

    def added_to(self, command: Callable[..., None]) -> Callable[..., None]:
        """The command with these options in the place of its ``**asked``, for ``read``."""
        # typer makes options of what the signature says.
        signature = inspect.signature(command, eval_str=True)
        own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        options = [self._parameter(name) for name in self.usual]
        command.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
        return command

    def read(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """What the command was given, by field: a value, or where several are taken a tuple of them.

        Raises
        ------
        InputError
            A text is no value of its field; the message names the option.
        """
        given = {name: asked[self._called(name)] for name in self.usual if self._called(name) in asked}
        return {name: self._read(name, value) for name, value in given.items()}

    def _read(self, name: str, given: Any) -> Any:
        if given is None or given == []:
            return self.usual[name]
        if not isinstance(given, str):
            return given
        values, option = FIELDS[name].values, _option(self._called(name))
        if not self.takes_several:
            return values.read(option, given)
        # A stop string may begin with a space.
        parts = [part if isinstance(values, Texts) else part.strip() for part in given.split(",")]
        return tuple(values.read(option, part) for part in parts if part)

    def _called(self, name: str) -> str:
        return self.called.get(name, name)

    def _parameter(self, name: str) -> inspect.Parameter:
        info, option = FIELDS[name], _option(self._called(name))
        panel = "Settings" if info.is_usual else "More settings"
        is_flag = isinstance(info.values, Flag)
        made = typer.Option(
            f"{option}/--no-{option[2:]}" if is_flag else option,
            help=info.line(*self._hints(name, info.values)),
            metavar=" " if is_flag else (info.unit or _kind(info.values)).upper(),
            show_default=self._flag_in_words(name) if is_flag and self.takes_several else True,
            rich_help_panel=f"{panel}{SEVERAL if self.takes_several else ''}",
        )
        annotation, default = self._type_and_default(name, info.values)
        return inspect.Parameter(
            self._called(name),
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[annotation, made],
        )

    def _hints(self, name: str, values: Values) -> list[str]:
        if name in self.hints:
            return [self.hints[name]]
        if isinstance(values, Choice):
            return [f"one of {', '.join(values.names)}"]
        if isinstance(values, Whole) and values.word:
            return [f"{values.word.name}: {values.word.means}"]
        if isinstance(values, Texts) and not self.takes_several:
            return ["may be given several times"]
        return ["give both to measure both"] if isinstance(values, Flag) and self.takes_several else []

    def _flag_in_words(self, name: str) -> str:
        return ", ".join(
            f"{'' if value else 'no-'}{self._called(name).replace('_', '-')}" for value in self.usual[name]
        )

    def _type_and_default(self, name: str, values: Values) -> tuple[Any, Any]:
        """What typer reads, and what it shows: texts are read by the field itself."""
        usual = self.usual[name]
        if isinstance(values, Flag):
            return (list[bool] | None, None) if self.takes_several else (bool, usual)
        if isinstance(values, Texts):
            return (str | None if self.takes_several else list[str] | None), None
        shown = [_as_typed(values, value) for value in (usual if self.takes_several else (usual,))]
        return str, ",".join(shown)


def _option(called: str) -> str:
    return f"--{called.replace('_', '-')}"


def _kind(values: Values) -> str:
    """What is typed, where it has no unit."""
    if isinstance(values, Texts):
        return "text"
    return "number" if isinstance(values, Whole | Number) else "name"


def _as_typed(values: Values, value: Any) -> str:
    if isinstance(values, Whole) and values.word and value == values.word.value:
        return values.word.name
    return f"{value:g}" if isinstance(value, float) else str(value)
