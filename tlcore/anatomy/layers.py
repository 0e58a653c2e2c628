"""Which modules are layers, by which path we name them, and the tensors in what they return."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from tlcore.anatomy.graph import nearest


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Every tensor in a tensor, or in tuples, lists and dicts of them.

    >>> [tuple(t.shape) for t in tensors_in({"out": (torch.ones(2, 3), [torch.ones(4)]), "loss": None})]
    [(2, 3), (4,)]
    """
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors_in(item)


def parts(model: nn.Module) -> Iterator[tuple[str, nn.Module, bool]]:
    """Module path, module, and whether it is a layer; without the modules that are part of a layer.

    A layer computes as one: it has no children, or it uses theirs without calling them (multi-head attention, a
    parametrised layer). A module that stands at two paths has its first.

    >>> net = nn.Sequential(nn.Linear(3, 3), nn.Sequential(nn.ReLU(), nn.MultiheadAttention(4, 2)))
    >>> [(path, layer) for path, _, layer in parts(net)]
    [('', False), ('0', True), ('1', False), ('1.0', True), ('1.1', True)]
    """
    closed: tuple[str, ...] = ()
    for path, module in model.named_modules():
        if path.startswith(closed):
            continue
        alone = next(module.children(), None) is None
        layer = alone or isinstance(module, nn.MultiheadAttention) or parametrize.is_parametrized(module)
        yield path, module, layer
        if layer and not alone:
            closed += (f"{path}." if path else "",)


def kind_of(module: nn.Module) -> str:
    """The name of its class, without what a parametrisation makes of it."""
    return parametrize.type_before_parametrizations(module).__name__


def check_model(model: nn.Module, function: str) -> None:
    """Raise a `TypeError` that says what is wrong with `model`, if it is none we can look into."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"{function}(model=…): give an nn.Module, not {type(model).__name__}")
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        raise TypeError(f"{function}(model=…): TorchScript hides its layers; give the nn.Module it was made from")


def chosen_layers(model: nn.Module, layers: Iterable[str] | None, function: str) -> dict[str, nn.Module]:
    """The modules at the paths the user gave; every layer for None.

    Raises
    ------
    TypeError, ValueError
        If `model` is no module, has no real weights, or `layers` holds something else than its module paths.
    """
    check_model(model, function)
    if any(p.is_meta for p in model.parameters()):
        raise ValueError(f"{function}: the model is on the meta device and has no weights; build it with real ones")
    if layers is None:
        return {path: module for path, module, layer in parts(model) if layer}
    if isinstance(layers, str) or not isinstance(layers, Iterable):
        raise TypeError(f"{function}(layers={layers!r}): give an iterable of module paths, such as [{layers!r}]")
    known = dict(model.named_modules(remove_duplicate=False))
    chosen: dict[str, nn.Module] = {}
    for path in layers:
        if path not in known:
            raise ValueError(
                f"{function}(layers=…): no module at the path {path!r}; {nearest(str(path), filter(None, known))}"
            )
        chosen[path] = known[path]
    if not chosen:
        raise ValueError(f"{function}(layers=[]): name at least one module path, or None for every layer")
    return chosen


def brief(number: int) -> str:
    """A large count as people say it.

    >>> brief(11_689_512), brief(1_814_073_344), brief(60), brief(999_999)
    ('11.7M', '1.81G', '60', '1M')
    """
    if number < 1000:
        return str(number)
    rounded = float(f"{number:.3g}")
    step = min(int(math.log10(rounded) + 1e-9) // 3, 4)
    return f"{rounded / 1000**step:.3g}{' kMGT'[step]}"
