"""The head of a network: the layer that turns its last features, the neck, into one number a class."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import nn

from tlcore.anatomy.graph import Trace, TraceError, needed_for, trace

Model = TypeVar("Model", bound=nn.Module)
Head = nn.Linear | nn.Conv2d


def find_head(model: nn.Module) -> str:
    """Path of the head: the last layer with weights on the way to the output.

    >>> from tlcore import zoo
    >>> find_head(zoo.get_model("resnet20")), find_head(zoo.get_model("lenet5"))
    ('fc', 'classifier.4')

    It is a linear layer, whose input is the ``"neck"`` of `anatomy.resolve`, or a 1x1 convolution that gives one map a
    class. A network that torch.fx cannot trace is taken to use its layers in the order in which they were made.

    Raises
    ------
    ValueError
        If the last layer with weights is another one.
    """
    return _head(model, "find_head")[0]


def replace_head(model: Model, num_classes: int, *, seed: int = 0) -> Model:
    """Put a fresh head in the place of the old one, for another number of classes; `model` is changed and returned.

    >>> from tlcore import zoo
    >>> net = replace_head(zoo.get_model("resnet20"), 4)
    >>> net(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 4])

    The new weights are drawn as torch draws those of a new layer, from U(-b, b) with b = 1 / sqrt(inputs of a unit);
    the same `seed` gives the same ones. Auxiliary heads, which only training uses, are replaced as well.

    Parameters
    ----------
    num_classes
        Outputs of the new head.

    Raises
    ------
    ValueError
        If there is no head (see `find_head`), or `num_classes` is no whole number from 1 on.
    """
    if type(num_classes) is not int or num_classes < 1:
        raise ValueError(f"replace_head(num_classes={num_classes!r}): a whole number from 1 on is accepted")
    path, old, others = _head(model, "replace_head")
    if not path:
        raise ValueError("replace_head: the network is one single layer, so there is nothing below a head to keep")
    draws = torch.Generator(device="cpu").manual_seed(seed)
    model.set_submodule(path, _fresh(old, num_classes, draws))
    for auxiliary, layer in others.items():
        model.set_submodule(auxiliary, _fresh(layer, num_classes, draws))
    if isinstance(getattr(model, "num_classes", None), int):
        model.num_classes = num_classes  # type: ignore[assignment]
    return model


def _head(model: nn.Module, function: str) -> tuple[str, Head, dict[str, Head]]:
    """Path and layer of the head, and auxiliary heads: as many outputs, but not on the way to the output."""
    called: set[str] = set()
    try:
        seen = trace(model, function=function)
    except TraceError:
        last = next((p for p, m in reversed(list(model.named_modules())) if _tensors(m) and not list(m.children())), "")
        called = {path for path, _ in model.named_modules()}
    else:
        last = _last(model, seen)
        called = {str(node.target) for node in seen.graph.nodes if node.op == "call_module"}
    layer = model.get_submodule(last)
    fits = isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1))
    if not fits:
        what = f"{last!r} ({type(layer).__name__})" if last else type(model).__name__
        raise ValueError(
            f"{function}: the last layer with weights is {what}; a linear layer or a 1x1 convolution can be a head. "
            "Set your own: the network's attributes are its layers"
        )
    assert isinstance(layer, nn.Linear | nn.Conv2d)
    others = {
        path: other
        for path, other in model.named_modules()
        if isinstance(other, nn.Linear) and path not in called and other.out_features == layer.weight.shape[0]
    }
    return last, layer, others  # type: ignore[return-value]


def _last(model: nn.Module, seen: Trace) -> str:
    """Path of the module that uses the last weights or constants on the way to the output."""
    end = next(node for node in seen.graph.nodes if node.op == "output")
    used = needed_for(end)
    for node in reversed(seen.graph.nodes):
        if node in used and node.op == "call_module" and _tensors(model.get_submodule(str(node.target))):
            return str(node.target)
        if node in used and node.op == "get_attr":
            return seen.scopes.get(node, "")
    return ""


def _tensors(module: nn.Module) -> bool:
    return any(True for _ in module.parameters()) or any(True for _ in module.buffers())


def _fresh(old: Head, outputs: int, draws: torch.Generator) -> Head:
    """A layer of the same kind with new weights, where the old one lies."""
    bias, dtype = old.bias is not None, old.weight.dtype
    new: Head
    with torch.device("meta"):
        if isinstance(old, nn.Conv2d):
            new = nn.Conv2d(old.in_channels, outputs, 1, bias=bias, dtype=dtype)
        else:
            new = nn.Linear(old.in_features, outputs, bias=bias, dtype=dtype)
    new = new.to_empty(device="cpu")
    bound = 1 / math.sqrt(new.weight[0].numel())
    for parameter in new.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=draws)
    return new.to(old.weight.device).train(old.training)
