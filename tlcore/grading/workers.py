"""Where submissions are executed: processes of this machine, or a Dask cluster, behind one interface."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

from tlcore.grading.course import CourseError

Answer = TypeVar("Answer")
_MEMORY = 6 * 2**30  # bytes of a worker itself


def _settle(turns: Any, threads: int, memory: int) -> None:
    """Make a fresh worker keep to its own cores, which its kernels inherit, and to so much memory.

    A kernel that starts a hundred busy processes then slows down nobody but itself.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        with turns.get_lock():
            turn, turns.value = turns.value, turns.value + 1
        mine = {cores[(turn * threads + n) % len(cores)] for n in range(threads)}
        os.sched_setaffinity(0, mine)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (memory if hard < 0 else min(memory, hard), hard))


class Workers:
    """A `concurrent.futures.Executor` that can be renewed when one of its processes has died.

    Parameters
    ----------
    count
        Processes on this machine.
    scheduler
        Address of a Dask scheduler, such as ``tcp://127.0.0.1:8786``; its workers are used instead.
    """

    def __init__(self, count: int, scheduler: str | None = None) -> None:
        if count < 1:
            raise CourseError(f"workers={count}: at least one process is needed")
        self.count, self.scheduler = count, scheduler
        self.threads = max(1, (os.cpu_count() or 1) // count)
        self._client: Any = None
        self._executor: Executor | None = None

    def __enter__(self) -> Workers:
        if self.scheduler:
            try:
                from distributed import Client
            except ImportError:
                raise CourseError("--scheduler needs distributed: pip install 'tlcore[cluster]'") from None
            try:
                self._client = Client(self.scheduler, timeout=10)
            except (OSError, TimeoutError, ValueError) as error:
                raise CourseError(f"no Dask scheduler answers at {self.scheduler}: {error}") from None
            self.count = max(1, sum(self._client.nthreads().values()))
            self._executor = self._client.get_executor(pure=False, retries=1)
        return self

    def submit(self, fn: Callable[..., Answer], *args: Any) -> Future[Answer]:
        """Run ``fn(*args)`` on a worker."""
        if self._executor is None:
            context = multiprocessing.get_context("spawn")
            settings = (context.Value("i", 0), self.threads, _MEMORY)
            self._executor = ProcessPoolExecutor(self.count, context, initializer=_settle, initargs=settings)
        return self._executor.submit(fn, *args)

    def renew(self) -> None:
        """Leave a broken pool behind; the next call starts a new one."""
        if self._client is None and self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=kind is None)
        if self._client is not None:
            self._client.close()
