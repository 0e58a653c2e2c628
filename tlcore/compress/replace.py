"""A copy of a network with some layers replaced; what cannot be treated is named and left alone."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.nn.utils import parametrize

from tlcore.anatomy.graph import nearest
from tlcore.anatomy.layers import check_model, kind_of, parts

CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
Make = Callable[[str, nn.Module], nn.Module | None]


def treatable(layer: nn.Module) -> str:
    """Why low-rank methods cannot treat a layer; empty if they can.

    >>> treatable(nn.Linear(3, 3)), treatable(nn.Conv2d(4, 4, 3, groups=4))
    ('', 'a convolution in 4 groups')
    """
    if parametrize.is_parametrized(layer):
        return f"a parametrised {kind_of(layer)}"
    if type(layer) is nn.Linear:
        return ""
    if type(layer) in CONVS.values():
        groups = layer.groups
        return "" if groups == 1 else f"a convolution in {groups} groups"
    return kind_of(layer)


def replaced(model: nn.Module, make: Make, *, layers: Iterable[str] | None, function: str) -> nn.Module:
    """A copy of `model` in which `make(path, layer)` stands for each layer that low-rank methods can treat.

    Where `make` returns None the layer stays.

    Warns
    -----
    UserWarning
        Names layers with matrices that cannot be treated, and says when no layer was changed.

    Raises
    ------
    TypeError, ValueError
        For no module, a path without a layer, or a layer asked for by name that cannot be treated.
    """
    check_model(model, function)
    if any(p.is_meta for p in model.parameters()):
        raise ValueError(f"{function}: the model is on the meta device and has no weights; build it with real ones")
    net = copy.deepcopy(model)
    owners = [(path, module, list(module.parameters(recurse=layer))) for path, module, layer in parts(net)]
    found = [(path, module) for path, module, own in owners if any(p.ndim > 1 for p in own)]
    chosen = _chosen(layers, dict(found), function)
    users = Counter(id(p) for _, _, own in owners for p in own)
    left, changed = [], 0
    for path, layer in found:
        if path not in chosen:
            continue
        tied = users[id(getattr(layer, "weight", None))] > 1
        reason = "shares its weights" if tied else treatable(layer)
        if reason:
            left.append(f"{path or 'the model itself'!r} ({reason})")
            continue
        new = make(path, layer)
        if new is not None:
            changed += 1
            net = _put(net, layer, new.train(layer.training))
    if left and layers is not None:
        raise ValueError(
            f"{function}(layers=…): cannot treat {', '.join(left)}; dense layers and convolutions are accepted"
        )
    if left:
        warnings.warn(
            f"{function}: left alone, since it treats dense layers and convolutions: {', '.join(left)}", stacklevel=3
        )
    if not changed:
        warnings.warn(f"{function}: no layer would get smaller, so none was changed", stacklevel=3)
    return net


def like(new: nn.Module, layer: nn.Module) -> nn.Module:
    """`new` with the type, place and trainability of a layer's weights."""
    weight: torch.Tensor = layer.weight  # type: ignore[assignment]
    return new.to(weight.device, weight.dtype).requires_grad_(weight.requires_grad)


def numbers(module: nn.Module) -> int:
    """How many numbers the parameters hold."""
    return sum(p.numel() for p in module.parameters())


def work(weight: torch.Tensor) -> torch.Tensor:
    """A weight in the type in which it is taken apart: 16 bits are too few, and the CPU has no such routines."""
    return weight.detach() if weight.dtype == torch.float64 else weight.detach().float()


def _chosen(layers: Iterable[str] | None, found: dict[str, nn.Module], function: str) -> set[str]:
    if layers is None:
        return set(found)
    if isinstance(layers, str):
        raise TypeError(f"{function}(layers={layers!r}): give an iterable of module paths, such as [{layers!r}]")
    wanted = list(layers)
    for path in wanted:
        if path not in found:
            raise ValueError(f"{function}(layers=…): no layer with a matrix at {path!r}; {nearest(str(path), found)}")
    return set(wanted)


def _put(net: nn.Module, old: nn.Module, new: nn.Module) -> nn.Module:
    """At every path at which `old` stands."""
    if net is old:
        return new
    for parent in list(net.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                setattr(parent, name, new)
    return net
