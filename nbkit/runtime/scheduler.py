"""Scheduler: which job runs on which ranks, and what becomes of it when something goes wrong.

A machine of states that does no input or output of its own: the notebook orders jobs,
the launcher tells what becomes of ranks, deadlines fall due; all on one thread. Jobs on
other ranks run side by side, and where ranks are asked for twice, first come is first served.
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from nbkit.errors import InputError, JobCancelled, WorkersError
from nbkit.runtime import wire
from nbkit.runtime.assignment import Assignment, Stage, chosen_ranks
from nbkit.runtime.deadlines import Deadlines
from nbkit.runtime.job import Emitted, Job, Log, Started
from nbkit.runtime.launchers.launcher import Death, Launcher
from nbkit.runtime.pickling import Unreadable, load_safely
from nbkit.runtime.surroundings.module_journal import module_journal

START_TIMEOUT_S = 300.0
MEET_TIMEOUT_S = 30.0
ABORT_GRACE_S = 3.0
CANCEL_GRACE_S = 15.0
BLAME_S = 0.5
MOST_MEETINGS = 2
"""Tries of a job's ranks to form their group; each failed one starts the ranks anew."""
CLOSED = "these workers are closed; make new ones with nbkit.Workers()."


class Phase(enum.Enum):
    """What there is of the ranks."""

    DOWN = "none; the next job starts them"
    STARTING = "they start"
    UP = "they are ready or at work"
    ENDING = "one has vanished, and how is not known yet"
    CLOSED = "none, for good"


