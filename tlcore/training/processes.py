"""Experiments shared out over single-threaded processes."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import torch
from safetensors.torch import load, save

from tlcore.runtime import cores
from tlcore.training.experiment import Done, Job, Plan, loop
from tlcore.training.stack import together


def forks() -> bool:
    """Whether processes start as copies of this one: at once, with the data. With a GPU torch cannot train in those."""
    return sys.platform == "linux" and not torch.cuda.is_available()


def processes(job: Job, plans: list[Plan], size: int = 1) -> Done:
    """Each process takes its share: one network after the other, or `size` of them in a stack at a time."""
    count = min(cores(), len(plans))
    shares = [plans[n::count] for n in range(count)]
    if forks():
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        key = next(_RUNS)
        _INHERITED[key] = [(job, share, size) for share in shares]
        try:
            with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("fork")) as pool:
                found = list(pool.map(_inherited, [(key, number) for number in range(count)]))
        finally:
            del _INHERITED[key]
    else:
        from joblib import Parallel, delayed, parallel_config

        with parallel_config(backend="loky", n_jobs=count, inner_max_num_threads=1):
            found = Parallel()(delayed(_single)(job, share, size) for share in shares)
    made: Done = [({}, {})] * len(plans)
    for n, share in enumerate(found):
        made[n::count] = [
            (row, {name: tensor.to(job.device) for name, tensor in load(state).items()}) for row, state in share
        ]
    return made


_RUNS = itertools.count()
_INHERITED: dict[int, list[tuple[Job, list[Plan], int]]] = {}  # what forked processes find in their copy of this one


def _inherited(which: tuple[int, int]) -> list[tuple[dict[str, Any], bytes]]:
    key, number = which
    return _single(*_INHERITED[key][number])


def _single(job: Job, plans: list[Plan], size: int) -> list[tuple[dict[str, Any], bytes]]:
    """Rows and weights, as bytes: many tensors would each take a file handle on their way back."""
    torch.set_num_threads(1)
    if size == 1:
        found = loop(job, plans)
    else:
        found = [one for n in range(0, len(plans), size) for one in together(job, plans[n : n + size])]
    return [
        (row, save({name: tensor.cpu().contiguous().clone() for name, tensor in state.items()})) for row, state in found
    ]
