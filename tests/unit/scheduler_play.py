"""A scheduler on a launcher that starts nothing, with a clock that stands still; a test plays all others."""

from __future__ import annotations

from collections.abc import Iterable

from nbkit.runtime import wire
from nbkit.runtime.assignment import Assignment
from nbkit.runtime.deadlines import Deadlines
from nbkit.runtime.job import Job
from nbkit.runtime.launchers.launcher import Death
from nbkit.runtime.pickling import dump
from nbkit.runtime.scheduler import Scheduler


class FakeLauncher:
    """Starts nothing; remembers what it was told to do."""

    def __init__(self) -> None:
        self.starts = 0
        self.kills = 0
        self.sent: list[tuple[int, object]] = []

    def start(self, events: object) -> None:
        self.starts += 1
        self.sent.clear()

    def send(self, message: object, ranks: Iterable[int]) -> None:
        self.sent += [(rank, message) for rank in ranks]

    def kill(self) -> None:
        self.kills += 1

    def log_tail(self) -> str:
        return "its last words"


class Play:
    """A scheduler with its fake launcher; the test plays the ranks, the user and the time."""

    def __init__(self, world_size: int = 4) -> None:
        self.now = 0.0
        self.launcher = FakeLauncher()
        self.deadlines = Deadlines(lambda: self.now)
        self.scheduler = Scheduler(self.launcher, self.deadlines)
        self.world_size = world_size
        self.numbers = 0
        self.scheduler.start()

    def come_up(self) -> Play:
        self.scheduler.planned(wire.Plan(self.world_size, "cpu", 0, None))
        for rank in range(self.world_size):
            self.scheduler.received(rank, wire.Ready(self.info(rank)))
        return self

    def info(self, rank: int) -> wire.RankInfo:
        return wire.RankInfo(rank, rank, self.world_size, "node", 100 + rank, "cpu", "a processor", "gloo")

    def submit(self, *ranks: int, heeds_cancel: bool = False) -> Job:
        self.numbers += 1
        job = Job(f"job {self.numbers}", lambda job, values, is_partial: values, self.scheduler.cancel)
        self.scheduler.submit(
            Assignment(
                job, self.numbers, b"", ranks or None, heeds_cancel, wire.Surroundings(None, ()), modules_known=0
            )
        )
        return job

    def orders(self) -> dict[int, list[int]]:
        """The jobs that ranks have been given since the last start: number to ranks."""
        given: dict[int, list[int]] = {}
        for rank, message in self.launcher.sent:
            if isinstance(message, wire.RunJob):
                given.setdefault(message.job, []).append(rank)
        return given

    def groups(self) -> list[wire.Group]:
        return [message.group for _, message in self.launcher.sent if isinstance(message, wire.RunJob)]

    def told(self, kind: type, number: int) -> list[int]:
        return [rank for rank, message in self.launcher.sent if isinstance(message, kind) and message.job == number]

    def begun(self, number: int, *ranks: int) -> None:
        for rank in ranks:
            self.scheduler.received(rank, wire.Begun(number))

    def returned(self, number: int, *ranks: int) -> None:
        for rank in ranks:
            self.scheduler.received(rank, wire.Returned(number, dump(f"value of {rank}")))

    def raised(self, number: int, *ranks: int, in_collective: bool = False, aborted: bool = False) -> None:
        for rank in ranks:
            word = "JobAborted" if aborted else "ValueError: no"
            self.scheduler.received(rank, wire.Raised(number, word, (), "", None, aborted, in_collective))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.deadlines.meet()

    def die(self, rank: int) -> None:
        self.scheduler.vanished(rank)
        self.scheduler.died(Death(rank, None, "was killed (SIGKILL)"))
