"""Many small experiments at once: the same network, trained with other seeds, other rates, other data.

Three ways to run them give the same numbers: all together in one stack of weights (`torch.func.vmap`), shared out over
single-threaded processes, or one by one. Which is fastest depends on the network and the machine, so a
step is timed first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tlcore import runtime
from tlcore.training.choice import Way, fastest_way
from tlcore.training.experiment import Job, Plan, loop
from tlcore.training.journal import Journal
from tlcore.training.processes import processes
from tlcore.training.results import Results, State
from tlcore.training.stack import together
from tlcore.worlds import Dataset

Backend = Literal["auto", "vmap", "processes", "loop"]
BACKENDS: tuple[Backend, ...] = ("auto", "vmap", "processes", "loop")
_KNOBS = {"seed": 0, "lr": 0.1, "factor": 1.0, "momentum": 0.9, "weight_decay": 0.0, "data": 0}


class Lab:
    """Trains K networks of one kind by stochastic gradient descent with momentum.

    >>> data = Dataset(torch.randn(200, 8), torch.randint(2, (200,)), ("a", "b"))
    >>> lab = Lab(lambda: nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2)), backend="loop")
    >>> found = lab.run([{"seed": s, "lr": lr} for s in range(2) for lr in (0.01, 0.1)], data, steps=20, batch_size=32)
    >>> found.column("lr"), len(found.states)
    ([0.01, 0.1, 0.01, 0.1], 4)

    Parameters
    ----------
    make
        Builds the network; called once per experiment, after torch was seeded with the experiment's seed. It must not
        draw random numbers in its forward pass (dropout), and for "vmap" not keep statistics (batch normalisation).
    loss
        From outputs and targets to a scalar.
    backend
        "auto" times a step of each that is possible here.
    chunk
        Networks trained together by "vmap"; default as many as 1 GB of weights, gradients and momentum allows.
    """

    def __init__(
        self,
        make: Callable[[], nn.Module],
        *,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = cross_entropy,
        backend: Backend = "auto",
        chunk: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if backend not in BACKENDS:
            raise ValueError(f"Lab(backend={backend!r}): accepted are {', '.join(map(repr, BACKENDS))}")
        if chunk is not None and chunk < 1:
            raise ValueError(f"Lab(chunk={chunk}): from 1 on is accepted")
        self.make, self.loss, self.backend, self.chunk, self.dtype = make, loss, backend, chunk, dtype
        self.device = runtime.device() if device is None else torch.device(device)

    def run(
        self,
        experiments: Iterable[Mapping[str, Any]],
        data: Dataset | Sequence[Dataset],
        *,
        steps: int,
        batch_size: int,
        val: Dataset | Sequence[Dataset] | None = None,
        journal: str | Path | None = None,
    ) -> Results:
        """Train every experiment and evaluate it.

        Parameters
        ----------
        experiments
            Settings out of seed, lr, factor (each layer's rate is that of the next one divided by it, as in
            `parameter_groups`), momentum, weight_decay and data (which dataset); other keys are kept in the rows.
        data, val
            One dataset for all, or several of one size and shape, chosen by number.
        journal
            A file that keeps the rows of what is done (not the weights); a run that was stopped goes on from there.
        """
        if steps < 1 or batch_size < 1:
            raise ValueError(f"run(steps={steps}, batch_size={batch_size}): from 1 on is accepted")
        plans = [dict(_KNOBS) | dict(one) for one in experiments]
        sets, checks = _several(data, "data"), _several(val, "val") if val is not None else None
        _check_plans(plans, len(sets))
        if checks is not None and len(checks) not in (1, len(sets)):
            raise ValueError(
                f"run(val=…): {len(checks)} datasets for {len(sets)} to train on; one for each, or one in all"
            )
        sets = [self._placed(one) for one in sets]
        checks = [self._placed(one) for one in checks] if checks else None
        job = Job(self.make, self.loss, self.device, self.dtype, sets, checks, steps, batch_size)
        done = Journal(journal, job)
        todo = [n for n, plan in enumerate(plans) if done.row(plan) is None]
        way = self._way(job, [plans[n] for n in todo]) if todo else Way("journal")
        rows: list[dict[str, Any] | None] = [done.row(plan) for plan in plans]
        states: list[State] = [{} for _ in plans]
        size = len(plans)
        if way.backend == "vmap":
            size = way.size
        elif journal:  # come back now and then, so that not much is lost
            size = 1 if way.backend == "loop" else 8 * runtime.cores() * way.size
        for start in runtime.progress(range(0, len(todo), size), "experiments"):
            part = todo[start : start + size]
            chosen = [plans[n] for n in part]
            if way.backend == "vmap":
                made = together(job, chosen, way.tried)
            else:
                made = processes(job, chosen, way.size) if way.backend == "processes" else loop(job, chosen)
            for n, (row, state) in zip(part, made, strict=True):
                rows[n], states[n] = plans[n] | row, state
                done.keep(plans[n], plans[n] | row)
        return Results([row for row in rows if row is not None], states, way.backend)

    def _placed(self, data: Dataset) -> Dataset:
        if not isinstance(data.inputs, torch.Tensor):
            raise TypeError("Lab: the inputs are texts; turn them into tensors first")
        inputs = data.inputs.to(self.dtype) / 255 if data.inputs.dtype == torch.uint8 else data.inputs
        inputs, targets = (t.to(self.dtype) if t.is_floating_point() else t for t in (inputs, data.targets))
        return Dataset(inputs.to(self.device), targets.to(self.device), data.classes, data.origin)

    def _way(self, job: Job, plans: list[Plan]) -> Way:
        """The backend asked for, or the one that promises to be done first."""
        if self.backend != "auto":
            return Way(self.backend, self._chunk(job) if self.backend == "vmap" else 1)
        return fastest_way(job, plans, self._chunk(job))

    def _chunk(self, job: Job) -> int:
        if self.chunk is not None:
            return self.chunk
        numbers = sum(p.numel() for p in job.models([0])[0].parameters())
        return max(1, min(1024, 2**30 // (12 * max(1, numbers))))


def _several(data: Dataset | Sequence[Dataset], what: str) -> list[Dataset]:
    found = [data] if isinstance(data, Dataset) else list(data)
    if not found or any(len(one) == 0 for one in found):
        raise ValueError(f"run({what}=…): at least one dataset, none of them empty")
    return found


def _check_plans(plans: list[Plan], sets: int) -> None:
    if not plans:
        raise ValueError("run([]): at least one experiment is needed; {} is one with the usual settings")
    for n, plan in enumerate(plans):
        if not 0 <= plan["data"] < sets:
            raise ValueError(f"experiment {n}: data={plan['data']}, but there are {sets} datasets, counted from 0")
        if not (plan["lr"] > 0 and plan["factor"] > 0 and plan["momentum"] >= 0 and plan["weight_decay"] >= 0):
            raise ValueError(
                f"experiment {n}: lr above 0, factor too, momentum and weight_decay from 0 on are accepted: {plan}"
            )
