"""Batches for several tasks: of common inputs, or of inputs that each task has for itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import torch
from torch.nn import functional as F

from tlcore.anatomy.untouched import untouched
from tlcore.multitask.model import MultiTask
from tlcore.runtime import nearest
from tlcore.worlds import Dataset, Loader

Tasks = Mapping[str, Dataset]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Sampling = Literal["equal", "proportional"]
Batch = dict[str, tuple[torch.Tensor, torch.Tensor]]


def common_inputs(tasks: Tasks) -> bool:
    """Whether all tasks ask about the very same inputs, as after `Dataset.labelled_by`.

    >>> from tlcore import worlds
    >>> data = worlds.Shapes(size=8).sample(4)
    >>> common_inputs({"shape": data, "colour": data.labelled_by("colour")})
    True
    """
    inputs = [data.inputs for data in tasks.values()]
    return all(one is inputs[0] for one in inputs)


class TaskBatches:
    """Batches {task: (x, y)}; iterate again for the next epoch, in another order.

    Tasks about the very same inputs get the same x. Others get inputs of their own, and the smaller tasks start
    again until the largest is through.

    >>> from tlcore import worlds
    >>> world = worlds.Shapes(size=8)
    >>> tasks = {"shape": world.sample(60), "colour": world.but(label="colour").sample(20, seed=1)}
    >>> for sampling in ("equal", "proportional"):
    ...     batches = TaskBatches(tasks, 20, sampling=sampling)
    ...     len(batches), {task: len(y) for task, (x, y) in next(iter(batches)).items()}
    (3, {'shape': 20, 'colour': 20})
    (2, {'shape': 30, 'colour': 10})

    Parameters
    ----------
    batch_size
        Rows of a task in a batch; on the average over tasks, when `sampling` is "proportional".
    sampling
        "equal": as many rows of each task in every batch. "proportional": in proportion to the tasks' data, so that
        each is passed through once in an epoch.
    """

    def __init__(
        self,
        tasks: Tasks,
        batch_size: int,
        *,
        sampling: Sampling = "equal",
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.common = common_inputs(tasks)
        counts = {task: len(data) for task, data in tasks.items()}
        sizes = dict.fromkeys(tasks, batch_size)
        if sampling == "proportional" and not self.common:
            share = batch_size * len(tasks) / sum(counts.values())
            sizes = {task: max(1, round(share * count)) for task, count in counts.items()}
        self.targets = {task: data.targets.to(device) for task, data in tasks.items()}
        loaders = {}
        for number, (task, data) in enumerate(tasks.items()):
            if number == 0 or not self.common:
                assert isinstance(data.inputs, torch.Tensor)
                rows = Dataset(data.inputs.to(device), torch.arange(len(data), device=device))
                loaders[task] = Loader(rows, sizes[task], seed=seed + number)
        self.loaders = loaders

    def __len__(self) -> int:
        return max(len(loader) for loader in self.loaders.values())

    def __iter__(self) -> Iterator[Batch]:
        if self.common:
            for x, rows in next(iter(self.loaders.values())):
                yield {task: (x, targets[rows]) for task, targets in self.targets.items()}
            return
        without_end = {task: _again(loader) for task, loader in self.loaders.items()}
        for _ in range(len(self)):
            drawn = {task: next(batches) for task, batches in without_end.items()}
            yield {task: (x, self.targets[task][rows]) for task, (x, rows) in drawn.items()}


def outputs(model: MultiTask, batch: Batch) -> dict[str, torch.Tensor]:
    """The network's answer to each task's inputs; common inputs go through once."""
    inputs = {task: x for task, (x, _) in batch.items()}
    first = next(iter(inputs.values()))
    if all(x is first for x in inputs.values()):
        return model(first, inputs)  # type: ignore[no-any-return]
    return model.each(inputs)


def default_loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cross-entropy where targets are classes, the mean squared error where they are numbers.

    >>> default_loss(torch.zeros(3, 1), torch.ones(3)).item()
    1.0
    >>> round(default_loss(torch.zeros(3, 2), torch.ones(3).long()).item(), 4)
    0.6931
    """
    if y.is_floating_point():
        out = out.squeeze(-1) if out.ndim == y.ndim + 1 else out
        if out.shape != y.shape:  # torch would broadcast
            raise ValueError(
                f"default_loss: outputs {tuple(out.shape)} and targets {tuple(y.shape)}; equal shapes are accepted: "
                "give the head as many outputs as a target has numbers, or losses= of your own"
            )
        return F.mse_loss(out, y)
    return F.cross_entropy(out, y)


def check_tasks(tasks: Tasks, model: MultiTask, what: str, argument: str) -> None:
    """Say in a sentence what is wrong with the tasks, before anything is trained."""
    where = f"{what}({argument}=…)"
    if not isinstance(tasks, Mapping):
        raise TypeError(f"{where}: a dict from tasks to datasets is accepted, not {type(tasks).__name__}")
    if not tasks:
        raise ValueError(f"{where}: there is no task; at least one of {', '.join(map(repr, model.tasks))} is needed")
    shapes = {}
    for task, data in tasks.items():
        if task not in model.tasks:
            raise ValueError(f"{where}: the model has no head for {task!r}; {nearest(str(task), model.tasks)}")
        if not isinstance(data, Dataset):
            raise TypeError(f"{where}: {task!r} is a {type(data).__name__}; a worlds.Dataset is accepted")
        if not len(data):
            raise ValueError(f"{where}: task {task!r} is empty; give it at least one example, or leave it out")
        if not isinstance(data.inputs, torch.Tensor):
            raise TypeError(f"{where}: the inputs of {task!r} are texts; tensors are accepted")
        shapes[task] = tuple(data.inputs.shape[1:])
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{task!r} has {shape}" for task, shape in shapes.items())
        raise ValueError(
            f"{where}: the tasks have no common input: {told}; bring them to one shape, such as {min(shapes.values())}"
        )


def check_heads(model: MultiTask, batch: Batch, tasks: Tasks, what: str) -> None:
    """Whether every head has an output for each class of its task."""
    with torch.no_grad(), untouched(model):
        model.eval()
        made = outputs(model, {task: (x[:1], y[:1]) for task, (x, y) in batch.items()})
    for task, out in made.items():
        data = tasks[task]
        if data.targets.is_floating_point() or data.targets.ndim > 1:
            continue
        needed = max(len(data.classes), int(data.targets.max()) + 1)
        if out.ndim != 2 or (out.shape[1] != needed if data.classes else out.shape[1] < needed):
            raise ValueError(
                f"{what}: the head of {task!r} gives {tuple(out.shape[1:])} outputs and the task has {needed} classes; "
                f"give heads={{{task!r}: {needed}}}"
            )


def _again(loader: Loader) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    return itertools.chain.from_iterable(itertools.repeat(loader))
