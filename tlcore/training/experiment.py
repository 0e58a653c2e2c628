"""One experiment of the lab: a network, its optimizer, its data, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tlcore.runtime import same_draws_after
from tlcore.training.groups import parameter_groups
from tlcore.training.results import State
from tlcore.worlds import Dataset

Plan = dict[str, Any]
Done = list[tuple[dict[str, Any], State]]  # a row and the weights of each experiment


@dataclass(frozen=True)
class Job:
    """What all experiments of a run share."""

    make: Callable[[], nn.Module]
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    device: torch.device
    dtype: torch.dtype
    sets: list[Dataset]
    checks: list[Dataset] | None
    steps: int
    batch_size: int

    def models(self, seeds: Iterable[int]) -> list[nn.Module]:
        """The networks of those seeds, before training; torch's own random state is left as it was."""
        nets = []
        with same_draws_after(self.device):
            for seed in seeds:
                torch.manual_seed(seed)
                nets.append(self.make().to(self.device, self.dtype).train())
        return nets

    def order(self, plan: Mapping[str, Any]) -> torch.Tensor:
        """Rows of each step's batch (steps, B): shuffled epochs, one after another."""
        count, needed = len(self.sets[plan["data"]]), self.steps * self.batch_size
        draws = torch.Generator().manual_seed(plan["seed"])
        epochs = [torch.randperm(count, generator=draws) for _ in range(-(-needed // count))]
        return torch.cat(epochs)[:needed].view(self.steps, self.batch_size).to(self.device)


class One:
    """One network and its optimizer."""

    def __init__(self, job: Job, plan: Plan) -> None:
        self.job, self.plan, self.data = job, plan, job.sets[plan["data"]]
        self.net, self.orders, self.done = job.models([plan["seed"]])[0], job.order(plan), 0
        knobs = {name: plan[name] for name in ("momentum", "weight_decay")}
        rates = shares(self.net, plan["factor"])
        parameters = [{"params": [p], "lr": plan["lr"] * rates[name]} for name, p in self.net.named_parameters()]
        self.optimizer = torch.optim.SGD(
            parameters if plan["factor"] != 1 else self.net.parameters(), plan["lr"], **knobs
        )

    def step(self) -> None:
        """One step of stochastic gradient descent (after the last one, the last again)."""
        rows = self.orders[min(self.done, len(self.orders) - 1)]
        self.done += 1
        value = self.job.loss(self.net(self.data.inputs[rows]), self.data.targets[rows])  # type: ignore[index]
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        self.optimizer.step()


def shares(net: nn.Module, factor: float) -> dict[str, float]:
    """What share of the rate each parameter has when each group of layers has `factor` times less than the next."""
    if factor == 1:
        return dict.fromkeys((name for name, _ in net.named_parameters()), 1.0)
    rates = {id(p): group["lr"] for group in parameter_groups(net, 1.0, factor=factor) for p in group["params"]}
    return {name: rates[id(p)] for name, p in net.named_parameters()}


def loop(job: Job, plans: list[Plan]) -> Done:
    """One network after the other."""
    made = []
    for plan in plans:
        one = One(job, plan)
        for _ in range(job.steps):
            one.step()
        one.net.eval()
        row: dict[str, Any] = {}
        for kind, sets in (("train", job.sets), ("val", job.checks)):
            if sets:
                found = sets[plan["data"] % len(sets)]
                with torch.no_grad():
                    out = torch.cat([one.net(part) for part in found.inputs.split(2048)])  # type: ignore[union-attr]
                row |= figures(job, kind, out, found)
        made.append((row, {name: tensor.detach() for name, tensor in one.net.state_dict().items()}))
    return made


def figures(job: Job, kind: str, out: torch.Tensor, data: Dataset) -> dict[str, Any]:
    """Loss, and accuracy where the targets are classes, of outputs."""
    row = {f"{kind}_loss": float(job.loss(out, data.targets))}
    if out.ndim == 2 and data.targets.ndim == 1 and not data.targets.is_floating_point():
        row[f"{kind}_accuracy"] = float((out.argmax(1) == data.targets).double().mean())
    return row
