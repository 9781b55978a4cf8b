"""Dispatch: the thread in the notebook that gives jobs to the ranks and reads what they answer.

One job runs at a time. All state belongs to the thread; others reach it by ``Orders``.
"""

from __future__ import annotations

import selectors
import signal
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from nbkit.errors import JobCancelled, RankDied, WorkersError
from nbkit.runtime import wire
from nbkit.runtime.assignment import Assignment
from nbkit.runtime.callbacks import Orders
from nbkit.runtime.deadlines import Deadlines
from nbkit.runtime.job import Emitted, Job, Log, Started
from nbkit.runtime.launchers.processes import Processes, how_it_ended
from nbkit.runtime.outgoing import Outgoing
from nbkit.runtime.surroundings.module_journal import module_journal

START_TIMEOUT_S = 300.0
REGROUP_TIMEOUT_S = 30.0
ABORT_GRACE_S = 3.0
CANCEL_GRACE_S = 15.0
BLAME_S = 0.5
EXIT_REPORT_S = 2.0


class Dispatcher(threading.Thread):
    """Starts the processes, runs queued jobs on them one after another, and notices every end."""

    def __init__(self, asked: int) -> None:
        super().__init__(name="nbkit-dispatcher", daemon=True)
        self.asked = asked
        self.plan: wire.Plan | None = None
        self.infos: list[wire.RankInfo] = []
        self.start_error: WorkersError | None = None
        self.settled = threading.Event()
        self._orders = Orders()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._orders, selectors.EVENT_READ, self._orders.follow)
        self._processes: Processes | None = None
        self._waiting: deque[Assignment] = deque()
        self._current: Assignment | None = None
        self._lost_rank: int | None = None
        self._notes: list[str] = []
        self._group = 0
        self._ready: set[int] = set()
        self._deadlines = Deadlines()
        self._outgoing = Outgoing(self._selector, self._deadlines, self._lose)
        self._modules_told = 0
        self._closed = False

    # From any thread.

    def submit(self, assignment: Assignment) -> None:
        self._orders.give(lambda: self._enqueue(assignment))
        if not self.is_alive():
            self._orders.follow()  # closed in between: refuse the job here

    def cancel(self, job: Job) -> None:
        self._orders.give(lambda: self._cancel(job))

    def close(self) -> None:
        """Cancel what runs, end the processes, end the thread; returns when it is done.

        On the dispatcher's own thread (a job's callback, the garbage collector) it is
        done a moment later.
        """
        if not self.is_alive():
            return
        self._orders.give(self._close)
        if threading.current_thread() is not self:
            self.join(timeout=10)

    # On the dispatcher's thread from here on.

    def run(self) -> None:
        try:
            self._serve()
        except Exception as error:
            # A mistake of the kit's own must not leave anyone waiting.
            self._close(WorkersError(f"the dispatcher of the workers failed: {error!r}"))
            raise
        finally:
            self._orders.follow()
            self._orders.close()
            self._selector.close()

    def _serve(self) -> None:
        self._start_processes()
        while not self._closed:
            for key, _ in self._selector.select(self._deadlines.seconds_to_next()):
                processes = self._processes
                key.data()
                if self._processes is not processes:
                    break  # the keys left may belong to processes that are gone
            self._deadlines.meet()

    # Processes.

    def _start_processes(self) -> None:
        self.settled.clear()
        self.start_error = None
        self._lost_rank = None
        self._group = 0
        self._ready = set()
        self._modules_told = 0
        self._processes = Processes(self.asked)
        self._listen(self._processes.control, self._on_host)
        self._selector.register(self._processes.door, selectors.EVENT_READ, self._on_knock)
        self._deadlines.set("start", START_TIMEOUT_S, lambda: self._start_failed("they took too long to start"))

    def _listen(self, channel: wire.Channel, take: Callable[[wire.Channel], None]) -> None:
        self._selector.register(channel, selectors.EVENT_READ, lambda: take(channel))

    def _on_knock(self) -> None:
        assert self._processes is not None
        try:
            admitted = self._processes.admit()
        except OSError:
            admitted = None
        if admitted is None:
            self._selector.unregister(self._processes.door)
            return
        rank, channel = admitted
        self._listen(channel, lambda channel: self._on_rank(rank, channel))

    def _on_host(self, channel: wire.Channel) -> None:
        try:
            for message in channel.receive():
                if isinstance(message, wire.Plan):
                    self.plan = message
                    self._notes += [message.note] if message.note else []
                else:
                    self._on_host_failed(message)
        except EOFError:
            self._on_host_failed(wire.HostFailed("their host process ended", {}))

    def _on_host_failed(self, failed: wire.HostFailed) -> None:
        if self._processes is None:
            return
        if not self.infos:
            self._start_failed(failed.message)
            return
        exit_codes: dict[int, int | None] = {**failed.exit_codes}
        if self.plan is not None and self.plan.world_size == 1:
            # A single rank runs in the host itself.
            exit_codes = {0: self._processes.host_exit_code(EXIT_REPORT_S)}
        if exit_codes:
            rank = self._lost_rank if self._lost_rank in exit_codes else next(iter(exit_codes))
            self._lose_ranks(rank, exit_codes[rank])
        else:
            # The host is gone, and its ranks with it.
            self._lose_ranks(None, self._processes.host_exit_code(EXIT_REPORT_S))

    def _start_failed(self, why: str) -> None:
        assert self._processes is not None
        tail = self._processes.log_tail()
        self._drop_processes()
        message = f"the workers could not start: {why}"
        # A sentence of the kit's own needs no log; anything else may.
        if tail and "do not make sense" not in why:
            message += f"\n\nThe end of their log:\n{tail}"
        self.start_error = WorkersError(message)
        self.settled.set()
        for assignment in self._waiting:
            _fail(assignment.job, self.start_error)
        self._waiting.clear()

    def _drop_processes(self) -> None:
        """Kill the processes and forget them; the next job starts new ones."""
        processes, self._processes = self._processes, None
        self._deadlines.clear()
        self.infos = []
        if processes is None:
            return
        for key in list(self._selector.get_map().values()):
            if key.fileobj is not self._orders:
                self._selector.unregister(key.fileobj)
        processes.kill()

    # Ranks.

    def _on_rank(self, rank: int, channel: wire.Channel) -> None:
        self._outgoing.go_on(rank, channel)
        try:
            for message in channel.receive():
                self._take_answer(rank, message)
                if self._processes is None:
                    return
        except EOFError:
            self._selector.unregister(channel)
            if self._lost_rank is None:  # the launcher ends the other ranks after the first
                self._lost_rank = rank
                # The host, the ranks' parent, knows the exit code a moment later.
                self._deadlines.set("exit report", EXIT_REPORT_S, lambda: self._lose_ranks(rank, None))

    def _take_answer(self, rank: int, message: Any) -> None:
        if isinstance(message, wire.Ready):
            self._on_ready(rank, message)
            return
        current = self._current
        if current is None or message.job != current.number:
            return
        if isinstance(message, wire.RankLog):
            current.job.add_event(Log(rank, message.stream, message.text))
        elif isinstance(message, wire.RankEvent):
            self._on_emitted(current, rank, message.payload)
        else:
            self._on_answer(current, rank, message)

    def _on_ready(self, rank: int, ready: wire.Ready) -> None:
        assert self._processes is not None and self.plan is not None
        if ready.group != self._group:
            return
        self._processes.infos[rank] = ready.info
        self._ready.add(rank)
        if len(self._ready) == self.plan.world_size:
            self._deadlines.call_off("start")
            self.infos = [self._processes.infos[r] for r in range(self.plan.world_size)]
            self.settled.set()
            self._run_next()

    def _on_emitted(self, current: Assignment, rank: int, payload: bytes) -> None:
        try:
            current.job.add_event(Emitted(rank, wire.load_safely(payload)))
        except wire.Unreadable as error:
            _fail(current.job, WorkersError(f"a value that rank {rank} emitted cannot be read here: {error}"))
            self._abort_ranks()

    def _on_answer(self, current: Assignment, rank: int, answer: wire.Returned | wire.Raised) -> None:
        current.waiting_for.discard(rank)
        if isinstance(answer, wire.Returned):
            try:
                current.values[rank] = wire.load_safely(answer.payload)
            except wire.Unreadable as error:
                _fail(current.job, WorkersError(f"rank {rank}'s return value cannot be read here: {error}"))
        else:
            current.failures.append((rank, answer))
            if not current.cancel_asked and not answer.in_collective:
                self._settle_failure()
            elif "blame" not in self._deadlines:
                # Most likely another rank failed first and its word is on the way.
                self._deadlines.set("blame", BLAME_S, self._settle_failure)
            self._abort_ranks()
        if not current.waiting_for:
            self._finish(current)

    def _lose_ranks(self, rank: int | None, exit_code: int | None) -> None:
        self._lose(rank, how_it_ended(exit_code), with_log=exit_code != -signal.SIGKILL)

    def _lose(self, rank: int | None, how: str, with_log: bool = False) -> None:
        """One is lost (None: the host), and all are ended with it."""
        if self._processes is None:
            return
        message = self._processes.describe_loss(rank, how, with_log)
        started = bool(self.infos)
        current, self._current = self._current, None
        self._drop_processes()
        if current is not None and not current.job.done():
            error = RankDied(rank, message) if rank is not None else WorkersError(message)
            _fail(current.job, current.cancellation() if current.cancel_asked else error)
        elif started:
            self._notes.append(message)
        if not started:
            self.start_error = WorkersError(message)
            self.settled.set()
        if self._waiting:
            self._start_processes()

    # Jobs.

    def _enqueue(self, assignment: Assignment) -> None:
        if self._closed:
            _fail(assignment.job, WorkersError("these workers are closed; make new ones with nbkit.Workers()."))
            return
        self._waiting.append(assignment)
        if self._processes is None:
            self._start_processes()
        elif self._is_idle:
            self._run_next()

    @property
    def _is_idle(self) -> bool:
        is_whole = self.plan is not None and len(self._ready) == self.plan.world_size and self._lost_rank is None
        return is_whole and self._current is None

    def _run_next(self) -> None:
        if not self._waiting or self._processes is None or self.plan is None:
            return
        self._current = current = self._waiting.popleft()
        current.job.set_running_or_notify_cancel()
        for note in self._notes:
            current.job.add_event(Log(None, "stdout", note))
        self._notes.clear()
        current.job.add_event(Started())
        current.waiting_for = set(range(self.plan.world_size))
        loaded = module_journal().entries(self._modules_told, current.modules_known)
        self._modules_told = max(self._modules_told, current.modules_known)
        self._send_all(current.order(loaded))

    def _send_all(self, message: object) -> None:
        assert self._processes is not None
        self._outgoing.send(message, self._processes.ranks)

    def _cancel(self, job: Job) -> None:
        for assignment in self._waiting:
            if assignment.job is job:
                self._waiting.remove(assignment)
                _fail(job, JobCancelled())
                return
        current = self._current
        if current is None or current.job is not job or current.cancel_asked:
            return
        current.cancel_asked = True
        if current.with_context:
            # The kit's own jobs stop by themselves at the next token, and keep the
            # process group whole.
            self._send_all(wire.Cancel(current.number))
            self._deadlines.set("cancel", CANCEL_GRACE_S, self._abort_ranks)
        else:
            self._abort_ranks()

    def _abort_ranks(self) -> None:
        """Free the ranks that have not answered; kill them if that does not help."""
        current = self._current
        if current is None or not current.waiting_for or "abort" in self._deadlines:
            return
        # To those that have answered, too: a rank may wait in a collective for them.
        current.is_aborted = True
        self._send_all(wire.Abort(current.number))
        self._deadlines.set("abort", ABORT_GRACE_S, self._give_up)

    def _give_up(self) -> None:
        """The ranks do not answer an abort, or cannot meet again: end them; the next job starts new ones."""
        current, self._current = self._current, None
        asked = "stop" if current is not None else "meet again"
        self._notes.append(f"the workers did not {asked} in time, so they were ended and started anew.")
        self._drop_processes()
        if current is not None:
            if current.cancel_asked:
                _fail(current.job, current.cancellation())
            elif current.failures:
                _fail(current.job, current.error())
        if self._waiting:
            self._start_processes()

    def _settle_failure(self) -> None:
        self._deadlines.call_off("blame")
        current = self._current
        if current is not None and not current.cancel_asked and "exit report" not in self._deadlines:
            _fail(current.job, current.error())

    def _finish(self, current: Assignment) -> None:
        """Every rank has answered."""
        if "exit report" in self._deadlines:
            return  # a rank died: what the others say is a consequence
        self._deadlines.call_off("abort", "cancel", "blame")
        self._current = None
        if current.cancel_asked:
            _fail(current.job, current.cancellation())
        elif current.failures:
            _fail(current.job, current.error())
        elif not current.job.done():
            try:
                current.job.set_result(current.collected(is_partial=False))
            except Exception as error:
                _fail(current.job, error)
        if current.failures or current.is_aborted:
            self._regroup()
        else:
            self._run_next()

    def _regroup(self) -> None:
        self._group += 1
        self._ready = set()
        self._send_all(wire.Regroup(self._group))
        self._deadlines.set("start", REGROUP_TIMEOUT_S, self._give_up)

    def _close(self, error: WorkersError | None = None) -> None:
        self._closed = True
        pending = [*self._waiting, *([self._current] if self._current else [])]
        self._waiting.clear()
        self._current = None
        self._drop_processes()
        self.settled.set()
        for assignment in pending:
            _fail(assignment.job, error or assignment.cancellation("the workers were closed"))


def _fail(job: Job, error: BaseException) -> None:
    if not job.done():
        job.set_exception(error)
