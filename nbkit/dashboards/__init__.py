"""Dashboards: widgets that start jobs on live workers and redraw figures as events arrive."""

from nbkit.dashboards.explore import Explore
from nbkit.dashboards.hello import Hello
from nbkit.dashboards.monitor import Monitor
from nbkit.dashboards.scaling import Scaling

__all__ = ["Explore", "Hello", "Monitor", "Scaling"]
