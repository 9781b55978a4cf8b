"""The controls that are used less often: the fields of Settings below a fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nbkit.app.dashboards.parts.field import Field
from nbkit.app.dashboards.parts.fold import Fold
from nbkit.app.dashboards.parts.panel import control_grid
from nbkit.records.setting_fields import with_spaces
from nbkit.records.settings import Settings


class MoreControls:
    """Fields below a fold, which is closed at first; its title names what is not as usual.

    Parameters
    ----------
    fields : sequence of Field
        What is below the fold.
    values : callable
        What their controls say now, by the names of ``Settings``.
    """

    def __init__(self, fields: Sequence[Field], values: Callable[[], Mapping[str, Any]]) -> None:
        self._values = values
        self.fold = Fold(
            [control_grid([field.widget for field in fields])], "More", "Settings that are used less often"
        )
        self.widget = self.fold.widget
        self.name_what_is_unusual()

    def name_what_is_unusual(self) -> None:
        """Name in the title what is not as usual."""
        usual = Settings()
        unusual = [with_spaces(name) for name, value in self._values().items() if value != getattr(usual, name)]
        self.fold.title = f"More: {', '.join(unusual)}" if unusual else "More"
