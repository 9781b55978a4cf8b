"""Dashboards: widgets that start jobs on live workers and redraw figures as events arrive."""

from nbkit.errors import MissingExtra

try:
    import anywidget  # noqa: F401
    import ipywidgets  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtra("lab", error.name) from None

from nbkit.app.dashboards.explore.explore import Explore
from nbkit.app.dashboards.hello import HelloDashboard as Hello
from nbkit.app.dashboards.monitor import MonitorDashboard as Monitor
from nbkit.app.dashboards.night.night import Night
from nbkit.app.dashboards.playback import Playback
from nbkit.app.dashboards.scaling.scaling import Scaling
from nbkit.app.dashboards.wall import WallDashboard as Wall

__all__ = ["Explore", "Hello", "Monitor", "Night", "Playback", "Scaling", "Wall"]
