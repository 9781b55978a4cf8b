"""Rank: the loop of one worker process, from joining the process group to leaving it."""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from nbkit import models
from nbkit.files.machine import uses_cpu
from nbkit.runtime import wire
from nbkit.runtime.logs.log_stream import LogStream
from nbkit.runtime.signal_stack import SignalStack
from nbkit.runtime.surroundings.surroundings import Follower

ABORT_SIGNAL = signal.SIGUSR1
ABORT_AGAIN_S = 0.05
LOG_FD = 2
"""Where a crash is written: into the workers' log, which outlives the rank."""
ABORT_SWALLOWED_S = 0.5


class JobAborted(BaseException):
    """Raised in a running job to end it. Not an Exception: a job's own ``except`` should not keep it."""


class RankContext:
    """What a rank gives to the kit's own jobs beside accelerate: events up, a stop flag, a loaded model."""

    def __init__(self, send: Callable[[object], None]) -> None:
        self._send = send
        self._job: wire.RunJob | None = None
        self._cancelled_job: int | None = None
        self._loaded: tuple[tuple[str, str, bool], models.LoadedModel] | None = None

    def begin(self, job: wire.RunJob) -> None:
        """Turn to a new job."""
        self._job = job

    def cancel(self, job: int) -> None:
        """Let a job, running or yet to begin, see that it should stop."""
        self._cancelled_job = job

    @property
    def job_number(self) -> int | None:
        """The job's number; None before the first."""
        return self._job.job if self._job is not None else None

    @property
    def cancelled(self) -> bool:
        """Whether the job was asked to stop."""
        return self._job is not None and self._job.job == self._cancelled_job

    @property
    def elapsed_s(self) -> float:
        """Seconds since the job was submitted, on the clock all ranks of this machine share."""
        assert self._job is not None
        return time.monotonic() - self._job.submitted

    def emit(self, value: object) -> None:
        """Send a value to the job's events in the notebook."""
        assert self._job is not None
        self._send(wire.RankEvent(self._job.job, wire.dump(value)))

    def tickets(self) -> Iterator[int]:
        """Numbers from 0 on, each to one rank of this job only: how ranks take work as they get free."""
        import torch.distributed as dist

        assert self._job is not None
        if not dist.is_initialized():
            yield from itertools.count()
        # The store that the ranks met in: it counts for all of them, on other machines too.
        store, key = dist.distributed_c10d._get_default_store(), f"nbkit-job-{self._job.job}"
        while True:
            yield store.add(key, 1) - 1

    def load_model(
        self, name: str, dtype: str, device: Any, with_weights: bool = True
    ) -> tuple[models.LoadedModel, float]:
        """The model, kept between jobs, and the seconds it took to load it now (0 if it was there)."""
        if name not in models.EMBEDDED and os.path.isdir(folder := os.path.expanduser(name)):
            # The same name is another model in another working directory.
            name = os.path.realpath(folder)
        key = (name, models.resolve_dtype(dtype, device), with_weights)
        if self._loaded is not None and self._loaded[0] == key:
            return self._loaded[1], 0.0
        # Dropped before the next one is loaded, so that two never need memory at once.
        self._loaded = None
        began = time.monotonic()
        loaded = models.load(name, dtype, device, on_wait=print, with_weights=with_weights)
        self._loaded = (key, loaded)
        if loaded.is_emulated and os.environ.get("LOCAL_RANK", "0") == "0":
            print(f"This processor has no arithmetic for {loaded.dtype}: float32 is faster here.")
        return loaded, time.monotonic() - began


