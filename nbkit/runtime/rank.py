"""Rank: the loop of one worker process, from joining the process group to leaving it."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from nbkit.runtime import torch_private, wire
from nbkit.runtime.channel import Channel
from nbkit.runtime.context import JobContext, set_current_job
from nbkit.runtime.logs.log_stream import LogStream
from nbkit.runtime.outbox import Outbox
from nbkit.runtime.pickling import dump, load
from nbkit.runtime.process_group import ProcessGroup, forget_accelerator
from nbkit.runtime.session_end import end_session
from nbkit.runtime.signal_stack import SignalStack
from nbkit.runtime.surroundings.surroundings import Follower
from nbkit.runtime.work_counter import WorkCounter

ABORT_SIGNAL = signal.SIGUSR1
ABORT_AGAIN_S = 0.05
LOG_FD = 2
"""Where a crash is written: into the workers' log, which outlives the rank."""
ABORT_SWALLOWED_S = 0.5


class JobAborted(BaseException):
    """Raised in a running job to end it. Not an Exception: a job's own ``except`` should not keep it."""


class Rank:
    """One rank: threads that read and write messages, and the main thread that runs jobs.

    ``folder`` is shared by all ranks, and open to no other user.
    """

    def __init__(self, channel: Channel, placement: wire.Placement, folder: Path) -> None:
        self._channel = channel
        self._folder = folder
        self._outbox = Outbox(channel.send)
        self._inbox: queue.SimpleQueue[wire.RunJob | wire.Abort] = queue.SimpleQueue()
        self._group = ProcessGroup(placement, folder)
        self._placement = placement
        self._info: wire.RankInfo | None = None
        self._kept: dict[str, Any] = {}
        self._last_job: int | None = None
        self._cancelled: int | None = None
        self._running: int | None = None
        self._aborting: int | None = None
        self._heeded = False
        self._signal_stack = SignalStack()
        self._follower = Follower()
        self._streams = (LogStream(self._send_log, "stdout"), LogStream(self._send_log, "stderr"))

    def serve(self) -> None:
        """Join the group, then run jobs for as long as the notebook is there."""
        signal.signal(ABORT_SIGNAL, self._on_abort_signal)
        sys.stdout, sys.stderr = self._streams
        for loop in (self._read, self._write):
            threading.Thread(target=loop, name=f"nbkit-rank{loop.__name__}", daemon=True).start()
        try:
            self._info = _rank_info(self._group.join_first(), self._placement)
            self._outbox.put(wire.Ready(self._info))
            while True:
                message = self._inbox.get()
                if isinstance(message, wire.RunJob):
                    self._run(message)
                else:  # an abort of a job that has ended here: free the ranks that still wait
                    self._group.leave()
        except BaseException:
            # Into the workers' log, which the notebook shows the end of; sys.stderr is a job's.
            traceback.print_exc(file=sys.__stderr__)
            raise

    def _read(self) -> None:
        try:
            while True:
                for message in self._channel.receive():
                    self._take(message)
        except EOFError:
            end_session(self._folder)

    def _write(self) -> None:
        # In a thread of its own: an abort raised in the main thread in the middle of
        # a send would leave half a message on the wire.
        with contextlib.suppress(OSError):  # the reader sees the same end, and acts
            self._outbox.send_all()

    def _take(self, message: Any) -> None:
        if isinstance(message, wire.Cancel):
            self._cancelled = message.job
        elif isinstance(message, wire.Abort):
            self._abort(message)
        else:
            self._inbox.put(message)

    def _abort(self, message: wire.Abort) -> None:
        self._aborting = message.job
        self._cancelled = message.job
        if message.job == self._running:
            threading.Thread(
                target=self._interrupt, args=(message.job,), name="nbkit-rank-abort", daemon=True
            ).start()
            torch_private.abort_nccl()
        else:
            self._inbox.put(message)

    def _interrupt(self, job: int) -> None:
        # Not once but until it is heeded: a signal that comes when the main thread is about
        # to enter a blocking call (a sleep, a lock) is looked at only after that call.
        while self._running == job:
            self._heeded = False
            signal.pthread_kill(threading.main_thread().ident or 0, ABORT_SIGNAL)
            time.sleep(ABORT_AGAIN_S)
            if self._heeded:
                # Time to clean up; Python drops what is raised in a destructor or a weak reference's callback.
                time.sleep(ABORT_SWALLOWED_S)

    def _on_abort_signal(self, *_: object) -> None:
        if self._running is not None and self._running == self._aborting:
            self._heeded = True
            raise JobAborted

    def _run(self, job: wire.RunJob) -> None:
        self._last_job = job.job
        self._signal_stack.restore()
        # A job may have turned it off, or to a pipe that ends with the process.
        faulthandler.enable(LOG_FD)
        self._follower.hear(job.loaded)
        environment: dict[str, str] | None = None
        try:
            # Whatever has become of the job: the others would wait for this rank.
            is_new = self._group.join(job.group)
            environment = dict(os.environ)
            if is_new:
                self._outbox.put(wire.Begun(job.job))
            self._running = job.job
            try:
                if self._aborting == job.job:
                    raise JobAborted
                answer: wire.Returned | wire.Raised = self._call(job)
            finally:
                self._running = None
        except BaseException as error:
            self._running = None
            answer = _raised(job.job, error)
        set_current_job(None)
        if self._aborting == job.job and environment is not None:
            # It may have come while accelerate had cleared the environment: Accelerator() does, for a moment.
            os.environ.update({name: value for name, value in environment.items() if name not in os.environ})
        self._follower.look_at_new_modules()
        self._finish_lines()
        self._outbox.put(answer)
        if isinstance(answer, wire.Raised):
            # Frees the ranks that wait in a collective for this one: gloo wakes
            # them when a peer's connections close.
            self._group.leave()

    def _call(self, job: wire.RunJob) -> wire.Returned:
        assert self._info is not None
        forget_accelerator()
        if job.surroundings is not None:
            self._follower.follow(job.surroundings)
        is_cancelled = functools.partial(self._is_cancelled, job.job)
        work = WorkCounter(self._folder / f"work-{job.group.ranks[0]}", job.job)
        set_current_job(JobContext(job, self._info, self._kept, work, self._outbox, is_cancelled))
        fn, args, kwargs = load(job.payload)
        value = fn(*args, **kwargs)
        try:
            return wire.Returned(job.job, dump(value))
        except Exception as error:
            raise TypeError(
                f"the return value, a {type(value).__name__}, cannot be sent to the notebook ({error}); "
                "return plain data: numbers, strings, lists, dicts, arrays, tensors."
            ) from None

    def _is_cancelled(self, job: int) -> bool:
        return self._cancelled == job

    def _finish_lines(self) -> None:
        # The job may have put streams of its own over these.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        for own in self._streams:
            own.finish_line()

    def _send_log(self, stream: str, text: str) -> None:
        if self._last_job is not None:
            self._outbox.put_line(self._last_job, stream, text)


