"""The training loop for several tasks.

`training.fit` takes one loss and one target a row, and its backward pass is its own; here a step has one loss for each
task, and the balancing rule decides what the gradients become. Rates, arithmetic and history are `training`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
from torch import nn

from tlcore import runtime, training
from tlcore.multitask.balance import Balance
from tlcore.multitask.batches import Loss, Sampling, TaskBatches, Tasks, check_heads, check_tasks, default_loss, outputs
from tlcore.multitask.history import Histories
from tlcore.multitask.model import MultiTask
from tlcore.multitask.rules import as_rule
from tlcore.runtime import nearest
from tlcore.training import SCHEDULES, Arithmetic, Epoch, History

Figures = dict[str, tuple[float, float | None]]


def fit(
    model: MultiTask,
    train: Tasks,
    val: Tasks | None = None,
    *,
    rule: str | Balance = "sum",
    epochs: int,
    lr: float = 0.1,
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None = None,
    schedule: str = "cosine",
    weight_decay: float = 5e-4,
    momentum: float = 0.9,
    batch_size: int = 64,
    sampling: Sampling = "equal",
    losses: Mapping[str, Loss] | None = None,
    clip: float | None = None,
    arithmetic: Arithmetic | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
    each_epoch: Callable[[Histories], None] = lambda history: None,
) -> Histories:
    """Train `model` in place on all tasks at once and return what happened.

    >>> from tlcore import worlds
    >>> from tlcore.multitask.model import MultiTaskModel
    >>> data = worlds.Shapes(size=16).sample(96)  # inputs (96, 3, 16, 16), common to both tasks
    >>> tasks = {"shape": data, "texture": data.labelled_by("texture")}
    >>> trunk = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    >>> model = MultiTaskModel(trunk, {"shape": 16, "texture": 6}, at="output")
    >>> history = fit(model, tasks, rule="pcgrad", epochs=2, progress=False)
    >>> history["texture"].last.epoch, history.weights[-1]
    (2, {'shape': 1.0, 'texture': 1.0})

    Parameters
    ----------
    train, val
        A dataset of tensors for each task. Datasets with the very same inputs (`Dataset.labelled_by`) are common
        inputs: a batch goes through the network once for all tasks. Others are inputs of a task's own.
    rule
        How the losses are balanced: a name out of `RULES`, or a `Balance`.
    optimizer
        Makes one from a list of parameters; default SGD with Nesterov momentum. `schedule` scales its rates.
    batch_size, sampling
        As for `TaskBatches`.
    losses
        By task, from outputs and targets to a mean; default cross-entropy for classes, squared error for numbers.
    clip
        Largest norm of the gradient.
    arithmetic
        Default plain float32.
    each_epoch
        Told the history so far after each epoch.

    Raises
    ------
    ValueError, TypeError
        For no task, an empty task, tasks without a common shape of inputs, a task without a head or a head with another
        number of outputs, an option out of range, or a loss that is no number any more (with the task and the epoch).
    """
    _check(epochs, batch_size, schedule, sampling, clip)
    check_tasks(train, model, "multitask.fit", "train")
    if val is not None:
        check_tasks(val, model, "multitask.fit", "val")
    measure = {task: (losses or {}).get(task, default_loss) for task in {**train, **(val or {})}}
    if unknown := [task for task in losses or {} if task not in measure]:
        raise ValueError(f"multitask.fit(losses=…): no task {unknown[0]!r}; {nearest(unknown[0], measure)}")
    balance, way = as_rule(rule), arithmetic or Arithmetic()
    where = runtime.device() if device is None else torch.device(device)
    runtime.seed_everything(seed)
    model.to(where)
    balance.to(where)
    way.model(model)
    balance.start(len(train))
    batches = TaskBatches(train, batch_size, sampling=sampling, seed=seed, device=where)
    check_heads(model, next(iter(TaskBatches(train, 1, seed=seed, device=where))), train, "multitask.fit")
    shared = [p for p in model.shared_parameters() if p.requires_grad]
    own = [p for task in train for p in model.own_parameters(task) if p.requires_grad]
    steps: torch.optim.Optimizer
    if optimizer is None:
        steps = torch.optim.SGD([*shared, *own], lr, momentum, weight_decay=weight_decay, nesterov=momentum > 0)
    else:
        steps = optimizer([*shared, *own])
    if parameters := list(balance.parameters()):
        steps.add_param_group({"params": parameters, "weight_decay": 0.0})
    rates = torch.optim.lr_scheduler.LambdaLR(steps, SCHEDULES[schedule](epochs * len(batches)))
    history = Histories({task: History() for task in train})
    history.settings = {"rule": type(balance).__name__, "seed": seed, "common_inputs": batches.common}
    for number in runtime.progress(range(1, epochs + 1), "training", epochs) if progress else range(1, epochs + 1):
        start, rate, sums = time.perf_counter(), steps.param_groups[0]["lr"], _Sums(list(train))
        training.training_mode(model)
        for batch in batches:
            steps.zero_grad(set_to_none=True)
            views = {id(x): way.images(x) for x, _ in batch.values()}  # common inputs stay one tensor
            batch = {task: (views[id(x)], y) for task, (x, y) in batch.items()}
            with way.context(where):
                made = outputs(model, batch)
                values = torch.stack([measure[task](made[task], y).float() for task, (_, y) in batch.items()])
            if not torch.isfinite(values).all():
                raise ValueError(_no_number(values, list(batch), number, rate))
            weights = balance.backward(values, shared, own)
            if (penalty := model.penalty()) is not None:
                penalty.backward()
            if clip:
                nn.utils.clip_grad_norm_([*shared, *own], clip)
            steps.step()
            rates.step()
            sums.add(values, weights, made, {task: y for task, (_, y) in batch.items()})
        found = evaluate(model, val, losses=losses, arithmetic=way) if val is not None else {}
        _note(history, sums, found, number, rate, time.perf_counter() - start)
        balance.epoch_over(sums.losses())
        each_epoch(history)
    model.eval()
    return history


@torch.no_grad()
def evaluate(
    model: MultiTask,
    data: Tasks,
    *,
    losses: Mapping[str, Loss] | None = None,
    batch_size: int = 512,
    arithmetic: Arithmetic | None = None,
) -> Figures:
    """Mean loss and accuracy (None where targets are no classes) of each task, in evaluation mode.

    >>> from tlcore import worlds
    >>> from tlcore.multitask.model import MultiTaskModel
    >>> data = worlds.Shapes(size=16).sample(32)
    >>> model = MultiTaskModel(nn.Sequential(nn.Flatten(), nn.Linear(768, 8)), {"shape": 16}, at="output")
    >>> loss, accuracy = evaluate(model, {"shape": data})["shape"]
    >>> 0 <= accuracy <= 1
    True
    """
    check_tasks(data, model, "multitask.evaluate", "data")
    found: Figures = {}
    for task, one in data.items():
        measure = (losses or {}).get(task, default_loss)
        only = _Only(model, task)
        loss, accuracy = training.evaluate(only, one, loss=measure, batch_size=batch_size, arithmetic=arithmetic)
        found[task] = loss, None if one.targets.is_floating_point() else accuracy
    return found


class _Only(nn.Module):
    """A network for several tasks as one for a single task."""

    def __init__(self, model: MultiTask, task: str) -> None:
        super().__init__()
        self.model, self.task = model, task

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x, [self.task])[self.task]  # type: ignore[no-any-return]


class _Sums:
    """Losses, hits and weights of an epoch; read from the device only at its end."""

    def __init__(self, tasks: list[str]) -> None:
        self.tasks = tasks
        self.loss: torch.Tensor | float = 0.0
        self.weight: torch.Tensor | float = 0.0
        self.hits: dict[str, torch.Tensor | int | None] = dict.fromkeys(tasks, 0)
        self.rows, self.steps = torch.zeros(len(tasks)), 0

    def add(
        self, values: torch.Tensor, weights: torch.Tensor, made: dict[str, torch.Tensor], y: dict[str, torch.Tensor]
    ) -> None:
        counts = torch.tensor([float(len(y[task])) for task in self.tasks])
        self.loss = self.loss + values.detach() * counts.to(values.device)
        self.weight, self.steps, self.rows = self.weight + weights, self.steps + 1, self.rows + counts
        for task in self.tasks:
            out, hits = made[task].detach(), self.hits[task]
            classes = out.ndim == 2 and y[task].ndim == 1 and not y[task].is_floating_point()
            self.hits[task] = hits + (out.argmax(1) == y[task]).sum() if classes and hits is not None else None

    def losses(self) -> torch.Tensor:
        return torch.as_tensor(self.loss).cpu() / self.rows


def _note(history: Histories, sums: _Sums, found: Figures, number: int, rate: float, seconds: float) -> None:
    for n, (task, loss) in enumerate(zip(sums.tasks, sums.losses().tolist(), strict=True)):
        hits = sums.hits[task]
        accuracy = None if hits is None else float(hits) / float(sums.rows[n])
        val_loss, val_accuracy = found.get(task, (None, None))
        history[task].epochs.append(Epoch(number, rate, loss, accuracy, val_loss, val_accuracy, seconds))
    weights = torch.as_tensor(sums.weight) / sums.steps
    history.weights.append({task: round(float(w), 6) for task, w in zip(sums.tasks, weights, strict=True)})


def _no_number(values: torch.Tensor, tasks: list[str], epoch: int, rate: float) -> str:
    task, value = next((t, v) for t, v in zip(tasks, values.tolist()) if not abs(v) < float("inf"))
    return f"multitask.fit: the loss of {task!r} is {value} in epoch {epoch}; try a smaller lr than {rate:g}, or clip="


def _check(epochs: int, batch_size: int, schedule: str, sampling: str, clip: float | None) -> None:
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"multitask.fit(epochs={epochs}, batch_size={batch_size}): from 1 on is accepted")
    if schedule not in SCHEDULES:
        raise ValueError(f"multitask.fit(schedule={schedule!r}): {nearest(str(schedule), SCHEDULES)}")
    if sampling not in ("equal", "proportional"):
        raise ValueError(f"multitask.fit(sampling={sampling!r}): accepted are 'equal' and 'proportional'")
    if clip is not None and clip <= 0:
        raise ValueError(f"multitask.fit(clip={clip}): a norm above 0 is accepted")
