"""Who helps whom? Either after one step (lookahead), or after whole trainings (the transfer matrix)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from statistics import mean
from typing import Any

import torch

from tlcore import plots
from tlcore.anatomy.untouched import untouched
from tlcore.multitask.batches import Loss, Sampling, TaskBatches, Tasks, check_heads, check_tasks, default_loss, outputs
from tlcore.multitask.fit import evaluate, fit
from tlcore.multitask.gradients import task_gradients
from tlcore.multitask.matrix import TaskMatrix
from tlcore.multitask.model import MultiTask
from tlcore.multitask.paired import Paired


def lookahead_affinity(
    model: MultiTask,
    data: Tasks,
    *,
    lr: float = 0.1,
    batches: int = 8,
    batch_size: int = 128,
    losses: Mapping[str, Loss] | None = None,
    seed: int = 0,
) -> TaskMatrix:
    """How much a step for task i lowers the loss of task j: Z_ij = 1 - L_j(after the step) / L_j(before).

    >>> from torch import nn
    >>> from tlcore import worlds
    >>> from tlcore.multitask.model import MultiTaskModel
    >>> data = worlds.Shapes(size=8).sample(64)
    >>> trunk = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU())
    >>> model = MultiTaskModel(trunk, {"shape": 16, "colour": 8}, at="output")
    >>> found = lookahead_affinity(model, {"shape": data, "colour": data.labelled_by("colour")}, lr=0.01)
    >>> found["colour", "colour"] > 0, found.values.shape  # a task helps itself
    (True, torch.Size([2, 2]))

    Only the shared parameters take the step; both losses are of the same batch. Mean over batches, in evaluation mode;
    the network is left as it was. Fifty, Amid, Zhao, Yu, Anil, Finn 2021 (arXiv:2109.04617), eq. 1, who average it over
    a whole training: call this in `each_epoch` of `multitask.fit`.

    Parameters
    ----------
    lr
        Size of the plain gradient step.

    Raises
    ------
    ValueError, TypeError
        For data that `multitask.fit` would refuse, a model that shares no parameters, or numbers out of range.
    """
    check_tasks(data, model, "lookahead_affinity", "data")
    shared = [p for p in model.shared_parameters() if p.requires_grad]
    if not shared:
        raise ValueError(
            f"lookahead_affinity: {type(model).__name__} shares no parameters, so no task can help another"
        )
    if not lr > 0 or batches < 1:
        raise ValueError(
            f"lookahead_affinity(lr={lr}, batches={batches}): lr above 0 and batches from 1 on are accepted"
        )
    measure = {task: (losses or {}).get(task, default_loss) for task in data}

    def values(batch: Any) -> torch.Tensor:
        made = outputs(model, batch)
        return torch.stack([measure[task](made[task], y) for task, (_, y) in batch.items()])

    total, seen = torch.zeros(len(data), len(data)), 0
    source = TaskBatches(data, batch_size, seed=seed, device=shared[0].device)
    with untouched(model):
        model.eval()
        for batch in islice(source, batches):
            if not seen:
                check_heads(model, batch, data, "lookahead_affinity")
            before = values(batch)
            for number, row in enumerate(task_gradients(before, shared)):
                kept = [p.detach().clone() for p in shared]
                with torch.no_grad():
                    for p, part in zip(shared, row.split([p.numel() for p in shared]), strict=True):
                        p.sub_(lr * part.view_as(p))
                    total[number] += (1 - values(batch) / before.detach()).cpu()
                    for p, old in zip(shared, kept, strict=True):
                        p.copy_(old)
            seen += 1
    return TaskMatrix(tuple(data), total / seen, "lookahead affinity: share of the loss that one step takes away")


@dataclass(frozen=True, repr=False)
class TransferMatrix:
    """Accuracy of each task trained with another one, beside its accuracy alone, seed by seed."""

    tasks: tuple[str, ...]
    pairs: Mapping[tuple[str, str], Paired]  # (with, of)
    alone: Mapping[str, tuple[float, ...]]

    @property
    def difference(self) -> TaskMatrix:
        """What training on the task of the row does for that of the column; no number on the diagonal."""
        values = torch.full((len(self.tasks), len(self.tasks)), float("nan"))
        for (i, j), found in self.pairs.items():
            values[self.tasks.index(i), self.tasks.index(j)] = found.difference
        return TaskMatrix(self.tasks, values, "accuracy with the task of the row, minus accuracy alone")

    def _table(self) -> plots.Table:
        rows = []
        for (i, j), found in self.pairs.items():
            alone, together = (f"{100 * mean(accuracies):.1f}" for accuracies in (found.theirs, found.ours))
            rows.append([i, j, alone, together, found.told()])
        count = len(next(iter(self.alone.values())))
        caption = f"Accuracies in percent, difference in points with 95% interval over {count} seeds."
        header = ["trained with", "task", "alone", "together", "difference"]
        return plots.Table(rows, header, left=2, rule=True, caption=caption)

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


def transfer_matrix(
    make: Callable[[Sequence[str]], MultiTask],
    train: Tasks,
    val: Tasks,
    *,
    epochs: int,
    batch_size: int = 64,
    sampling: Sampling = "equal",
    seeds: Iterable[int] = range(5),
    **options: Any,
) -> TransferMatrix:
    """Train every task alone and every pair together: what does training on A do for B?

    >>> from torch import nn
    >>> from tlcore import worlds
    >>> from tlcore.multitask.model import MultiTaskModel
    >>> train, val = (worlds.Shapes(size=8).sample(64, seed=n) for n in (0, 1))
    >>> heads = {"shape": 16, "colour": 8}
    >>> def make(tasks):
    ...     trunk = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU())
    ...     return MultiTaskModel(trunk, {task: heads[task] for task in tasks}, at="output")
    >>> two = [{"shape": data, "colour": data.labelled_by("colour")} for data in (train, val)]
    >>> found = transfer_matrix(make, *two, seeds=(0, 1), epochs=1)
    >>> found.pairs["shape", "colour"].verdict in ("gains", "tie", "loses")
    True

    Parameters
    ----------
    make
        Builds a network for some tasks; torch was seeded before. The trunk is the same alone and together, so a task
        alone has it for itself.
    epochs
        Passes through the largest task, from 1 on. Every run, alone or together, takes about as many steps as these
        (in whole passes of its own): a task must not gain only because a larger partner makes its training longer.
    seeds
        Of the network and of its batches.
    batch_size, sampling, options
        Of `multitask.fit`.

    Raises
    ------
    ValueError
        For fewer than two tasks, no seeds, or tasks whose targets are no classes.
    """
    tasks, seeds = tuple(train), list(seeds)
    if len(tasks) < 2 or not seeds:
        raise ValueError(
            f"transfer_matrix: two tasks and one seed at least are needed; got {len(tasks)} and {len(seeds)}"
        )
    if missing := [task for task in tasks if task not in val]:
        raise ValueError(f"transfer_matrix(val=…): no data for task {missing[0]!r}, which is trained")

    if epochs < 1:
        raise ValueError(f"transfer_matrix(epochs={epochs}): from 1 on is accepted")
    torch.manual_seed(seeds[0])
    for some in combinations(tasks, 2):
        check_tasks({task: train[task] for task in some}, make(list(some)), "transfer_matrix", "train")
    batches: dict[str, Any] = {"batch_size": batch_size, "sampling": sampling}
    length = {
        some: len(TaskBatches({task: train[task] for task in some}, **batches))
        for some in [*((task,) for task in tasks), *combinations(tasks, 2)]
    }
    steps = epochs * max(length.values())  # for all alike: a partner must not help by longer training

    def run(chosen: Sequence[str], seed: int) -> dict[str, float]:
        torch.manual_seed(seed)
        model = copy.deepcopy(make(chosen))
        data, long = {task: train[task] for task in chosen}, max(1, round(steps / length[tuple(chosen)]))
        fit(model, data, epochs=long, seed=seed, progress=False, **batches, **options)
        found = evaluate(model, {task: val[task] for task in chosen})
        for task, (_, accuracy) in found.items():
            if accuracy is None:
                raise ValueError(f"transfer_matrix: the targets of {task!r} are no classes, so there is no accuracy")
        return {task: accuracy or 0.0 for task, (_, accuracy) in found.items()}

    alone = {task: tuple(run([task], seed)[task] for seed in seeds) for task in tasks}
    pairs: dict[tuple[str, str], Paired] = {}
    for i, j in combinations(tasks, 2):
        both = [run([i, j], seed) for seed in seeds]
        for other, task in ((i, j), (j, i)):
            pairs[other, task] = Paired(tuple(one[task] for one in both), alone[task])
    return TransferMatrix(tasks, pairs, alone)
