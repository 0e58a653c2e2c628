"""Fine-tuning: a trained network learns another task, some of its layers frozen, slowed down or freed one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tlcore import plots, runtime, training
from tlcore.training import Arithmetic, Epoch, History
from tlcore.training.schedules import Schedule
from tlcore.transfer.beforehand import check_classes, check_options, check_outputs, checked
from tlcore.transfer.heads import replace_head
from tlcore.transfer.keep import Keeper
from tlcore.transfer.plans import Phase, Plan, as_plan
from tlcore.transfer.stages import Groups, as_groups
from tlcore.transfer.tuned import FineTuned, group_table
from tlcore.worlds import Dataset, Loader

Batches = Iterable[tuple[Any, Any]]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
AnyPlan = str | Plan | Sequence[Phase]
AnyGroups = str | Sequence[Sequence[nn.Module]]


def fine_tune(
    model: nn.Module,
    train: Dataset | Batches,
    val: Dataset | Batches | None = None,
    plan: AnyPlan = "full",
    *,
    epochs: int,
    lr: float = 0.01,
    num_classes: int | None = None,
    groups: AnyGroups = "stages",
    patience: int | None = None,
    step_back: int | None = None,
    schedule: str | Callable[[int], Schedule] = "cosine",
    optimizer: Callable[[Any], torch.optim.Optimizer] | None = None,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    batch_size: int = 32,
    loss: Loss = cross_entropy,
    arithmetic: Arithmetic | Literal["auto"] = "auto",
    clip: float | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
    each_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> FineTuned:
    """Train `model` in place after a plan, and return what happened.

    >>> from tlcore import transfer, worlds, zoo
    >>> net = zoo.get_model("resnet20")  # in earnest: weights="..."
    >>> data = worlds.Shapes(shapes=("circle", "star")).sample(64)
    >>> done = fine_tune(net, data, plan=transfer.procedure(unfreeze=2), num_classes=2, epochs=4, progress=False)
    >>> done.groups
    group  modules              parameters  phase 1, 2 epochs  phase 2, 2 epochs
    ----------------------------------------------------------------------------
    1      conv1, bn1                  464             frozen             frozen
    2      layer1.0 … layer1.2      14,016             frozen             frozen
    3      layer2.0 … layer2.2      51,072             frozen             frozen
    4      layer3.0 … layer3.2     203,520             frozen              0.001
    5      fc                          130               0.01              0.001

    One optimizer serves all phases, so what it knows of a parameter (its momentum) survives when others are freed.
    Frozen batch normalisation keeps its statistics. Biases and normalisation get no weight decay. At the end the groups
    are left frozen or free as in the last phase.

    Parameters
    ----------
    train, val
        Datasets of tensors, or re-iterables of batches (x, y). Targets are class numbers, or masks (N, H, W) for a
        `segmenter`.
    plan
        A name (head_only, full, discriminative, gradual, procedure), one of `top`, `bottom_frozen`, `procedure`, … with
        options, or a list of `Phase`.
    epochs
        Of all phases together.
    lr
        Largest rate of the head; the plan divides it for other groups and phases.
    num_classes
        Replace the head by a fresh one for so many classes first.
    groups
        "stages", "layers", or lists of modules, input first; see `stages`.
    patience
        In each phase, stop after so many epochs without a lower validation loss and go back to the best epoch; at the
        end the best epoch of all is kept.
    step_back
        Train until the end, and then "step back some epochs": 1 to the last epoch before the validation loss rose above
        its least value, 2 to the one before that, and so on.
    schedule
        Of each phase (a phase's own goes first): constant, cosine, one_cycle, stlr, step_down, or a function.
    optimizer
        Makes one from parameter groups, such as ``torch.optim.AdamW``; default SGD with Nesterov momentum.
    progress
        Print the table of groups and show a bar.
    arithmetic, clip, loss, each_epoch
        As in `training.fit`; epochs are numbered through all phases.

    Raises
    ------
    ValueError
        If a class has no example in `train`, the data has other classes than the head or than `val`, the plan freezes
        everything or asks for more groups or epochs than there are, or the loss is no number any more (with the phase,
        the epoch and the step).
    """
    check_options(val, patience, step_back, lr, num_classes)
    train, val = checked("train", train), None if val is None else checked("val", val)
    check_classes(train, val, num_classes)
    parts = as_groups(model, groups)
    phases = as_plan(plan).phases(len(parts), epochs)
    if num_classes is not None:
        parts = _new_head(model, num_classes, parts, seed)
    where = runtime.device() if device is None else torch.device(device)
    model.to(where)
    batches = _batches(train, batch_size, where, seed)
    first = _first(batches)
    check_outputs(model, first[0].to(where), first[1], train, loss)
    table = group_table(model, parts, phases, lr)
    if progress:
        print(table)
    if arithmetic == "auto":
        training.freeze_to(model, min(phase.frozen for phase in phases), parts)
        arithmetic = training.fastest(model, first[0].to(where))
    make = optimizer or (lambda some: torch.optim.SGD(some, lr, momentum=momentum, nesterov=momentum > 0))
    steps = make(_rates(model, parts, phases[0], lr, weight_decay))
    history, ends, keeper = History(), [], Keeper(model, step_back)
    for number, phase in enumerate(phases, 1):
        done = len(history.epochs)
        training.freeze_to(model, phase.frozen, parts)
        for mine, new in zip(steps.param_groups, _rates(model, parts, phase, lr, weight_decay), strict=True):
            mine["lr"] = mine["initial_lr"] = new["lr"]  # a schedule starts from the latter

        def note(epoch: Epoch, done: int = done) -> None:
            history.epochs.append(epoch._replace(epoch=done + epoch.epoch))
            keeper.note(history)
            each_epoch(history.last)

        try:
            ran = training.fit(
                model, batches, val, epochs=phase.epochs or 1, optimizer=steps, schedule=phase.schedule or schedule,
                batch_size=batch_size, loss=loss, arithmetic=arithmetic, clip=clip, patience=patience, device=where,
                seed=seed + number - 1, progress=progress, each_epoch=note,
            )  # fmt: skip
        except ValueError as error:
            raise ValueError(f"fine_tune, phase {number} of {len(phases)}: {error}") from error
        history.settings |= ran.settings
        ends.append(len(history.epochs))
        if ran.stopped:
            why = (
                f"phase {number} stopped after epoch {ends[-1]}: no lower validation loss since {done + ran.best.epoch}"
            )
            history.stopped = "; ".join(filter(None, (history.stopped, why)))
        keeper.phase_over(history, early=patience is not None)
    kept = keeper.go_back(history)
    history.settings |= {"plan": as_plan(plan).name, "seed": seed, "lr": lr}
    return FineTuned(history, table, phases, tuple(ends), kept)


def group_plan(
    model: nn.Module, plan: AnyPlan = "full", *, epochs: int, lr: float = 0.01, groups: AnyGroups = "stages"
) -> plots.Table:
    """The table that `fine_tune` would print: groups, their parameters, and their rates in each phase.

    >>> from tlcore import zoo
    >>> group_plan(zoo.get_model("resnet20"), "discriminative", epochs=5, lr=0.081)
    group  modules              parameters  rate, 5 epochs
    ------------------------------------------------------
    1      conv1, bn1                  464           0.001
    2      layer1.0 … layer1.2      14,016           0.003
    3      layer2.0 … layer2.2      51,072           0.009
    4      layer3.0 … layer3.2     203,520           0.027
    5      fc                          650           0.081
    """
    parts = as_groups(model, groups, "group_plan")
    return group_table(model, parts, as_plan(plan).phases(len(parts), epochs), lr)


def _new_head(model: nn.Module, num_classes: int, parts: Groups, seed: int) -> Groups:
    """Replace the head, in the network and in the groups."""
    before = dict(model.named_modules())
    replace_head(model, num_classes, seed=seed)
    fresh = {before[name]: module for name, module in model.named_modules() if before[name] is not module}
    return [[fresh.get(module, module) for module in group] for group in parts]


def _rates(model: nn.Module, parts: Groups, phase: Phase, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    return training.parameter_groups(
        model, lr * phase.lr, factor=phase.factor, weight_decay=weight_decay, groups=parts
    )  # fmt: skip


def _batches(train: Any, size: int, where: torch.device, seed: int) -> Any:
    if not isinstance(train, Dataset):
        return train
    alone = len(train) > size > 1 and len(train) % size == 1  # batch normalisation cannot learn from one row
    return Loader(train.to(where), size, seed=seed, drop_last=alone)


def _first(batches: Any) -> tuple[torch.Tensor, torch.Tensor]:
    if isinstance(batches, Loader):  # without a draw from its generator
        batches = Loader(
            batches.data, batches.batch_size, shuffle=False,
            mean=batches.mean.flatten().tolist() if batches.mean.ndim else float(batches.mean),
            std=batches.std.flatten().tolist() if batches.std.ndim else float(batches.std),
        )  # fmt: skip
    for x, y in batches:
        return x, y
    raise ValueError("fine_tune(train=…): there is no batch in it")
