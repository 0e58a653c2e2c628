"""Where submissions are executed: processes of this machine, or a Dask cluster, behind one interface."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

from tlcore.grading.course import CourseError

Answer = TypeVar("Answer")


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
            self._executor = ProcessPoolExecutor(self.count, multiprocessing.get_context("spawn"))
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