class Scheduler:
    """Gives jobs to the ranks that a launcher starts; it is what a launcher tells its events to.

    Attributes
    ----------
    phase : Phase
        What there is of the ranks.
    plan : Plan or None
        What is started; None before the first start has told.
    infos : list of RankInfo
        Who the ranks are, in rank order; empty while they are not up.
    start_error : WorkersError or None
        Why they could not start.
    has_plan, settled : threading.Event
        Set once a start has told its plan, or has succeeded; both, once it has failed. For threads that wait.
    """

    def __init__(self, launcher: Launcher, deadlines: Deadlines) -> None:
        self.phase = Phase.DOWN
        self.plan: wire.Plan | None = None
        self.infos: list[wire.RankInfo] = []
        self.start_error: WorkersError | None = None
        self.has_plan = threading.Event()
        self.settled = threading.Event()
        self._launcher = launcher
        self._deadlines = deadlines
        self._queued: deque[Assignment] = deque()
        self._running: list[Assignment] = []
        self._ready: dict[int, wire.RankInfo] = {}
        self._vanished: int | None = None
        self._groups: dict[int, wire.Group] = {}
        self._group_number = wire.FIRST_GROUP
        self._modules_told: dict[int, int] = {}
        self._notes: list[str] = []

    # From the notebook.

    def start(self) -> None:
        """Have the ranks start, if there are none."""
        if self.phase is not Phase.DOWN:
            return
        self.phase = Phase.STARTING
        self.settled.clear()
        self.start_error = None
        self._ready, self._vanished = {}, None
        self._groups, self._modules_told = {}, {}
        self._launcher.start(self)
        self._deadlines.set("start", START_TIMEOUT_S, self._start_took_too_long)

    def submit(self, assignment: Assignment) -> None:
        """Run a job as soon as its ranks are free, and start them if there are none."""
        if self.phase is Phase.CLOSED:
            assignment.settle(WorkersError(CLOSED))
            return
        self._queued.append(assignment)
        self.start()
        self._give_out()

    def cancel(self, job: Job) -> None:
        """Take a job out of the queue, or have its ranks stop it."""
        assignment = next((each for each in (*self._queued, *self._running) if each.job is job), None)
        if assignment is None or assignment.is_cancelled:
            return
        if assignment.stage is Stage.QUEUED:
            self._queued.remove(assignment)
            assignment.settle(JobCancelled())
            self._give_out()
            return
        assignment.is_cancelled = True
        if not assignment.heeds_cancel:
            self._abort(assignment)
        elif assignment.stage is not Stage.ABORTING:
            # It stops by itself at its next look, and its group stays whole.
            assignment.stage = Stage.STOPPING
            self._launcher.send(wire.Cancel(assignment.number), assignment.ranks)
            self._set_deadline(assignment, "stop", CANCEL_GRACE_S, self._abort)

    def close(self, error: WorkersError | None = None) -> None:
        """Cancel all jobs, or fail them with ``error``, and end the ranks for good."""
        pending = [*self._queued, *self._running]
        self._queued.clear()
        self._end_ranks()
        self.phase = Phase.CLOSED
        self._let_waiting_go_on()
        for assignment in pending:
            assignment.settle(error or assignment.cancellation("the workers were closed"))

    # From the launcher.

    def planned(self, plan: wire.Plan) -> None:
        """So many ranks will start."""
        self.plan = plan
        self.has_plan.set()
        self._notes += [plan.note] if plan.note else []

    def failed_to_start(self, why: str, log: str) -> None:
        """They will not: all jobs that wait have failed."""
        self._end_ranks()
        message = f"the workers could not start: {why}"
        self._fail_start(WorkersError(f"{message}\n\nThe end of their log:\n{log}" if log else message))

    def received(self, rank: int, message: Any) -> None:
        """A rank has sent a message; one about a job that it does not run any more is too late."""
        if isinstance(message, wire.Ready):
            self._on_ready(rank, message.info)
            return
        assignment = next((each for each in self._running if each.number == message.job), None)
        if assignment is None or rank not in assignment.ranks:
            return
        match message:
            case wire.RankLog():
                assignment.job.add_lines(rank, message.stream, message.text.split("\n"))
            case wire.RankEvent():
                self._on_emitted(assignment, rank, message)
            case wire.Begun():
                self._on_begun(assignment, rank)
            case wire.HeedsCancel():
                assignment.heeds_cancel = True
            case wire.Returned():
                self._on_returned(assignment, rank, message)
            case wire.Raised():
                self._on_raised(assignment, rank, message)

    def vanished(self, rank: int) -> None:
        """A rank has gone: what others say from now on may be a consequence."""
        self._vanished = rank
        if self.phase is Phase.UP:
            self.phase = Phase.ENDING

    def died(self, death: Death) -> None:
        """It is known how a rank (or what had started them) ended; all have ended with it."""
        who = "the host of the workers" if death.rank is None else f"rank {death.rank}"
        known = self._ready.get(death.rank) if death.rank is not None else None
        pid = death.pid or (known.pid if known else 0)
        sentence = f"{who} (process {pid}) {death.how}."
        log = f"\n\nThe end of its log:\n{death.log}" if death.log else ""
        if self.phase is Phase.STARTING:
            self._end_ranks()
            self._fail_start(WorkersError(f"{sentence} The workers restart with the next job.{log}"))
            return
        hit = self._end_ranks()
        for assignment in hit:
            assignment.settle(assignment.error_of_death(death.rank, sentence, log))
        if not hit:
            self._notes.append(f"{sentence} The workers restart with the next job.{log}")
        self._restart_if_needed()

    # Answers of ranks.

    def _on_ready(self, rank: int, info: wire.RankInfo) -> None:
        assert self.plan is not None
        self._ready[rank] = info
        if self.phase is not Phase.STARTING or len(self._ready) < self.plan.world_size:
            return
        self._deadlines.call_off("start")
        self.phase = Phase.UP
        everyone = wire.Group(wire.FIRST_GROUP, tuple(range(self.plan.world_size)))
        self._groups = dict.fromkeys(everyone.ranks, everyone)
        self.infos = [self._ready[rank] for rank in everyone.ranks]
        self.settled.set()
        self._give_out()

    def _on_begun(self, assignment: Assignment, rank: int) -> None:
        assignment.unmet.discard(rank)
        if assignment.unmet:
            return
        self._call_off(assignment, "meet")
        if assignment.stage is Stage.MEETING:
            assignment.stage = Stage.RUNNING
        elif assignment.stage is Stage.ABORTING:
            self._set_deadline(assignment, "abort", ABORT_GRACE_S, self._give_up)

    def _on_emitted(self, assignment: Assignment, rank: int, event: wire.RankEvent) -> None:
        try:
            assignment.job.add_event(Emitted(rank, load_safely(event.payload)), event.passing)
        except Unreadable as error:
            assignment.settle(WorkersError(f"a value that rank {rank} emitted cannot be read here: {error}"))
            self._abort(assignment)

    def _on_returned(self, assignment: Assignment, rank: int, returned: wire.Returned) -> None:
        try:
            assignment.take_value(rank, returned.payload)
        except Unreadable as error:
            assignment.settle(WorkersError(f"rank {rank}'s return value cannot be read here: {error}"))
        self._finish_if_answered(assignment)

    def _on_raised(self, assignment: Assignment, rank: int, raised: wire.Raised) -> None:
        assignment.take_failure(rank, raised)
        if rank in assignment.unmet and assignment.stage is Stage.MEETING and self._vanished is None:
            self._meeting_failed(assignment, raised.summary)
            return
        if not assignment.is_cancelled and not raised.in_collective:
            self._settle_failure(assignment)
        elif assignment.stage is not Stage.ABORTING:
            # Most likely another rank failed first and its word is on the way.
            self._set_deadline(assignment, "blame", BLAME_S, self._settle_failure)
        self._abort(assignment)
        self._finish_if_answered(assignment)

    def _settle_failure(self, assignment: Assignment) -> None:
        self._call_off(assignment, "blame")
        # Of a rank that died the launcher will tell.
        if not assignment.is_cancelled and self._vanished not in assignment.ranks:
            assignment.settle()

    def _finish_if_answered(self, assignment: Assignment) -> None:
        if assignment.waiting_for or self._vanished in assignment.ranks:
            return
        self._call_off(assignment, "meet", "stop", "blame", "abort")
        self._running.remove(assignment)
        if not assignment.leaves_group_whole:
            for rank in assignment.ranks:
                self._groups.pop(rank, None)
        assignment.stage = Stage.ENDED
        assignment.settle()
        self._give_out()

    # Jobs to ranks.

    def _give_out(self) -> None:
        """Give every job its ranks that can have them; none overtakes another that wants the same."""
        if self.phase is not Phase.UP:
            return
        assert self.plan is not None
        taken = {rank for assignment in self._running for rank in assignment.ranks}
        for assignment in list(self._queued):
            try:
                ranks = chosen_ranks(assignment.asked, self.plan.world_size)
            except InputError as error:
                self._queued.remove(assignment)
                assignment.settle(error)
                continue
            if taken.isdisjoint(ranks):
                self._queued.remove(assignment)
                self._begin(assignment, ranks)
            taken.update(ranks)

    def _begin(self, assignment: Assignment, ranks: tuple[int, ...]) -> None:
        if not assignment.job.running():
            assignment.job.set_running_or_notify_cancel()
            for note in self._notes:
                assignment.job.add_event(Log(None, "stdout", note))
            self._notes.clear()
            assignment.job.add_event(Started())
        self._running.append(assignment)
        group = self._groups.get(ranks[0])
        is_new = group is None or group.ranks != ranks or any(self._groups.get(rank) is not group for rank in ranks)
        if is_new or group is None:
            group = wire.Group(self._next_group_number(), ranks)
            self._groups |= dict.fromkeys(ranks, group)
            self._set_deadline(assignment, "meet", MEET_TIMEOUT_S, self._meeting_failed)
        assignment.begin(ranks, is_new)
        for rank in ranks:
            told = self._modules_told.get(rank, 0)
            self._modules_told[rank] = max(told, assignment.modules_known)
            loaded = module_journal().entries(told, assignment.modules_known)
            self._launcher.send(assignment.order(group, loaded), (rank,))

    def _next_group_number(self) -> int:
        self._group_number += 1
        return self._group_number

    def _abort(self, assignment: Assignment) -> None:
        """Free the ranks that have not answered; end all if that does not help."""
        if not assignment.waiting_for or assignment.stage is Stage.ABORTING:
            return
        assignment.stage = Stage.ABORTING
        # To those that have answered, too: a rank may wait in a collective for them.
        self._launcher.send(wire.Abort(assignment.number), assignment.ranks)
        # Ranks that meet are not to be disturbed: one that stayed away would have the others wait.
        if not assignment.unmet:
            self._set_deadline(assignment, "abort", ABORT_GRACE_S, self._give_up)

    # When ranks have to go.

    def _give_up(self, assignment: Assignment) -> None:
        """Its ranks do not answer an abort: end all; the next job starts new ones."""
        assignment.settle(WorkersError("the job was aborted and did not stop.") if not assignment.failures else None)
        self._start_anew("the workers did not stop in time", assignment)

    def _meeting_failed(self, assignment: Assignment, why: str = "they took too long") -> None:
        """Its ranks could not form a group: start them anew, and let it try again."""
        self._call_off(assignment, "meet", "stop", "blame", "abort")
        assignment.failed_meetings += 1
        if assignment.is_cancelled or assignment.failed_meetings >= MOST_MEETINGS:
            assignment.settle(WorkersError(f"the ranks could not form a process group: {why}"))
        else:
            self._running.remove(assignment)
            assignment.failures.clear()
            assignment.values.clear()
            assignment.stage = Stage.QUEUED
            self._queued.appendleft(assignment)
        self._start_anew("the workers did not meet in time", assignment)

    def _start_anew(self, why: str, cause: Assignment) -> None:
        self._notes.append(f"{why}, so they were ended and started anew.")
        for assignment in self._end_ranks():
            if assignment is not cause:
                message = (
                    f"this job was ended with its ranks, because {why} on {cause.ranks_in_words}; submit it again."
                )
                assignment.settle(WorkersError(message))
        self._restart_if_needed()

    def _end_ranks(self) -> list[Assignment]:
        """End all ranks; the jobs that were on them, for which nobody answers any more."""
        self._deadlines.call_off("start")
        hit, self._running = self._running, []
        for assignment in hit:
            self._call_off(assignment, "meet", "stop", "blame", "abort")
            assignment.stage = Stage.ENDED
        self.phase = Phase.DOWN
        self.infos = []
        self._vanished = None
        self._launcher.kill()
        return hit

    def _start_took_too_long(self) -> None:
        self.failed_to_start("they took too long to start", self._launcher.log_tail())

    def _fail_start(self, error: WorkersError) -> None:
        self.start_error = error
        self._let_waiting_go_on()
        queued = list(self._queued)
        self._queued.clear()
        for assignment in queued:
            assignment.settle(error)

    def _let_waiting_go_on(self) -> None:
        self.has_plan.set()
        self.settled.set()

    def _restart_if_needed(self) -> None:
        if self._queued:
            self.start()

    # Deadlines of one assignment.

    def _set_deadline(
        self, assignment: Assignment, name: str, seconds: float, act: Callable[[Assignment], None]
    ) -> None:
        self._deadlines.set(f"job {assignment.number}: {name}", seconds, lambda: act(assignment))

    def _call_off(self, assignment: Assignment, *names: str) -> None:
        self._deadlines.call_off(*(f"job {assignment.number}: {name}" for name in names))
