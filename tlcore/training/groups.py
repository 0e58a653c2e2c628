"""Layers in groups: to freeze the lower ones, and to give each group a learning rate of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

NORMS = (nn.modules.batchnorm._BatchNorm,)


def layer_groups(model: nn.Module) -> list[list[nn.Module]]:
    """The network's parts in order, input first: its children with parameters, long sequences taken apart.

    >>> net = nn.Sequential(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8)), nn.Linear(8, 2))
    >>> [[type(m).__name__ for m in group] for group in layer_groups(net)]
    [['Linear'], ['Linear'], ['Linear']]
    """
    return [[part] for part in _parts(model) if any(True for _ in part.parameters())]


def _parts(model: nn.Module) -> Iterator[nn.Module]:
    children = list(model.children())
    if not children or (list(model.parameters(recurse=False)) and children):
        yield model
        return
    for child in children:
        if isinstance(child, (nn.Sequential, nn.ModuleList)):
            yield from _parts(child)
        else:
            yield child


def freeze_to(model: nn.Module, n: int, groups: Sequence[Sequence[nn.Module]] | None = None) -> None:
    """Freeze the first `n` groups and free the others; a negative n counts from the end, as fastai's ``freeze_to``.

    Frozen batch normalisation keeps its statistics as well: it is put into evaluation mode, and `training_mode` leaves
    it there.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    >>> freeze_to(net, -1)
    >>> [p.requires_grad for p in net.parameters()]
    [False, False, False, False, True, True]

    Raises
    ------
    ValueError
        If there are not so many groups.
    """
    parts = layer_groups(model) if groups is None else groups
    if not -len(parts) <= n <= len(parts):
        raise ValueError(f"freeze_to({n}): the network has {len(parts)} groups; from {-len(parts)} to {len(parts)}")
    frozen = n if n >= 0 else len(parts) + n
    for number, group in enumerate(parts):
        for module in group:
            for parameter in module.parameters():
                parameter.requires_grad_(number >= frozen)
    training_mode(model)


def training_mode(model: nn.Module) -> nn.Module:
    """Put a network into training mode, all but frozen batch normalisation."""
    model.train()
    for module in model.modules():
        if isinstance(module, NORMS) and module.affine and not module.weight.requires_grad:
            module.eval()
    return model


def parameter_groups(
    model: nn.Module,
    lr: float,
    *,
    factor: float = 1.0,
    weight_decay: float = 0.0,
    groups: Sequence[Sequence[nn.Module]] | None = None,
) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer, output last: each group's rate is the next one's divided by `factor`.

    Biases and normalisation get no weight decay.

    >>> net = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2))
    >>> [(round(g["lr"], 4), len(g["params"])) for g in parameter_groups(net, 0.1, factor=2.6)]
    [(0.0385, 1), (0.0385, 1), (0.1, 1), (0.1, 1)]
    """
    if factor <= 0 or lr <= 0:
        raise ValueError(f"parameter_groups(lr={lr}, factor={factor}): numbers above 0 are accepted")
    parts = layer_groups(model) if groups is None else groups
    made: list[dict[str, Any]] = []
    seen: set[int] = set()
    for number, group in enumerate(parts):
        rate = lr / factor ** (len(parts) - 1 - number)
        decayed: list[nn.Parameter] = []
        free: list[nn.Parameter] = []
        for parameter in (p for module in group for p in module.parameters()):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                (decayed if parameter.ndim > 1 else free).append(parameter)
        made += [
            {"params": ps, "lr": rate, "weight_decay": w} for ps, w in ((decayed, weight_decay), (free, 0.0)) if ps
        ]
    left = [p for p in model.parameters() if id(p) not in seen]
    return made + ([{"params": left, "lr": lr, "weight_decay": weight_decay}] if left else [])