class Rank:
    """One rank: threads that read and write messages, and the main thread that runs jobs."""

    def __init__(self, channel: wire.Channel) -> None:
        self._channel = channel
        self._outbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._context = RankContext(self._outbox.put)
        self._inbox: queue.SimpleQueue[wire.RunJob | wire.Abort | wire.Regroup] = queue.SimpleQueue()
        self._running: int | None = None
        self._aborting: int | None = None
        self._heeded = False
        self._backend: str | None = None
        self._store: Any = None
        self._signal_stack = SignalStack()
        self._follower = Follower()
        self._uses_cpu = uses_cpu()
        self._streams = (LogStream(self._send_log, "stdout"), LogStream(self._send_log, "stderr"))

    def serve(self) -> None:
        """Join the group, then run jobs for as long as the notebook is there."""
        signal.signal(ABORT_SIGNAL, self._on_abort_signal)
        sys.stdout, sys.stderr = self._streams
        for loop in (self._read, self._write):
            threading.Thread(target=loop, name=f"nbkit-rank{loop.__name__}", daemon=True).start()
        try:
            self._join_group(0)
            while True:
                message = self._inbox.get()
                if isinstance(message, wire.RunJob):
                    self._run(message)
                elif isinstance(message, wire.Regroup):
                    self._join_group(message.group)
                else:  # an abort of a job that has ended here: free the ranks that still wait
                    _leave_group()
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
            # The notebook is gone: end the host and all ranks at once, whatever
            # they are doing, so that none keeps memory of a device.
            os.killpg(0, signal.SIGKILL)

    def _write(self) -> None:
        # In a thread of its own: an abort raised in the main thread in the middle of
        # a send would leave half a message on the wire.
        with contextlib.suppress(OSError):  # the reader sees the same end, and acts
            while True:
                self._channel.send(self._outbox.get())

    def _take(self, message: Any) -> None:
        if isinstance(message, wire.Cancel):
            self._context.cancel(message.job)
        elif isinstance(message, wire.Abort):
            self._abort(message)
        else:
            self._inbox.put(message)

    def _abort(self, message: wire.Abort) -> None:
        self._aborting = message.job
        self._context.cancel(message.job)
        if message.job == self._running:
            threading.Thread(
                target=self._interrupt, args=(message.job,), name="nbkit-rank-abort", daemon=True
            ).start()
            _abort_nccl()
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
        _forget_accelerator()
        self._context.begin(job)
        environment = dict(os.environ)
        self._signal_stack.restore()
        # A job may have turned it off, or to a pipe that ends with the process.
        faulthandler.enable(LOG_FD)
        self._follower.hear(job.loaded)
        try:
            self._running = job.job
            try:
                if self._aborting == job.job:
                    raise JobAborted
                if job.surroundings is not None:
                    self._follower.follow(job.surroundings)
                fn, args, kwargs = wire.load(job.payload)
                value = fn(self._context, *args, **kwargs) if job.with_context else fn(*args, **kwargs)
                answer: wire.Returned | wire.Raised = self._returned(job.job, value)
            finally:
                self._running = None
        except BaseException as error:
            self._running = None
            answer = _raised(job.job, error)
        if self._aborting == job.job:
            # It may have come while accelerate had cleared the environment: Accelerator() does, for a moment.
            os.environ.update({name: value for name, value in environment.items() if name not in os.environ})
        self._follower.look_at_new_modules()
        self._finish_lines()
        self._outbox.put(answer)
        if isinstance(answer, wire.Raised):
            # Frees the ranks that wait in a collective for this one: gloo wakes
            # them when a peer's connections close.
            _leave_group()

    def _finish_lines(self) -> None:
        # The job may have put streams of its own over these.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        for own in self._streams:
            own.finish_line()

    def _returned(self, job: int, value: object) -> wire.Returned:
        try:
            return wire.Returned(job, wire.dump(value))
        except Exception as error:
            raise TypeError(
                f"the return value, a {type(value).__name__}, cannot be sent to the notebook ({error}); "
                "return plain data: numbers, strings, lists, dicts, arrays, tensors."
            ) from None

    def _join_group(self, group: int) -> None:
        from accelerate import PartialState
        from accelerate.state import AcceleratorState

        _leave_group()
        AcceleratorState._reset_state(reset_partial_state=True)
        if group > 0 and self._backend is not None:
            _init_new_group(self._backend, self._store, group)
        state = PartialState(
            cpu=self._uses_cpu, **({"backend": "gloo"} if os.environ.get("NBKIT_SHARED_GPUS") else {})
        )
        self._backend = state.backend
        if self._store is None:
            self._store = _meeting_place()
        self._outbox.put(wire.Ready(_rank_info(state), group))

    def _send_log(self, stream: str, text: str) -> None:
        if (job := self._context.job_number) is not None:
            self._outbox.put(wire.RankLog(job, stream, text))


def _rank_info(state: Any) -> wire.RankInfo:
    import torch

    from nbkit.files.machine import processor_name

    device = state.device
    return wire.RankInfo(
        rank=state.process_index,
        local_rank=state.local_process_index,
        world_size=state.num_processes,
        node=socket.gethostname(),
        pid=os.getpid(),
        device=str(device),
        device_name=torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name(),
        backend=state.backend,
    )


def _raised(job: int, error: BaseException) -> wire.Raised:
    payload = None
    with contextlib.suppress(Exception):
        payload = wire.dump(error)
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


def _forget_accelerator() -> None:
    """Let a job choose its own Accelerator options; the process group underneath stays."""
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=False)
    GradientState._reset_state()


def _meeting_place() -> Any:
    """The store that the ranks met in, None for a rank alone; it outlives the process group.

    Kept, not connected to again: of torch's TCPStore connections that ranks make at the same
    moment about one in twelve takes 5 s (torch 2.13).
    """
    import torch.distributed as dist

    return dist.distributed_c10d._get_default_store() if dist.is_initialized() else None


def _init_new_group(backend: str, store: Any, group: int) -> None:
    """A process group with keys of its own: under the old ones the store still has the
    addresses of the group that was left."""
    import torch.distributed as dist
    from torch.distributed import PrefixStore  # type: ignore[attr-defined]

    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    own_keys = PrefixStore(f"nbkit-group-{group}", store)
    dist.init_process_group(backend, store=own_keys, rank=rank, world_size=world_size)


def _leave_group() -> None:
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        with contextlib.suppress(Exception):
            dist.destroy_process_group()


def _abort_nccl() -> None:
    """Wake the main thread out of an NCCL collective; gloo's end when a peer leaves."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized() and dist.get_backend() == "nccl":
        with contextlib.suppress(Exception):
            dist.distributed_c10d._abort_process_group()
