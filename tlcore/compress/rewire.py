"""Units taken away or doubled for real: the arrays of weights become smaller or larger.

One operation serves both. A list of old units says what the new ones are: a unit that is not in the list is gone, one
that is in it twice is there twice.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from tlcore.compress.units import Units, inner_units


def remove_units(model: nn.Module, units: Mapping[str, Sequence[int] | torch.Tensor]) -> nn.Module:
    """A copy of `model` without the given units: smaller arrays, fewer multiplications.

    >>> net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    >>> remove_units(net, {"0": [1, 4]})
    Sequential(
      (0): Linear(in_features=3, out_features=3, bias=True)
      (1): ReLU()
      (2): Linear(in_features=3, out_features=2, bias=True)
    )

    Parameters
    ----------
    units
        Numbers of units by the path of their layer.

    Returns
    -------
    nn.Module
        Gives what `model` gives when the readers of these units take them for 0.

    Raises
    ------
    ValueError
        For a layer whose units cannot be removed (the reason is said), a unit that there is not, or a layer that
        would lose all of its units.
    """
    found, alone = inner_units(model, list(units), function="remove_units")
    for path, why in alone.items():
        raise ValueError(f"remove_units: the units of {path!r} cannot be removed ({why}); accepted are {_names(model)}")
    new = copy.deepcopy(model)
    for path, numbers in units.items():
        gone = {int(n) for n in numbers}
        wrong = [n for n in sorted(gone) if not 0 <= n < found[path].count]
        if wrong:
            raise ValueError(f"remove_units: {path!r} has no unit {wrong[0]}; from 0 to {found[path].count - 1}")
        kept = [n for n in range(found[path].count) if n not in gone]
        if not kept:
            raise ValueError(f"remove_units: {path!r} would lose all its {found[path].count} units; leave at least one")
        take(new, found[path], torch.tensor(kept))
    return new


def _names(model: nn.Module) -> str:
    return ", ".join(map(repr, inner_units(model)[0])) or "none in this network"


@torch.no_grad()
def take(model: nn.Module, units: Units, index: torch.Tensor, share: torch.Tensor | None = None) -> None:
    """Give a layer the old units in `index` (M,), in place; their readers multiply them with `share` (M,)."""
    _rows(model.get_submodule(units.layer), index, units.count)
    for path in units.followers:
        _rows(model.get_submodule(path), index, units.count)
    for reader in units.readers:
        module: Any = model.get_submodule(reader.path)
        weight = module.weight
        columns = (index[:, None] * reader.repeat + torch.arange(reader.repeat)).flatten().to(weight.device)
        new = weight.index_select(1, columns)
        if share is not None:
            each = share.repeat_interleave(reader.repeat).to(weight)
            new = new * each.view(-1, *[1] * (weight.ndim - 2))
        module.weight = nn.Parameter(new, requires_grad=weight.requires_grad)
        if isinstance(module, nn.Linear):
            module.in_features = len(columns)
        else:
            module.in_channels = len(columns)


def _rows(module: Any, index: torch.Tensor, count: int) -> None:
    """The rows `index` of all that a module has one of for each unit."""
    for name, parameter in list(module._parameters.items()):
        if parameter is not None and parameter.ndim and len(parameter) == count:
            rows = parameter.index_select(0, index.to(parameter.device))
            setattr(module, name, nn.Parameter(rows, requires_grad=parameter.requires_grad))
    for name, buffer in list(module._buffers.items()):
        if buffer is not None and buffer.ndim and len(buffer) == count:
            setattr(module, name, buffer.index_select(0, index.to(buffer.device)))
    for name in ("out_features", "out_channels", "num_features", "num_parameters"):
        if hasattr(module, name):
            setattr(module, name, len(index))
    if getattr(module, "groups", 1) > 1:  # depthwise: what comes in has as many
        module.in_channels = module.groups = len(index)


@contextmanager
def gated(model: nn.Module, units: Mapping[str, Units], gates: dict[str, torch.Tensor]) -> Iterator[None]:
    """Inside, readers see each unit times its gate (C,), or (N, C) row by row; 0 is a unit removed.

    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> gates, x = {"0": torch.tensor([1.0, 0, 1, 1])}, torch.rand(5, 3)
    >>> with gated(net, inner_units(net)[0], gates):
    ...     out = net(x)
    >>> torch.allclose(out, remove_units(net, {"0": [1]})(x))
    True
    """
    handles = []

    def hook(layer: str, repeat: int) -> Any:
        def scale(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            gate, x = gates[layer].repeat_interleave(repeat, -1), given[0]
            places = x.ndim - 2  # a linear layer has them before the units, a convolution behind them
            rows, last = gate.shape[:-1], gate.shape[-1:]
            around = [1] * places if gate.ndim > 1 or not isinstance(module, nn.Linear) else []
            gate = (
                gate.view(*rows, *around, *last) if isinstance(module, nn.Linear) else gate.view(*rows, *last, *around)
            )
            return (x * gate, *given[1:])

        return scale

    try:
        for layer, its in units.items():
            for reader in its.readers:
                handles.append(model.get_submodule(reader.path).register_forward_pre_hook(hook(layer, reader.repeat)))
        yield
    finally:
        for handle in handles:
            handle.remove()
