"""Dashboards: widgets that start jobs on live workers and redraw figures as events arrive."""

from nbkit.app.dashboards.explore.explore import Explore
from nbkit.app.dashboards.hello import Hello
from nbkit.app.dashboards.monitor import Monitor
from nbkit.app.dashboards.scaling.scaling import Scaling

__all__ = ["Explore", "Hello", "Monitor", "Scaling"]