def _rank_info(state: Any, placement: wire.Placement) -> wire.RankInfo:
    import torch

    from nbkit.files.machine import processor_name

    device = state.device
    return wire.RankInfo(
        rank=placement.rank,
        local_rank=state.local_process_index,
        world_size=placement.world_size,
        node=socket.gethostname(),
        pid=os.getpid(),
        device=str(device),
        device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name(),
        backend=state.backend,
        sharing=placement.sharing,
    )


def _raised(job: int, error: BaseException) -> wire.Raised:
    payload = None
    with contextlib.suppress(Exception):
        payload = dump(error)
    frames = traceback.extract_tb(error.__traceback__)
    # The first frame is this file's; the user's code begins after it.
    own = tuple(wire.Frame(f.filename, f.lineno or 0, f.name) for f in frames if f.filename != __file__)
    return wire.Raised(
        job=job,
        summary="".join(traceback.format_exception_only(error)).strip(),
        frames=own,
        details="".join(traceback.format_exception(error)) if error.__cause__ or error.__context__ else "",
        payload=payload,
        cancelled=isinstance(error, JobAborted),
        in_collective=_is_collective_error(error),
    )


def _is_collective_error(error: BaseException) -> bool:
    import torch

    text = str(error)
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and any(word in text for word in ("gloo", "NCCL", "ProcessGroup"))
    )
