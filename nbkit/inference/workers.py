"""Workers: the ranks that stay alive behind a notebook, as users know them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nbkit.errors import InputError, shorten
from nbkit.records.run import Run
from nbkit.records.settings import Settings
from nbkit.runtime.job import Job
from nbkit.runtime.pool import MOST_RANKS, Pool, Ranks, check_rank_numbers

if TYPE_CHECKING:
    from nbkit.inference.bulk import Bulk
    from nbkit.inference.hello import HelloGather
    from nbkit.records.request import PromptLike


class InferenceRanks(Ranks):
    """Some or all ranks of workers: they run functions, say hello, and generate."""

    def hello(self) -> HelloGather:
        """Run the hello-world gather: a greeting from each rank, and how long the gather took.

        Raises
        ------
        RankError, RankDied, InputError, WorkersError
            As for ``run``.
        """
        from nbkit.inference.hello import HelloGather, hello_on_rank

        return HelloGather.of(self.run(hello_on_rank))

    def generate(
        self,
        prompts: Sequence[PromptLike],
        settings: Settings | None = None,
        *,
        ranks: int | None = None,
        **changes: Any,
    ) -> Run:
        """Generate on the ranks and return the ``Run``.

        Parameters
        ----------
        prompts : sequence of str, or of lists of messages
            At least one. A list of messages ``{"role": ..., "content": ...}`` goes through the
            model's chat template.
        settings : Settings, optional
            What is asked for; single fields can be given by name instead:
            ``workers.generate(prompts, batch_size=16)``.
        ranks : int, optional
            Use only the first so many ranks; the others are free for other jobs. Left out: all.

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
        from nbkit.inference import finished_runs, generation
        from nbkit.models import check_name
        from nbkit.records.request import check_prompts

        asked, listed = Settings.of(settings, **changes), check_prompts(prompts)
        check_name(asked.model)
        job = self.pool.give(
            generation.generate_on_rank,
            (listed, asked),
            {},
            self._first(ranks),
            heeds_cancel=True,
            collect=lambda job, values, is_partial: generation.run_of(
                job.emitted(), listed, asked, values, is_partial
            ),
        )
        finished_runs.tell_when_done(job)
        return job

    def bulk(
        self,
        source: str | Path | Iterable[PromptLike],
        folder: str | Path,
        settings: Settings | None = None,
        *,
        column: str | None = None,
        on_error: str = "record",
        **changes: Any,
    ) -> Bulk:
        """Generate for any number of prompts, into a folder that survives what ends it; the same call goes on.

        Prompts are read as they are needed and outputs written as they finish, so that neither is ever in memory
        as a whole. Each prompt has exactly one output, or one error, and at the end ``outputs.jsonl`` has them in the
        prompts' order. When a rank is lost, others start and go on; after an interrupt, a kill or a reboot the same
        call goes on where it was, with any number of ranks. ``nbkit.Bulk.open(folder)`` reads it meanwhile.

        Parameters
        ----------
        source : path or iterable
            A file of prompts, as ``nbkit.read_prompts`` reads it, or the prompts themselves.
        folder : path
            New or empty, or that of the bulk to go on with.
        settings : Settings, optional
            As for ``generate``. Who goes on may ask for another batch size, order, token budget, padding or warm-up:
            these change no text in float32.
        column : str, optional
            The column, or key, with the prompts of a file, where it is not plain.
        on_error : {"record", "stop"}
            What becomes of a prompt that cannot be generated for: its error is recorded, or the bulk stops.

        Raises
        ------
        InputError, ModelError
            The source or a setting cannot be used, is another than the bulk's, or another process is at it; with
            ``on_error="stop"`` which prompt failed.
        RankError, WorkersError
            Ranks were lost again and again without any output.
        NbkitError
            There is no room left to write; what is written is kept.
        """
        from nbkit.inference.bulk.driver import run_bulk
        from nbkit.models import check_name

        asked = Settings.of(settings, **changes)
        check_name(asked.model)
        return run_bulk(self, source, folder, asked, column=column, on_error=on_error)

    def _first(self, count: int | None) -> tuple[int, ...] | None:
        if count is None:
            return self.numbers
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise InputError(f"ranks must be a whole number of at least 1, not {shorten(count)}.")
        if count > MOST_RANKS:
            raise InputError(f"ranks must be at most {MOST_RANKS:,}, not {shorten(count)}.")
        if self.numbers is None:
            return tuple(range(count))
        if count > len(self.numbers):
            raise InputError(
                f"ranks={count}, but these are {len(self.numbers)}: {', '.join(map(str, self.numbers))}."
            )
        return self.numbers[:count]


class Workers(InferenceRanks, Pool):
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

    preload = ("nbkit.inference.before_fork:import_models",)

    def on(self, *ranks: int) -> SomeRanks:
        """These ranks alone: they form a group of their own for a job, and leave the others free.

        ``workers.on(0, 1).submit(fn)`` runs beside ``workers.on(2, 3).submit(fn)``; each
        survives the other's error and cancel. Where ranks overlap, first come is first
        served. But when the process of one rank ends, notebook_launcher ends all, and
        every job with them.

        Raises
        ------
        InputError
            A number is no whole number of at least 0, or none is given; a rank that is
            not there is an error of the job.

        Notes
        -----
        Inside a function accelerate counts the job's ranks from 0. On GPUs its
        ``local_process_index`` is the GPU's number, for its barriers need that: without GPU 0
        no rank is the *local* main process, so let ``is_main_process`` print.
        """
        return SomeRanks(self, check_rank_numbers(ranks))


class SomeRanks(InferenceRanks):
    """Some ranks of workers, as ``Workers.on`` gives them."""

    def __init__(self, pool: Pool, numbers: tuple[int, ...]) -> None:
        self.pool = pool
        self.numbers = numbers

    def __repr__(self) -> str:
        return f"<ranks {', '.join(map(str, self.numbers or ()))} of {self.pool!r}>"


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
