"""The batch player as a widget: the live batch of a run, or finished runs played back on one clock."""

from __future__ import annotations

import json
from collections.abc import Sequence

import anywidget
import traitlets

from nbkit.analysis.batch_grid import Grid
from nbkit.figures.html.player import player_source

_RENDER = """
function render({ model, el }) {
  const player = createBatchPlayer(el);
  const show = () => player.show(JSON.parse(model.get("grids")));
  model.on("change:grids", show);
  show();
  return () => {
    model.off("change:grids", show);
    player.destroy();
  };
}
export default { render };
"""


class BatchPlayer(anywidget.AnyWidget):
    """A player of grids, as ``batch_grid`` and ``LiveGrid`` make them; a reloaded page shows the last ones again."""

    _esm = player_source() + _RENDER
    grids = traitlets.Unicode("[]").tag(sync=True)

    def show(self, grids: Sequence[Grid]) -> None:
        """Show these, several on one clock."""
        self.grids = json.dumps(list(grids), separators=(",", ":"))
