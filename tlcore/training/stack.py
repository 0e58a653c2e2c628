"""Networks in one stack of weights: each operation is done once, for all of them (`torch.func.vmap`)."""

from __future__ import annotations

from typing import Any

import torch
from torch.func import functional_call, stack_module_state, vmap

from tlcore.training.experiment import Done, Job, Plan, figures, shares
from tlcore.training.results import State
from tlcore.worlds import Dataset


class Stack:
    """Networks in one stack of weights: each operation is done once, for all of them."""

    def __init__(self, job: Job, plans: list[Plan]) -> None:
        nets = job.models(plan["seed"] for plan in plans)
        if any(True for _ in nets[0].buffers()):
            raise ValueError("Lab(backend='vmap'): the network keeps statistics (buffers); use 'processes' or 'loop'")
        self.job, self.plans = job, plans
        params, _ = stack_module_state(nets)  # type: ignore[arg-type]
        self.params = {name: tensor.detach() for name, tensor in params.items()}
        names = [name for name, parameter in nets[0].named_parameters() if parameter.requires_grad]
        self.trained = [self.params[name].requires_grad_() for name in names]
        rates = [
            {name: plan["lr"] * share for name, share in shares(nets[0], plan["factor"]).items()} for plan in plans
        ]
        self.rates = [Knob([each[name] for each in rates], job) for name in names]
        self.base = nets[0].to("meta")
        self.orders = torch.stack([job.order(plan) for plan in plans], 1)  # (steps, K, B)
        self.inputs, self.targets = _stacked(job)
        self.which = torch.tensor([plan["data"] for plan in plans], device=job.device)[:, None]
        self.knobs = [Knob([float(plan[name]) for plan in plans], job) for name in ("momentum", "weight_decay")]
        self.losses = vmap(self._loss)
        self.first = [tensor.detach().clone() for tensor in self.params.values()]
        self.rewind()

    def rewind(self) -> None:
        """Back to the weights before the first step."""
        for tensor, first in zip(self.params.values(), self.first):
            tensor.detach().copy_(first)
        self.velocity = [torch.zeros_like(tensor) for tensor in self.trained]
        self.done = 0

    def _loss(self, weights: State, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.job.loss(functional_call(self.base, weights, (x,)), y)

    def step(self) -> None:
        """One step of stochastic gradient descent for each network (after the last one, the last again)."""
        rows = self.orders[min(self.done, len(self.orders) - 1)]
        self.done += 1
        x, y = self.inputs[self.which, rows], self.targets[self.which, rows]
        # No network's loss depends on another's weights, and so the gradient of their sum is everyone's own.
        gradients = torch.autograd.grad(self.losses(self.params, x, y).sum(), self.trained, allow_unused=True)
        momentum, decay = self.knobs
        with torch.no_grad():
            for tensor, moving, gradient, lr in zip(self.trained, self.velocity, gradients, self.rates):
                if gradient is None:  # the loss does not depend on it; torch's optimizers leave it alone too
                    continue
                momentum.scale(moving).add_(gradient)
                if decay.used:
                    decay.add(moving, tensor)
                lr.add(tensor, moving, -1)

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


def together(job: Job, plans: list[Plan], tried: Stack | None = None) -> Done:
    """All networks at once; a stack that was tried on the same plans need not be built again."""
    stack = tried if tried is not None and tried.plans == plans else Stack(job, plans)
    stack.rewind()
    for _ in range(job.steps):
        stack.step()
    stack.base.eval()
    rows: list[dict[str, Any]] = [{} for _ in plans]
    for kind, sets in (("train", job.sets), ("val", job.checks)):
        for row, plan, out in zip(rows, plans, stack.outputs(sets) if sets else []):
            row |= figures(job, kind, out, sets[plan["data"] % len(sets)])  # type: ignore[index,arg-type]
    states = [{name: tensor[n].detach().clone() for name, tensor in stack.params.items()} for n in range(len(plans))]
    return list(zip(rows, states))


class Knob:
    """A setting of each network in a stack: one number where all have the same, which is faster, else a column."""

    def __init__(self, values: list[float], job: Job) -> None:
        self.used, self.same = any(values), values[0] if len(set(values)) == 1 else None
        self.column = torch.tensor(values, dtype=job.dtype, device=job.device)

    def scale(self, tensor: torch.Tensor) -> torch.Tensor:
        """tensor *= knob."""
        return tensor.mul_(self.same if self.same is not None else self._like(tensor))

    def add(self, tensor: torch.Tensor, other: torch.Tensor, sign: int = 1) -> None:
        """tensor += sign * knob * other."""
        if self.same is not None:
            tensor.add_(other, alpha=sign * self.same)
        else:
            tensor.addcmul_(other, self._like(tensor), value=sign)

    def _like(self, tensor: torch.Tensor) -> torch.Tensor:
        return self.column.view(-1, *[1] * (tensor.ndim - 1))


def _stacked(job: Job) -> tuple[torch.Tensor, torch.Tensor]:
    sizes = {(tuple(one.inputs.shape), tuple(one.targets.shape)) for one in job.sets}  # type: ignore[union-attr]
    if len(sizes) > 1:
        raise ValueError(f"Lab(backend='vmap'): datasets of one size are needed; there are {len(sizes)}")
    inputs = [one.inputs for one in job.sets]
    return torch.stack(inputs), torch.stack([one.targets for one in job.sets])  # type: ignore[arg-type]
