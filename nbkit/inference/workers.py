"""Workers: the ranks that stay alive behind a notebook."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

from nbkit.errors import InputError, WorkersError
from nbkit.records.run import Run
from nbkit.records.settings import Settings
from nbkit.runtime import wire
from nbkit.runtime.assignment import Assignment
from nbkit.runtime.dispatch import Dispatcher
from nbkit.runtime.job import Collect, Job
from nbkit.runtime.surroundings.module_journal import module_journal
from nbkit.runtime.surroundings.surroundings import surroundings_here

if TYPE_CHECKING:
    from nbkit.inference.hello import Hello
    from nbkit.records.request import PromptLike


class Workers:
    """Ranks that start once, run many jobs, and end with the notebook.

    Parameters
    ----------
    n : int, optional
        How many ranks. Left out: one for each GPU, or 2 CPU workers where there is
        no GPU. More ranks than GPUs share them. ``ACCELERATE_USE_CPU=1`` in the
        environment keeps off the GPUs.

    Attributes
    ----------
    last_job : Job or None
        The job submitted last. After an interrupt or an error, ``last_job.partial()``
        has what was finished.

    Raises
    ------
    InputError
        ``n`` is not a whole number of at least 1.

    Notes
    -----
    The constructor returns at once; jobs wait until the ranks are up. A host process
    calls accelerate's ``notebook_launcher``, so nothing that happened in the notebook
    (threads, CUDA, an ``Accelerator``) is in the way. Use as a context manager or
    call ``close()``; what is forgotten ends with the kernel.
    """

    def __init__(self, n: int | None = None) -> None:
        self.last_job: Job | None = None
        self._start(_check_count(n))

    def _start(self, asked: int) -> None:
        module_journal()  # begun now: what is reloaded before any rank has it does not matter
        self._numbers = itertools.count(1)
        self._dispatcher = Dispatcher(asked)
        self._finalizer = weakref.finalize(self, self._dispatcher.close)
        self._dispatcher.start()

    def __repr__(self) -> str:
        dispatcher = self._dispatcher
        if not dispatcher.is_alive():
            return "<Workers: closed>"
        if not dispatcher.infos:
            return f"<Workers: {'not started' if dispatcher.settled.is_set() else 'starting'}>"
        devices = ", ".join(f"rank {info.rank} on {info.device}" for info in dispatcher.infos)
        return f"<Workers: {devices}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return not self._dispatcher.is_alive()

    @property
    def is_ready(self) -> bool:
        """Whether the ranks are up."""
        return bool(self._dispatcher.infos)

    def wait_until_ready(self, timeout: float | None = None) -> list[wire.RankInfo]:
        """Wait until the ranks are up and say who they are, in rank order.

        Raises
        ------
        WorkersError
            They could not start, or did not within ``timeout`` seconds.
        """
        if not self._dispatcher.settled.wait(timeout):
            raise WorkersError(f"the workers are not ready after {timeout} s.")
        if self._dispatcher.start_error is not None:
            raise self._dispatcher.start_error
        if self.is_closed:
            raise WorkersError("these workers are closed; make new ones with nbkit.Workers().")
        if not self._dispatcher.infos:
            # They were lost in an earlier job: a job, even an empty one, restarts them.
            self.run(int)
        return list(self._dispatcher.infos)

    @property
    def world_size(self) -> int:
        """The number of ranks; waits until they are up."""
        return len(self.wait_until_ready())

    def run(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> list[Any]:
        """Call ``fn(*args, **kwargs)`` on every rank and return every rank's value, in rank order.

        Inside ``fn`` use accelerate as anywhere: ``Accelerator()``,
        ``split_between_processes``, ``gather_object``. What ranks print appears here
        with their number. An interrupt cancels the job and keeps the workers.

        Raises
        ------
        RankError
            ``fn`` raised on a rank.
        RankDied
            A rank's process ended.
        WorkersError
            The workers cannot start or are closed, or ``fn`` cannot be sent to them.
        """
        return self.submit(fn, *args, **kwargs).result()  # type: ignore[no-any-return]

    def submit(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Job:
        """Like ``run``, but return a ``Job`` at once.

        Raises
        ------
        WorkersError
            The workers are closed, or ``fn`` cannot be sent to them.
        """
        return self._submit(fn, args, kwargs)

    def hello(self) -> Hello:
        """Run the hello-world gather: a greeting from each rank, and how long the gather took.

        Raises
        ------
        RankError, RankDied, WorkersError
            As for ``run``.
        """
        from nbkit.inference.hello import Hello, hello_on_rank

        job = self._submit(hello_on_rank, with_context=True)
        return Hello.of(job.result())

    def generate(
        self,
        prompts: Sequence[PromptLike],
        settings: Settings | None = None,
        *,
        ranks: int | None = None,
        **changes: Any,
    ) -> Run:
        """Generate on all ranks and return the ``Run``.

        Parameters
        ----------
        prompts : sequence of str, or of lists of messages
            At least one. A list of messages ``{"role": ..., "content": ...}`` goes through the
            model's chat template.
        settings : Settings, optional
            What is asked for; single fields can be given by name instead:
            ``workers.generate(prompts, batch_size=16)``.
        ranks : int, optional
            Use only the first so many ranks; the others idle. Left out: all.

        Raises
        ------
        InputError, ModelError
            A prompt or a setting cannot be used, or there are not so many ranks.
        RankError, RankDied, WorkersError
            As for ``run``.
        """
        return self.submit_generate(prompts, settings, ranks=ranks, **changes).result()  # type: ignore[no-any-return]

    def submit_generate(
        self,
        prompts: Sequence[PromptLike],
        settings: Settings | None = None,
        *,
        ranks: int | None = None,
        **changes: Any,
    ) -> Job:
        """Like ``generate``, but return a ``Job`` at once.

        Its events carry a ``nbkit.engines.BatchDone`` for each batch as it
        finishes and a ``Progress`` a few times a second. When it is cancelled, the
        ``JobCancelled`` holds the partial ``Run``.
        """
        from nbkit.inference import generation
        from nbkit.models import check_name
        from nbkit.records.request import check_prompts

        asked, listed = Settings.of(settings, **changes), check_prompts(prompts)
        check_name(asked.model)
        self._check_ranks(ranks)
        return self._submit(
            generation.generate_on_rank,
            (listed, asked, ranks),
            with_context=True,
            collect=lambda job, values, is_partial: generation.run_of(
                job.emitted(), listed, asked, values, is_partial
            ),
        )

    def _check_ranks(self, ranks: int | None) -> None:
        if ranks is None:
            return
        if not isinstance(ranks, int) or isinstance(ranks, bool) or ranks < 1:
            raise InputError(f"ranks must be a whole number of at least 1, not {ranks!r}.")
        if ranks > self.world_size:
            raise InputError(f"ranks={ranks}, but only {self.world_size} are started; resize({ranks}) starts others.")

    def resize(self, n: int | None) -> None:
        """Have ``n`` ranks from now on: end these, cancel their jobs, start others.

        Raises
        ------
        InputError
            ``n`` is not a whole number of at least 1.
        """
        asked = _check_count(n)
        self.close()
        self._start(asked)

    def close(self) -> None:
        """End the ranks and free their devices; safe to call again."""
        self._finalizer()

    def _submit(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        with_context: bool = False,
        collect: Collect = lambda job, values, is_partial: None if is_partial else values,
    ) -> Job:
        if self.is_closed:
            raise WorkersError("these workers are closed; make new ones with nbkit.Workers().")
        name = getattr(fn, "__name__", type(fn).__name__)
        try:
            payload = wire.dump((fn, args, kwargs or {}))
        except Exception as error:
            raise WorkersError(
                f"{name} or its arguments cannot be sent to the workers: {error}. Make what cannot travel "
                "(open files, locks, widgets) inside the function."
            ) from error
        self.last_job = job = Job(name, collect, self._dispatcher.cancel)
        self._dispatcher.submit(
            Assignment(job, next(self._numbers), payload, with_context, surroundings_here(), module_journal().look())
        )
        return job


def launch(fn: Callable[..., Any], *args: Any, num_processes: int | None = None) -> list[Any]:
    """Start workers, call ``fn(*args)`` on every rank, end them, return every rank's value in rank order.

    The one-shot form of ``Workers.run``, to use in place of accelerate's
    ``notebook_launcher``, which returns nothing.

    Raises
    ------
    InputError, RankError, RankDied, WorkersError
        As for ``Workers``.
    """
    with Workers(num_processes) as workers:
        return workers.run(fn, *args)


def _check_count(n: int | None) -> int:
    if n is None:
        return 0
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise InputError(f"the number of workers must be a whole number of at least 1, not {n!r}.")
    return n
