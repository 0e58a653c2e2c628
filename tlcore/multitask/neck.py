"""Where heads go: a network without its last linear layer gives its neck."""

from __future__ import annotations

import copy

import torch
from torch import nn

from tlcore import zoo
from tlcore.anatomy.graph import Trace, TraceError, trace


def headless(backbone: str | nn.Module, *, function: str = "headless") -> tuple[nn.Module, int]:
    """A copy of a network that ends at its neck (`anatomy.resolve`), and the neck's width.

    >>> trunk, width = headless("resnet20")
    >>> trunk(torch.zeros(2, 3, 32, 32)).shape, width
    (torch.Size([2, 64]), 64)

    Parameters
    ----------
    backbone
        A name of the zoo, or any network that torch.fx can trace and that ends in a linear layer.

    Raises
    ------
    ValueError
        If there is no linear layer, if something is done to its output, or if it cannot be traced.
    """
    net = zoo.get_model(backbone) if isinstance(backbone, str) else backbone
    if not isinstance(net, nn.Module):
        raise TypeError(f"{function}(backbone=…): give a name of the zoo or an nn.Module, not {type(net).__name__}")
    way_out = "give a trunk that ends in features, with at='output'"
    if isinstance(net, nn.Linear):
        raise ValueError(f"{function}: the network is one single layer, so there is nothing to share; {way_out}")
    try:
        seen = trace(net, function=function)
    except TraceError as error:
        raise ValueError(f"{str(error).partition(' Way out')[0]} Or {way_out}") from None
    path, width = _last_linear(seen, function, way_out)
    trunk = copy.deepcopy(net)
    trunk.set_submodule(path, nn.Identity())
    return trunk, width


def features_of(trunk: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What a trunk gives, as vectors (N, F): maps (N, C, H, W) are averaged over all places.

    >>> features_of(nn.Conv2d(3, 8, 3), torch.zeros(2, 3, 9, 9)).shape
    torch.Size([2, 8])
    """
    made = trunk(x)
    made = made[0] if isinstance(made, tuple) else made  # auxiliary outputs are used in training only
    return made.flatten(2).mean(2) if made.ndim > 2 else made  # type: ignore[no-any-return]


def _last_linear(seen: Trace, function: str, way_out: str) -> tuple[str, int]:
    neck = seen.resolve("neck", argument="at", function=function)
    last = next(node for node in reversed(seen.graph.nodes) if node in neck.users)
    layer, after = seen.module(last), [user for user in last.users if user.op != "output"]
    if not isinstance(layer, nn.Linear) or after:
        what = f"{seen.label(after[0])!r} comes after it" if after else f"{last.name!r} is no layer of its own"
        raise ValueError(f"{function}: heads take the place of the last linear layer, but {what}; {way_out}")
    return str(last.target), layer.in_features
