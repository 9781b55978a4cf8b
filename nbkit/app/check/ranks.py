"""Ranks: they answer, an error frees those that wait, and a killed one is named and replaced."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nbkit.app.check.bench import Bench
from nbkit.app.check.findings import Answer, Skipped, judged
from nbkit.app.check.runner import Part
from nbkit.errors import RankDied, RankError
from nbkit.inference.hello import HelloGather, hello_on_rank
from nbkit.inference.workers import Workers
from nbkit.runtime import RankInfo, current_job

ON_PURPOSE = "raised by nbkit check on purpose"
FREED_WITHIN_S = 5.0
GONE_WITHIN_S = 10.0
RANKS_JOB_S = 60.0
"""Within which these small jobs must end; meeting over NCCL for the first time takes seconds."""
UNTIL_ALL_WAIT_S = 1.0
COLLECTIVES = ("barrier", "gather")


@dataclass(frozen=True, slots=True)
class Meeting:
    """Ranks that meet over a backend, and what they run on."""

    backend: str
    ranks: int
    where: str

    @property
    def words(self) -> str:
        """As ``2 ranks over gloo on the CPU``."""
        backend = {"nccl": "NCCL"}.get(self.backend, self.backend)
        return f"{self.ranks} rank{'s' if self.ranks > 1 else ''} over {backend} on {self.where}"


def meetings(gpus: int) -> list[Meeting]:
    """The ways in which ranks meet on a machine with so many GPUs."""
    if not gpus:
        return [Meeting("gloo", 2, "the CPU")]
    own = "a GPU each" if gpus > 1 else "a GPU"
    # One rank more than there are GPUs: two share one, which NCCL refuses.
    shared = "one GPU" if gpus == 1 else f"{gpus} GPUs, one of them shared"
    return [Meeting("nccl", gpus, own), Meeting("gloo", gpus + 1, shared)]


def why_no_nccl(gpus: int) -> str | None:
    """Why several ranks cannot meet over NCCL on a machine with so many GPUs; None if they can."""
    if gpus > 1:
        return None
    return f"NCCL wants a GPU for each rank, and here is {'one' if gpus else 'none'}"


def hello(bench: Bench) -> Iterator[Part]:
    """A gather of greetings on 1 to n ranks, in each way that they meet."""
    if (why_not := why_no_nccl(len(bench.gpus))) is not None:
        yield Part("several ranks over NCCL", lambda: _skip(why_not))
    for meeting in meetings(len(bench.gpus)):
        yield Part(meeting.words, lambda m=meeting: _hello(bench, m))  # type: ignore[misc]


def errors(bench: Bench) -> Iterator[Part]:
    """An error on the last rank while the others wait for it, in each kind of collective."""
    for meeting in _of_several(bench):
        for collective in COLLECTIVES:
            name = f"an error frees a {collective}, {meeting.words}"
            yield Part(name, lambda m=meeting, c=collective, n=name: _error(bench, m, c, n))  # type: ignore[misc]


def kills(bench: Bench) -> Iterator[Part]:
    """A killed rank, in each way that ranks meet."""
    for meeting in _of_several(bench):
        name = f"a killed rank, {meeting.words}"
        yield Part(name, lambda m=meeting, n=name: _kill(bench, m, n))  # type: ignore[misc]


def _of_several(bench: Bench) -> list[Meeting]:
    return [meeting for meeting in meetings(len(bench.gpus)) if meeting.ranks > 1]


def _skip(reason: str) -> Answer:
    raise Skipped(reason)


def _hello(bench: Bench, meeting: Meeting) -> Answer:
    began_s = time.monotonic()
    workers = bench.workers(meeting.ranks)
    infos = bench.ranks(workers)
    start_s = time.monotonic() - began_s
    gather_ms, wrong = [], what_is_wrong_with_the_ranks(infos, meeting, len(bench.gpus))
    for count in range(1, meeting.ranks + 1):
        gathered = HelloGather.of(bench.finish(workers.on(*range(count)).submit(hello_on_rank), RANKS_JOB_S))
        gather_ms.append(1000 * max(gathered.gather_s))
        wrong += what_is_wrong_with_the_greetings(gathered, infos[:count], len(bench.gpus))
    counts = "1" if meeting.ranks == 1 else f"1 to {meeting.ranks}"
    said = "; ".join(wrong) or f"every answer of {counts} right; a gather took up to {max(gather_ms):.1f} ms"
    return judged(
        not wrong,
        f"{meeting.words}: {said}",
        backend=infos[0].backend,
        gather_ms=gather_ms,
        start_s=start_s,
        ranks=[f"{info.device} {info.device_name}" for info in infos],
    )


def what_is_wrong_with_the_ranks(infos: Sequence[RankInfo], meeting: Meeting, gpus: int) -> list[str]:
    """What is not as expected of ranks that have started, in words."""
    wrong = []
    if len(infos) != meeting.ranks:
        wrong.append(f"{len(infos)} ranks started instead of {meeting.ranks}")
    if meeting.ranks > 1 and infos[0].backend != meeting.backend:
        wrong.append(f"they met over {infos[0].backend} instead of {meeting.backend}")
    return wrong + [
        f"rank {info.rank} is on {info.device}" for info in infos if not is_device(info.device, info.rank, gpus)
    ]


def what_is_wrong_with_the_greetings(gathered: HelloGather, infos: Sequence[RankInfo], gpus: int) -> list[str]:
    """What is not as expected of the greetings of these ranks, in words."""
    kind = "GPU" if gpus else "CPU worker"
    wrong = []
    if [greeting.rank for greeting in gathered.greetings] != [info.rank for info in infos]:
        wrong.append(f"of {len(infos)} ranks {len(gathered.greetings)} answered, or in another order")
    for place, greeting in enumerate(gathered.greetings):
        if greeting.text != f"Hello this is {kind} {place}" or not is_device(greeting.device, greeting.rank, gpus):
            wrong.append(f"rank {greeting.rank} of {len(infos)} said {greeting.text!r} on {greeting.device}")
    return wrong


def is_device(device: str, rank: int, gpus: int) -> bool:
    """Whether a rank is where it should be: ranks are dealt to GPUs in turn."""
    kind, _, number = device.partition(":")
    # torch's name for the first device may have no number.
    return kind == "cuda" and int(number or 0) == rank % gpus if gpus else kind == "cpu"


def _error(bench: Bench, meeting: Meeting, collective: str, name: str) -> Answer:
    workers = bench.workers(meeting.ranks)
    before = [info.pid for info in bench.ranks(workers)]
    job = workers.submit(raise_while_the_others_wait, collective)
    last = meeting.ranks - 1
    try:
        bench.finish(job, RANKS_JOB_S)
    except RankError as error:
        if error.rank != last or ON_PURPOSE not in error.summary:
            raise
    else:
        return Answer("failed", f"{name}: the error did not reach the notebook")
    raised_s = job.emitted()[-1].value
    told_s = time.monotonic() - raised_s
    # The next job needs every rank: it runs once all are free.
    after = bench.finish(workers.submit(os.getpid), RANKS_JOB_S)
    served_s = time.monotonic() - raised_s
    kept = "the same ranks serve the next job" if after == before else "new ranks serve the next job"
    said = f"{name}: told after {told_s:.2f} s, free after {served_s:.2f} s; {kept}"
    is_good = served_s <= FREED_WITHIN_S and after == before
    return judged(is_good, said, told_s=told_s, served_s=served_s, most_s=FREED_WITHIN_S, same_ranks=after == before)


def _kill(bench: Bench, meeting: Meeting, name: str) -> Answer:
    workers = bench.workers(meeting.ranks)
    last = bench.ranks(workers)[-1]
    everyone = _family(workers)
    job = workers.submit(wait_for_one_that_sleeps)
    _until_all_wait(bench, job, meeting.ranks)
    killed_s = time.monotonic()
    os.kill(last.pid, signal.SIGKILL)
    try:
        bench.finish(job, RANKS_JOB_S)
    except RankDied as died:
        named = died.rank
    else:
        return Answer("failed", f"{name}: the job went on")
    named_s = time.monotonic() - killed_s
    are_gone = _gone_within(everyone, GONE_WITHIN_S)
    answered = bench.finish(workers.submit(os.getpid))
    again_s = time.monotonic() - killed_s
    everyone += _family(workers)
    workers.close()
    left = [] if are_gone and _gone_within(everyone, GONE_WITHIN_S) else [p.pid for p in everyone if _is_alive(p)]
    is_good = named == last.rank and are_gone and len(answered) == meeting.ranks and not left
    said = f"{name}: rank {named} named after {named_s:.2f} s, the next job done after {again_s:.1f} s, " + (
        "no process left" if are_gone and not left else f"processes left: {left or 'some for too long'}"
    )
    return judged(is_good, said, named_s=named_s, next_job_s=again_s, named=named, killed=last.rank, left=left)


def _until_all_wait(bench: Bench, job: Any, ranks: int) -> None:
    end_s = time.monotonic() + RANKS_JOB_S
    while len(job.emitted()) < ranks and not job.done() and time.monotonic() < end_s:
        time.sleep(0.05)
    time.sleep(UNTIL_ALL_WAIT_S / 2)


def raise_while_the_others_wait(collective: str) -> None:
    """On every rank: the last raises while the others are in a barrier or a gather."""
    from accelerate import Accelerator

    job, accelerator = current_job(), Accelerator()
    _meet(accelerator, collective)
    if job.rank == job.ranks[-1]:
        time.sleep(UNTIL_ALL_WAIT_S)
        job.emit(time.monotonic())
        raise ValueError(ON_PURPOSE)
    _meet(accelerator, collective)


def wait_for_one_that_sleeps() -> None:
    """On every rank: the last sleeps, the others wait for it in a barrier."""
    from accelerate import Accelerator

    job, accelerator = current_job(), Accelerator()
    accelerator.wait_for_everyone()
    job.emit("waits")
    if job.rank == job.ranks[-1]:
        time.sleep(2 * RANKS_JOB_S)
    accelerator.wait_for_everyone()


def _meet(accelerator: Any, collective: str) -> None:
    from accelerate.utils import gather_object

    if collective == "barrier":
        accelerator.wait_for_everyone()
    else:
        gather_object([accelerator.process_index])


def _family(workers: Workers) -> list[Any]:
    """The processes behind workers: their host, and all below it."""
    import psutil

    host = psutil.Process(workers.wait_until_ready()[0].pid).parent()
    return [] if host is None else [host, *host.children(recursive=True)]


def _gone_within(processes: Sequence[Any], seconds: float) -> bool:
    end_s = time.monotonic() + seconds
    while any(_is_alive(process) for process in processes):
        if time.monotonic() > end_s:
            return False
        time.sleep(0.05)
    return True


def _is_alive(process: Any) -> bool:
    import psutil

    try:
        # A process that has another's number by now is not alive, to psutil.
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
