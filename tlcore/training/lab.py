"""Many small experiments at once: the same network, trained with other seeds, other rates, other data.

Three ways to run them give the same numbers: all together in one stack of weights (`torch.func.vmap`), shared out over
single-threaded processes, or one by one. Which is fastest depends on the network and the machine, so a
step is timed first.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from tlcore import plots, runtime
from tlcore.worlds import Dataset

Backend = Literal["auto", "vmap", "processes", "loop"]
BACKENDS: tuple[Backend, ...] = ("auto", "vmap", "processes", "loop")
_KNOBS = {"seed": 0, "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0, "data": 0}
_PROCESS_START = 4.0  # seconds until a process has imported torch
State = dict[str, torch.Tensor]


@dataclass(repr=False)
class Results:
    """One row per experiment, in the order they were given: its settings, losses and accuracies.

    `states` holds the trained weights, `backend` what was used.
    """

    rows: list[dict[str, Any]]
    states: list[State] = field(default_factory=list)
    backend: str = ""

    def column(self, name: str) -> list[Any]:
        """One figure over all experiments."""
        if self.rows and name not in self.rows[0]:
            raise ValueError(f"column({name!r}): accepted are {', '.join(self.rows[0])}")
        return [row[name] for row in self.rows]

    def mean(self, of: str, by: Sequence[str]) -> list[dict[str, Any]]:
        """Mean, standard error and number of `of` for each combination of the settings `by`."""
        groups: dict[tuple[Any, ...], list[float]] = {}
        for row in self.rows:
            groups.setdefault(tuple(row[name] for name in by), []).append(row[of])
        made = []
        for key, values in groups.items():
            numbers = torch.tensor(values, dtype=torch.float64)
            error = float(numbers.std() / len(values) ** 0.5) if len(values) > 1 else float("nan")
            made.append(dict(zip(by, key)) | {of: float(numbers.mean()), "error": error, "count": len(values)})
        return made

    def table(self) -> plots.Table:
        """All rows, as text and as HTML."""
        header = list(self.rows[0]) if self.rows else []
        return plots.table([list(row.values()) for row in self.rows], header)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


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
            Settings out of seed, lr, momentum, weight_decay and data (which dataset); other keys are kept in the
            rows as they are.
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
        sets = [self._placed(one) for one in sets]
        checks = [self._placed(one) for one in checks] if checks else None
        job = _Job(self, sets, checks, steps, batch_size)
        done = _Journal(journal, job)
        todo = [n for n, plan in enumerate(plans) if done.row(plan) is None]
        backend = self._choose(job, [plans[n] for n in todo]) if todo else "journal"
        rows: list[dict[str, Any] | None] = [done.row(plan) for plan in plans]
        states: list[State] = [{} for _ in plans]
        size = self._chunk(job) if backend == "vmap" else max(1, (os.cpu_count() or 1) * 8)
        for start in runtime.progress(range(0, len(todo), size), "experiments"):
            part = todo[start : start + size]
            for n, (row, state) in zip(part, _RUNNERS[backend](job, [plans[n] for n in part]), strict=True):
                rows[n], states[n] = plans[n] | row, state
                done.keep(plans[n], plans[n] | row)
        return Results([row for row in rows if row is not None], states, backend)

    def _placed(self, data: Dataset) -> Dataset:
        if not isinstance(data.inputs, torch.Tensor):
            raise TypeError("Lab: the inputs are texts; turn them into tensors first")
        inputs = data.inputs.float() / 255 if data.inputs.dtype == torch.uint8 else data.inputs
        targets = data.targets.to(self.dtype) if data.targets.is_floating_point() else data.targets
        return Dataset(inputs.to(self.device, self.dtype), targets.to(self.device), data.classes, data.origin)

    def _chunk(self, job: _Job) -> int:
        if self.chunk is not None:
            return self.chunk
        numbers = sum(p.numel() for p in job.model(0).parameters())
        return max(1, min(1024, 2**30 // (12 * max(1, numbers))))

    def _choose(self, job: _Job, plans: list[dict[str, Any]]) -> str:
        """The backend asked for, or the one that promises to be done first."""
        if self.backend != "auto":
            return self.backend
        total, workers = job.steps * len(plans), os.cpu_count() or 1
        expected = {"loop": _seconds(_One(job, plans[0]).step) * total}
        if self.device.type == "cpu" and workers > 1:
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            alone = _seconds(_One(job, plans[0]).step)
            torch.set_num_threads(threads)
            expected["processes"] = _PROCESS_START + alone * total / workers
        best = min(expected.values())
        for size in (4, min(self._chunk(job), len(plans))):  # a few first: large stacks of large networks are slow
            try:
                stack = _Stack(job, plans[:size])
                together = _seconds(stack.step) * total / len(stack.plans)
            except (RuntimeError, ValueError, NotImplementedError):  # a network that cannot be stacked
                break
            expected["vmap"] = together
            if together > 2 * best:
                break
        return min(expected, key=expected.__getitem__)


@dataclass(frozen=True)
class _Job:
    """What all experiments of a run share."""

    lab: Lab
    sets: list[Dataset]
    checks: list[Dataset] | None
    steps: int
    batch_size: int

    def model(self, seed: int) -> nn.Module:
        state = torch.get_rng_state()
        torch.manual_seed(seed)
        net = self.lab.make().to(self.lab.device, self.lab.dtype).train()
        torch.set_rng_state(state)
        return net

    def order(self, plan: Mapping[str, Any]) -> torch.Tensor:
        """Rows of each step's batch (steps, B): shuffled epochs, one after another."""
        count, needed = len(self.sets[plan["data"]]), self.steps * self.batch_size
        draws = torch.Generator().manual_seed(plan["seed"])
        epochs = [torch.randperm(count, generator=draws) for _ in range(-(-needed // count))]
        return torch.cat(epochs)[:needed].view(self.steps, self.batch_size).to(self.lab.device)


class _One:
    """One network and its optimizer."""

    def __init__(self, job: _Job, plan: dict[str, Any]) -> None:
        self.job, self.plan, self.data = job, plan, job.sets[plan["data"]]
        self.net, self.orders, self.done = job.model(plan["seed"]), job.order(plan), 0
        knobs = {name: plan[name] for name in ("lr", "momentum", "weight_decay")}
        self.optimizer = torch.optim.SGD(self.net.parameters(), **knobs)

    def step(self) -> None:
        """One step of stochastic gradient descent (after the last one, the last again)."""
        rows = self.orders[min(self.done, len(self.orders) - 1)]
        self.done += 1
        value = self.job.lab.loss(self.net(self.data.inputs[rows]), self.data.targets[rows])  # type: ignore[index]
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        self.optimizer.step()


def _loop(job: _Job, plans: list[dict[str, Any]]) -> list[tuple[dict[str, Any], State]]:
    """One network after the other."""
    made = []
    for plan in plans:
        one = _One(job, plan)
        for _ in range(job.steps):
            one.step()
        one.net.eval()
        row: dict[str, Any] = {}
        for kind, sets in (("train", job.sets), ("val", job.checks)):
            if sets:
                found = sets[plan["data"] % len(sets)]
                with torch.no_grad():
                    out = torch.cat([one.net(part) for part in found.inputs.split(2048)])  # type: ignore[union-attr]
                row |= _figures(job, kind, out, found)
        made.append((row, {name: tensor.detach() for name, tensor in one.net.state_dict().items()}))
    return made


class _Stack:
    """Networks in one stack of weights: each operation is done once, for all of them."""

    def __init__(self, job: _Job, plans: list[dict[str, Any]]) -> None:
        nets = [job.model(plan["seed"]) for plan in plans]
        if any(True for _ in nets[0].buffers()):
            raise ValueError("Lab(backend='vmap'): the network keeps statistics (buffers); use 'processes' or 'loop'")
        self.job, self.plans = job, plans
        params, _ = stack_module_state(nets)  # type: ignore[arg-type]
        self.params = {name: tensor.detach() for name, tensor in params.items()}
        self.velocity = {name: torch.zeros_like(tensor) for name, tensor in self.params.items()}
        self.base = nets[0].to("meta")
        self.orders = torch.stack([job.order(plan) for plan in plans], 1)  # (steps, K, B)
        self.inputs, self.targets = _stacked(job)
        self.which = torch.tensor([plan["data"] for plan in plans], device=job.lab.device)[:, None]
        knobs = [_column(plans, name, job) for name in ("lr", "momentum", "weight_decay")]
        self.knobs = {
            name: [knob.view(-1, *[1] * (tensor.ndim - 1)) for knob in knobs] for name, tensor in self.params.items()
        }
        self.decays = any(plan["weight_decay"] for plan in plans)
        self.gradient = vmap(grad(self._loss))
        self.done = 0

    def _loss(self, weights: State, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.job.lab.loss(functional_call(self.base, weights, (x,)), y)

    def step(self) -> None:
        """One step of stochastic gradient descent for each network (after the last one, the last again)."""
        rows = self.orders[min(self.done, len(self.orders) - 1)]
        self.done += 1
        gradients = self.gradient(self.params, self.inputs[self.which, rows], self.targets[self.which, rows])
        for name, tensor in self.params.items():
            lr, momentum, decay = self.knobs[name]
            moving = self.velocity[name].mul_(momentum).add_(gradients[name])
            if self.decays:
                moving.addcmul_(tensor, decay)
            tensor.addcmul_(moving, lr, value=-1)

    @torch.no_grad()
    def outputs(self, sets: list[Dataset]) -> list[torch.Tensor]:
        """What each network says of its dataset; a few rows at a time, for all networks together."""
        call = vmap(lambda weights, x: functional_call(self.base, weights, (x,)))
        found: list[torch.Tensor] = [torch.empty(0)] * len(self.plans)
        for number, data in enumerate(sets):
            mine = [n for n, plan in enumerate(self.plans) if plan["data"] % len(sets) == number]
            if mine:
                weights = {name: tensor[mine] for name, tensor in self.params.items()}
                parts = data.inputs.split(256)  # type: ignore[union-attr]
                out = torch.cat([call(weights, part.expand(len(mine), *part.shape)) for part in parts], 1)
                for n, one in zip(mine, out):
                    found[n] = one
        return found


def _together(job: _Job, plans: list[dict[str, Any]]) -> list[tuple[dict[str, Any], State]]:
    """All networks at once."""
    stack = _Stack(job, plans)
    for _ in range(job.steps):
        stack.step()
    stack.base.eval()
    rows: list[dict[str, Any]] = [{} for _ in plans]
    for kind, sets in (("train", job.sets), ("val", job.checks)):
        for row, plan, out in zip(rows, plans, stack.outputs(sets) if sets else []):
            row |= _figures(job, kind, out, sets[plan["data"] % len(sets)])  # type: ignore[index,arg-type]
    states = [{name: tensor[n].clone() for name, tensor in stack.params.items()} for n in range(len(plans))]
    return list(zip(rows, states))


def _processes(job: _Job, plans: list[dict[str, Any]]) -> list[tuple[dict[str, Any], State]]:
    """Single-threaded processes, each with its share, one network after the other."""
    from joblib import Parallel, delayed, parallel_config

    count = min(os.cpu_count() or 1, len(plans))
    shares = [plans[n::count] for n in range(count)]
    with parallel_config(backend="loky", n_jobs=count, inner_max_num_threads=1):
        found = Parallel()(delayed(_single)(job, share) for share in shares)
    made: list[tuple[dict[str, Any], State]] = [({}, {})] * len(plans)
    for n, share in enumerate(found):
        made[n::count] = share
    return made


def _single(job: _Job, plans: list[dict[str, Any]]) -> list[tuple[dict[str, Any], State]]:
    torch.set_num_threads(1)
    return _loop(job, plans)


_RUNNERS: dict[str, Callable[[_Job, list[dict[str, Any]]], list[tuple[dict[str, Any], State]]]] = {
    "loop": _loop,
    "vmap": _together,
    "processes": _processes,
}


def _figures(job: _Job, kind: str, out: torch.Tensor, data: Dataset) -> dict[str, Any]:
    row = {f"{kind}_loss": float(job.lab.loss(out, data.targets))}
    if out.ndim == 2 and data.targets.ndim == 1 and not data.targets.is_floating_point():
        row[f"{kind}_accuracy"] = float((out.argmax(1) == data.targets).double().mean())
    return row


def _column(plans: list[dict[str, Any]], name: str, job: _Job) -> torch.Tensor:
    return torch.tensor([plan[name] for plan in plans], dtype=job.lab.dtype, device=job.lab.device)


def _stacked(job: _Job) -> tuple[torch.Tensor, torch.Tensor]:
    sizes = {(tuple(one.inputs.shape), tuple(one.targets.shape)) for one in job.sets}  # type: ignore[union-attr]
    if len(sizes) > 1:
        raise ValueError(f"Lab(backend='vmap'): datasets of one size are needed; there are {len(sizes)}")
    inputs = [one.inputs for one in job.sets]
    return torch.stack(inputs), torch.stack([one.targets for one in job.sets])  # type: ignore[arg-type]


def _several(data: Dataset | Sequence[Dataset], what: str) -> list[Dataset]:
    found = [data] if isinstance(data, Dataset) else list(data)
    if not found or any(len(one) == 0 for one in found):
        raise ValueError(f"run({what}=…): at least one dataset, none of them empty")
    return found


def _check_plans(plans: list[dict[str, Any]], sets: int) -> None:
    for n, plan in enumerate(plans):
        if not 0 <= plan["data"] < sets:
            raise ValueError(f"experiment {n}: data={plan['data']}, but there are {sets} datasets, counted from 0")
        if plan["lr"] <= 0 or plan["momentum"] < 0 or plan["weight_decay"] < 0:
            raise ValueError(
                f"experiment {n}: lr above 0, momentum and weight_decay from 0 on are accepted; it has {plan}"
            )


def _seconds(call: Callable[[], Any], most: float = 0.5) -> float:
    """Seconds of a call: the median of up to nine, after one that warms up, for about half a second in all."""
    call()
    times: list[float] = []
    while len(times) < 9 and (not times or sum(times) < most):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


class _Journal:
    """Rows of finished experiments in a file, one JSON object a line; other runs' rows in it are left alone."""

    def __init__(self, path: str | Path | None, job: _Job) -> None:
        self.path = Path(path) if path else None
        text = json.dumps(
            [job.steps, job.batch_size, str(job.lab.dtype), [one.origin for one in job.sets], str(job.model(0))]
        )
        sums = "".join(f"{float(one.inputs.double().sum()):.9e}" for one in job.sets)  # type: ignore[union-attr]
        self.key = hashlib.sha256((text + sums).encode()).hexdigest()[:16]
        self.rows: dict[str, dict[str, Any]] = {}
        if self.path and self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                    if entry["key"] == self.key:
                        self.rows[json.dumps(entry["plan"], sort_keys=True)] = entry["row"]
                except (ValueError, KeyError, TypeError):  # the last line of a run that was killed
                    continue

    def row(self, plan: Mapping[str, Any]) -> dict[str, Any] | None:
        return self.rows.get(json.dumps(plan, sort_keys=True, default=str))

    def keep(self, plan: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torn = self.path.is_file() and not self.path.read_bytes().endswith(b"\n") and self.path.stat().st_size > 0
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write("\n" * torn + json.dumps({"key": self.key, "plan": plan, "row": row}, default=str) + "\n")
