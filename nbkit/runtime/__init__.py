"""Runtime: ranks that stay alive behind a notebook and run jobs: functions and their arguments, whatever they do."""

from nbkit.runtime.context import JobContext, current_job
from nbkit.runtime.job import Emitted, Event, Job, Log, Started
from nbkit.runtime.wire import RankInfo

__all__ = ["Emitted", "Event", "Job", "JobContext", "Log", "RankInfo", "Started", "current_job"]
