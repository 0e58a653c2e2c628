"""Which way of running many experiments is done first: a step of each is timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from tlcore.runtime import cores
from tlcore.training.experiment import Job, One, Plan
from tlcore.training.processes import forks
from tlcore.training.stack import Stack


@dataclass(frozen=True)
class Way:
    """How experiments are run: the backend, how many networks stand in a stack, and a stack that was tried."""

    backend: str
    size: int = 1
    tried: Stack | None = None


def fastest_way(job: Job, plans: list[Plan], most: int) -> Way:
    """Time a step one by one, in a single thread, and in stacks of up to `most` networks.

    Processes each run one network after the other or small stacks, which stay in their core's cache.
    """
    total, workers = job.steps * len(plans), cores()
    expected = {Way("loop"): _seconds(One(job, plans[0]).step, job.device) * total}
    if job.device.type == "cpu" and workers > 1:
        start = 0.2 if forks() else 4.0  # seconds until the processes work
        with _one_thread():
            alone = _seconds(One(job, plans[0]).step, job.device)
            expected[Way("processes")] = start + alone * total / workers
            for size in (8, 32):
                if 2 * size <= len(plans) // workers and (stack := _stack(job, plans[:size])) is not None:
                    each = _seconds(stack.step, job.device) / size
                    expected[Way("processes", size)] = start + each * total / workers
    best = min(expected.values())
    for size in (4, min(most, len(plans))):  # a few first: large stacks of large networks are slow
        if (stack := _stack(job, plans[:size])) is None:
            break
        together = _seconds(stack.step, job.device) * total / len(stack.plans)
        expected[Way("vmap", most, stack)] = together
        if together > 2 * best:
            break
    return min(expected, key=expected.__getitem__)


def _stack(job: Job, plans: list[Plan]) -> Stack | None:
    """A stack that has taken a step, or None: some networks can be stacked and then fail in it."""
    try:
        stack = Stack(job, plans)
        stack.step()
        return stack
    except (RuntimeError, ValueError, NotImplementedError):  # a network that cannot be stacked
        return None


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _seconds(call: Callable[[], Any], device: torch.device, most: float = 0.05) -> float:
    """Seconds of a call: the median of up to nine after one that warms up, for about 0.05 s in all."""

    def wait() -> None:  # a GPU is told what to do, and does it later
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()

    call()
    wait()
    times: list[float] = []
    while len(times) < 9 and (not times or sum(times) < most):
        start = time.perf_counter()
        call()
        wait()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]
