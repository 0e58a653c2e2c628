"""L1 on activations, and pruning of the units that fall silent.

The lecture's "similar idea: regularize activations with L1 and prune zeros". The pull towards 0 makes some units give 0
for every input; without them the network computes the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tlcore.anatomy.untouched import untouched
from tlcore.compress.given import Data, some_rows
from tlcore.compress.pruned import Pruned, Round
from tlcore.compress.rewire import take
from tlcore.compress.units import Reader, Units, inner_units

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class ActivationL1:
    """A loss for `training.fit`: the task's, plus `weight` times the mean |activation| of every inner unit.

    >>> from tlcore import training, worlds
    >>> data = worlds.Gaussian(features=4, distance=4).sample(256)
    >>> net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 2))
    >>> with ActivationL1(net, weight=0.01) as loss:
    ...     _ = training.fit(net, data, epochs=3, loss=loss, progress=False)
    >>> loss.penalty().shape
    torch.Size([])

    Parameters
    ----------
    model
        Watched by hooks until the `with` block ends, or `close` is called.
    weight
        Of the penalty. A unit whose mean activation over rows and places is m adds weight * m to the loss.
    layers
        Paths of the layers whose units are meant; None for all whose units can be removed (see `inner_units`). Their
        activations are taken where they are read: behind normalisation and ReLU.
    loss
        Of the task.

    Raises
    ------
    ValueError
        For a weight below 0, a layer that cannot be treated (the reason is said), a network in which none can, or a
        loss asked for before the network ran.

    Notes
    -----
    The penalty counts in training only, so a validation loss is the task's. With batch normalisation a unit can only
    fall silent by its shift.
    """

    def __init__(
        self, model: nn.Module, *, weight: float = 1e-3, layers: Sequence[str] | None = None, loss: Loss = cross_entropy
    ) -> None:
        if not 0 <= weight < float("inf"):
            raise ValueError(f"ActivationL1(weight={weight!r}): from 0 on is accepted, such as 0.001")
        self.weight, self.loss = weight, loss
        self.units = _treated(model, layers, "ActivationL1")
        self.seen: dict[str, torch.Tensor] = {}
        self.handles = []
        for path, its in self.units.items():
            module = model.get_submodule(its.readers[0].path)
            self.handles.append(module.register_forward_pre_hook(self._hook(path, its, module)))

    def __call__(self, out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        value = self.loss(out, y)
        return value + self.penalty() if torch.is_grad_enabled() else value

    def penalty(self) -> torch.Tensor:
        """`weight` times the sum over units of their mean |activation| in the last forward pass."""
        if not self.seen:
            raise ValueError("ActivationL1: the network has not run yet, so there are no activations to take")
        return self.weight * torch.stack(list(self.seen.values())).sum()

    def close(self) -> None:
        """Stop watching."""
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> ActivationL1:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _hook(self, path: str, its: Units, watched: nn.Module) -> Any:
        def note(module: nn.Module, given: tuple[Any, ...]) -> None:
            if module is watched:  # copies of the network keep the hook
                self.seen[path] = _by_unit(given[0].abs(), module, its.count, its.readers[0].repeat).mean(0).sum()

        return note


def activity(
    model: nn.Module,
    data: Data | torch.Tensor,
    *,
    layers: Sequence[str] | None = None,
    rows: int | None = None,
) -> dict[str, torch.Tensor]:
    """The largest |activation| of each inner unit over the data (C,), by the path of its layer.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> _ = net[0].bias.data.copy_(torch.tensor([9.0, 9.0, -9.0]))
    >>> (activity(net, torch.rand(8, 2))["0"] > 0).tolist()
    [True, True, False]
    """
    units, where = _treated(model, layers, "activity"), next(model.parameters()).device
    found: dict[str, torch.Tensor] = {}
    handles = []

    def hook(path: str, its: Units, reader: Reader) -> Any:
        def note(module: nn.Module, given: tuple[Any, ...]) -> None:
            most = _by_unit(given[0].abs(), module, its.count, reader.repeat).amax(0)
            found[path] = torch.maximum(found[path], most) if path in found else most

        return note

    try:
        for path, its in units.items():
            for reader in its.readers:  # one may read what another's activation has cut off
                module = model.get_submodule(reader.path)
                handles.append(module.register_forward_pre_hook(hook(path, its, reader)))
        with torch.no_grad(), untouched(model):
            model.eval()
            for x, _ in some_rows(data, rows, where, function="activity"):
                model(x)
    finally:
        for handle in handles:
            handle.remove()
    return found


def prune_silent(
    model: nn.Module,
    data: Data | torch.Tensor,
    *,
    tolerance: float = 0.0,
    layers: Sequence[str] | None = None,
    rows: int | None = None,
) -> Pruned:
    """A copy of `model` without the units that are 0 on every row of the data.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> _ = net[0].bias.data.copy_(torch.tensor([9.0, 9.0, -9.0]))
    >>> done = prune_silent(net, torch.rand(8, 2))
    >>> done.model[0], done.kept["0"].tolist()
    (Linear(in_features=2, out_features=2, bias=True), [0, 1])

    Parameters
    ----------
    data
        Inputs (N, ...), a dataset of tensors, or batches (x, y).
    tolerance
        Units whose |activation| never exceeds it go as well. At 0 the outputs on the data stay the same, up to the
        order in which numbers are added.
    layers, rows
        As for `ActivationL1`, and so many rows of the data; None for all.

    Raises
    ------
    ValueError
        For a tolerance below 0, or as `ActivationL1`. A layer keeps its most active unit.
    """
    if not 0 <= tolerance < float("inf"):
        raise ValueError(f"prune_silent(tolerance={tolerance!r}): from 0 on is accepted")
    most = activity(model, data, layers=layers, rows=rows)
    units, alone = inner_units(model, layers)
    new = copy.deepcopy(model)
    done = Pruned(new, left_alone=alone)
    total = gone = 0
    before = sum(p.numel() for p in model.parameters())
    for path, value in most.items():
        keep = (value > tolerance).cpu()
        keep[int(value.argmax())] = True
        done.kept[path] = keep.nonzero()[:, 0]
        total, gone = total + len(keep), gone + int((~keep).sum())
        if not keep.all():
            take(new, units[path], done.kept[path])
    after = sum(p.numel() for p in new.parameters())
    done.rounds = [
        Round(0, 0.0, before, None, None, None, None),
        Round(1, gone / max(1, total), after, None, None, None, None),
    ]
    return done


def _by_unit(x: torch.Tensor, reader: nn.Module, count: int, repeat: int) -> torch.Tensor:
    """What a reader is given, as (rows and places, units)."""
    if isinstance(reader, nn.Linear):
        return x.reshape(-1, count, repeat).transpose(1, 2).reshape(-1, count)
    return x.transpose(0, 1).flatten(1).T


def _treated(model: nn.Module, layers: Sequence[str] | None, function: str) -> dict[str, Units]:
    found, alone = inner_units(model, layers, function=function)
    if (layers is not None and alone) or not found:
        why = "; ".join(f"{path}: {told}" for path, told in alone.items()) or "it has no layers"
        raise ValueError(f"{function}: units that could be removed are needed, and there are none ({why})")
    return found
