"""Workers: ranks that stay alive behind a notebook and run jobs."""

from nbkit.workers.job import Emitted, Event, Job, Log, Started
from nbkit.workers.pool import Workers, launch
from nbkit.workers.wire import RankInfo

__all__ = ["Emitted", "Event", "Job", "Log", "RankInfo", "Started", "Workers", "launch"]
