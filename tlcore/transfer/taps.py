"""What a network computes on the way, in training too: its outputs, and with them the outputs of some layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from tlcore.runtime import nearest
from tlcore.transfer.heads import find_head

Tap = tuple[str, str]  # what is looked at, "input" or "output", and the module's path


def taps(model: nn.Module, layers: Sequence[str], function: str) -> dict[str, Tap]:
    """Where in a network each layer is seen: "neck" (the head's input), "logits" (the output), or a module path.

    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> taps(net, ["neck", "0"], "dann")
    {'neck': ('input', '2'), '0': ('output', '0')}

    Raises
    ------
    ValueError
        For a layer that there is not, with the nearest.
    """
    found: dict[str, Tap] = {}
    known = [path for path, _ in model.named_modules() if path]
    for layer in [layers] if isinstance(layers, str) else layers:
        if layer == "neck":
            found[layer] = ("input", find_head(model))
        elif layer == "logits":
            found[layer] = ("output", "")
        elif layer in known:
            found[layer] = ("output", layer)
        else:
            raise ValueError(
                f"{function}(layers=…): no layer {layer!r}; {nearest(str(layer), ['neck', 'logits', *known])}"
            )
    if not found:
        raise ValueError(f"{function}(layers=()): at least one is needed, such as 'neck'")
    return found


def tapped(model: nn.Module, places: dict[str, Tap], x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The network's output, and what its layers gave on the way, with their gradients.

    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> out, seen = tapped(net, {"neck": ("input", "2"), "logits": ("output", "")}, torch.rand(5, 4))
    >>> seen["neck"].shape, torch.equal(seen["logits"], out)
    (torch.Size([5, 3]), True)
    """
    seen: dict[str, torch.Tensor] = {}

    def look(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Any, ...], out: Any = None) -> None:
            seen[name] = given[0] if out is None else out

        return hook

    handles = []
    try:
        for name, (side, path) in places.items():
            module = model.get_submodule(path)
            if side == "input":
                handles.append(module.register_forward_pre_hook(look(name)))
            elif path:
                handles.append(module.register_forward_hook(look(name)))
        out = model(x)
    finally:
        for handle in handles:
            handle.remove()
    out = out[0] if isinstance(out, tuple) else out  # auxiliary heads are for training on labels alone
    for name, (_, path) in places.items():
        if not path:
            seen[name] = out
    return out, seen


def vectors(features: torch.Tensor) -> torch.Tensor:
    """Maps (N, C, H, W) as their means over all places (N, C), in float32; vectors as they are.

    >>> vectors(torch.ones(2, 3, 4, 4)).shape
    torch.Size([2, 3])
    """
    return (features.flatten(2).mean(2) if features.ndim > 2 else features).float()
