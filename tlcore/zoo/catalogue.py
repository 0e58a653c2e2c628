"""Every network of the zoo by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

from tlcore.runtime import nearest
from tlcore.zoo import (
    alexnet,
    cifar,
    densenet,
    efficientnet,
    googlenet,
    inception,
    inception_v4,
    lenet,
    loading,
    mobilenet,
    nasnet,
    resnet,
    vgg,
)
from tlcore.zoo.net import Net

_FAMILIES = (
    lenet, alexnet, vgg, googlenet, inception, inception_v4, resnet, cifar, densenet, mobilenet, nasnet, efficientnet
)  # fmt: skip
MODELS: dict[str, Callable[..., Net]] = {name: make for family in _FAMILIES for name, make in family.MODELS.items()}
ALIASES = {"vgg11": "vgg_a", "vgg13": "vgg_b", "vgg16": "vgg_d", "vgg19": "vgg_e"}
_COMMON = ("num_classes", "in_channels")


def list_models(pattern: str = "*") -> list[str]:
    """Names of the networks that match a shell pattern.

    >>> list_models("resnet1*")
    ['resnet101', 'resnet110', 'resnet152', 'resnet18']
    """
    return sorted(name for name in MODELS if fnmatch(name, pattern))


def resolve(name: str) -> str:
    """The name a network is listed under.

    >>> resolve("vgg16")
    'vgg_d'

    Raises
    ------
    ValueError
        With the nearest names.
    """
    known = ALIASES.get(name, name)
    if known not in MODELS:
        raise ValueError(f"no network {name!r}; {nearest(str(name), [*MODELS, *ALIASES])}")
    return known


def get_model(
    name: str,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    stem: str | None = None,
    weights: str | Path | None = None,
    **variant: Any,
) -> Net:
    """Build a network.

    >>> import torch
    >>> from tlcore import zoo
    >>> net = zoo.get_model("resnet18", num_classes=10, stem="cifar")
    >>> net(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])

    Under ``torch.device("meta")`` it takes milliseconds and no memory, whatever its size.

    Parameters
    ----------
    num_classes, in_channels
        None takes the paper's own, or as many classes as the weights' card names.
    stem
        "imagenet" or "cifar", where a network has both.
    weights
        "imagenet" for torchvision's weights of the same variant, the name of weights shipped with the package, or the
        path of a safetensors file. They fit a network with as many classes as they were trained for.
    variant
        What else the network lets you choose, such as ``stride="paper"``, ``batch_norm=True``, ``aux_logits=True`` or
        ``width_multiplier=0.5``; see its class.

    Raises
    ------
    ValueError
        For an unknown name, variant or stem, with what is known; for weights that do not fit, with the tensors.
    """
    name = resolve(name)
    given = {"num_classes": num_classes, "in_channels": in_channels, "stem": stem} | variant
    chosen = {key: value for key, value in given.items() if value is not None}
    _check(name, chosen)
    found = loading.find(name, weights) if weights is not None else None
    if found and found[0] == "torchvision" and "transform_input" in _choices(name):
        chosen.setdefault("transform_input", True)
    if found and num_classes is None and (classes := loading.classes(*found)):
        chosen["num_classes"] = classes
    net = MODELS[name](**chosen)
    if found:
        loading.fill(net, *found)
    return net


def _check(name: str, chosen: dict[str, Any]) -> None:
    accepted = _choices(name)
    for key, value in chosen.items():
        if key not in accepted:
            others = sorted(n for n in MODELS if key in _choices(n))
            have = f"; networks with it: {', '.join(others[:6])}" if others else ""
            raise ValueError(f"get_model({name!r}, {key}={value!r}): accepted are {', '.join(accepted)}{have}")
        options = {"stem": ("imagenet", "cifar"), "stride": ("v1.5", "paper")}.get(key)
        if options and value not in options:
            raise ValueError(f"get_model({name!r}, {key}={value!r}): accepted are {', '.join(map(repr, options))}")


def _choices(name: str) -> list[str]:
    """Keywords that a network's class takes and its name leaves open."""
    make: Any = MODELS[name]
    fixed: set[str] = set()
    while isinstance(make, partial):
        fixed |= set(make.keywords) - {"stem", "stride", "num_classes"}  # these only have another default
        make = make.func
    takes = [n for n, p in inspect.signature(make).parameters.items() if p.kind is p.KEYWORD_ONLY]
    return [n for n in (*_COMMON, *takes[: -len(_COMMON)]) if n not in fixed]
