"""The similarity knob where it is known exactly: two teachers, and students that learn from both or from one.

The labels of task A come from a two-layer teacher, those of task B from another one, whose hidden units have cosine rho
with A's (`worlds.TeacherStudent`). A student for both has one hidden layer and two outputs; two students for one task
each have half of the hidden units, so that they have as many weights together. `training.Lab` trains them all at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from tlcore.multitask.condition_map import ConditionMap, Trial
from tlcore.training import Lab
from tlcore.worlds import Dataset, TeacherStudent


def labelled_loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Sum over tasks of the mean logistic loss, over the rows that have a label for the task; -1 says that one has not.

    >>> labelled_loss(torch.zeros(2, 2), torch.tensor([[1.0, -1.0], [-1.0, 0.0]])).item()  # 2 ln 2
    1.3862943649291992
    """
    known = (y >= 0).to(out)
    each = binary_cross_entropy_with_logits(out, y.clamp(min=0), reduction="none") * known
    return (each.sum(0) / known.sum(0).clamp(min=1)).sum()


def student(features: int, hidden: int, tasks: int) -> nn.Sequential:
    """A hidden layer of ReLU units, and one logit for each task.

    >>> student(30, 16, 2)(torch.zeros(5, 30)).shape
    torch.Size([5, 2])
    """
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, tasks))


def teacher_map(
    *,
    rhos: Sequence[float] = (0.0, 0.5, 0.8, 0.95, 1.0),
    seeds: Iterable[int] = range(5),
    images: int = 200,
    features: int = 30,
    teacher: int = 2,
    hidden: int = 32,
    steps: int = 400,
    lr: float = 0.1,
    weight_decay: float = 1e-2,
    test: int = 2000,
    device: torch.device | str | None = None,
) -> ConditionMap:
    """One student for two tasks beside single ones, over the cosine rho between the two teachers' hidden units.

    >>> teacher_map(rhos=(0.0, 1.0), seeds=(0, 1), images=40, steps=5, test=100).knob
    'rho'

    Parameters
    ----------
    images
        Inputs (30 numbers by default) of each task, each task its own.
    teacher, hidden
        Hidden units of the teachers and of the student for both tasks; a single one has half as many, so two of them
        have as many weights, but for half of those of the outputs.

    Raises
    ------
    ValueError
        For a rho outside of 0 to 1, an odd or too small number of hidden units, no rho or no seed.
    """
    seeds = list(seeds)
    if not rhos or not seeds:
        raise ValueError("teacher_map: at least one rho and one seed are needed")
    if hidden < 2 or hidden % 2:
        raise ValueError(f"teacher_map(hidden={hidden}): an even number from 2 on is accepted, such as {hidden + 1}")
    cells = [(rho, seed) for rho in rhos for seed in seeds]
    pairs = [_pair(rho, seed, images, test, features, teacher) for rho, seed in cells]
    knobs = {"lr": lr, "momentum": 0.9, "weight_decay": weight_decay}
    plans = [{"seed": seed, "data": n} | knobs for n, (_, seed) in enumerate(cells)]

    def accuracy(units: int, tasks: list[int]) -> list[list[float]]:
        """Of students of these tasks, (cells, tasks)."""
        train = [_stacked([pair[task][0] for task in tasks]) for pair in pairs]
        lab = Lab(lambda: student(features, units, len(tasks)), loss=labelled_loss, device=device)
        done = lab.run(plans, train, steps=steps, batch_size=min(32 * len(tasks), images))
        net, found = student(features, units, len(tasks)), []
        for state, pair in zip(done.states, pairs, strict=True):
            net.load_state_dict({name: tensor.cpu() for name, tensor in state.items()})
            found.append([_right(net, n, pair[task][1]) for n, task in enumerate(tasks)])
        return found

    together = accuracy(hidden, [0, 1])
    alone = {units: [accuracy(units, [task]) for task in (0, 1)] for units in (hidden // 2, hidden)}
    trials = []
    cost = round((features + 1) / (features + 2), 3)  # of two with half the units and one output, as a share of both's
    for n, (rho, seed) in enumerate(cells):
        for task in (0, 1):
            found = (together[n][task], alone[hidden // 2][task][n][0], alone[hidden][task][n][0])
            shares = [round(accuracy, 4) for accuracy in found]
            trials.append(Trial("rho", rho, "AB"[task], seed, shares[0], shares[1], shares[2], cost))
    return ConditionMap(trials)


Pair = tuple[tuple[Dataset, Dataset], tuple[Dataset, Dataset]]  # training and test data of A and of B


def _pair(rho: float, seed: int, images: int, test: int, features: int, teacher: int) -> Pair:
    world = TeacherStudent(features=features, hidden=teacher, world_seed=100 * seed)
    a, b = (
        tuple(one.sample(count, seed=4 * seed + 2 * n + k) for k, count in enumerate((images, test)))
        for n, one in enumerate((world, world.but(rho=rho)))
    )
    return a, b  # type: ignore[return-value]


def _stacked(parts: list[Dataset]) -> Dataset:
    """Rows of all tasks; targets (N, T) with a label in the column of the row's task."""
    targets = torch.full((sum(map(len, parts)), len(parts)), -1.0)
    start = 0
    for n, part in enumerate(parts):
        targets[start : start + len(part), n] = part.targets.float()
        start += len(part)
    inputs = torch.cat([part.inputs for part in parts])  # type: ignore[misc]
    return Dataset(inputs, targets, (), parts[0].origin)


@torch.no_grad()
def _right(net: nn.Module, column: int, data: Dataset) -> float:
    return float(((net(data.inputs)[:, column] > 0).long() == data.targets).double().mean())
