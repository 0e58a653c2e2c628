"""Net2DeeperNet: one more layer, which begins as the identity.

Chen, Goodfellow, Shlens 2016, "Net2Net" (arXiv:1511.05641), section 2.3; the lecture's "layers that initialized as
identity mapping".
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from tlcore import anatomy
from tlcore.anatomy.untouched import untouched
from tlcore.compress.given import Data, some_rows
from tlcore.compress.units import CONV, NORM, inner_units
from tlcore.compress.wider import check_noise

# phi(phi(x)) = phi(x): only behind these a layer of weights 1 changes nothing.
IDEMPOTENT = (nn.ReLU, nn.ReLU6, nn.Hardtanh)
FUNCTIONS = {torch.relu: nn.ReLU, F.relu: nn.ReLU, torch.relu_: nn.ReLU, F.relu6: nn.ReLU6}
METHODS = {"relu": nn.ReLU, "relu_": nn.ReLU}


def deeper(
    model: nn.Module,
    layer: str,
    *,
    kernel: int | None = None,
    data: Data | torch.Tensor | None = None,
    rows: int = 1024,
    noise: float = 0.0,
    seed: int = 0,
) -> nn.Module:
    """A copy of `model` with a new layer behind `layer` that passes on what it gets.

    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> new, x = deeper(net, "0"), torch.rand(5, 3)
    >>> torch.equal(new(x), net(x))
    True
    >>> new[0]
    Sequential(
      (0): Linear(in_features=3, out_features=4, bias=True)
      (1): ReLU()
      (2): Linear(in_features=4, out_features=4, bias=True)
    )

    Parameters
    ----------
    layer
        Path of a linear layer or convolution, followed by ReLU (or another activation that changes nothing when applied
        twice), with batch normalisation in between or without. The new layer stands between the two ReLUs; the paths of
        all other layers stay.
    kernel
        Side of the new convolution, odd; by default the layer's own, or 3 where that is even.
    data
        Inputs (N, ...), a dataset or batches. With them, and if the layer has batch normalisation, the new layer has it
        as well, with a scale and shift that undo the normalisation by statistics of the data: so the function is
        preserved in evaluation mode exactly, and in training mode up to the difference of batches. Without data the new
        layer has no normalisation, and the function is preserved in both modes.
    rows
        Of the data.
    noise
        Standard deviation of noise on the new weights, such as 0.01; then the function is preserved approximately.

    Raises
    ------
    ValueError
        For a layer that is none of these (what follows it is said), an even kernel, or a negative noise.
    """
    check_noise("deeper", noise)
    end, act = _behind(model, layer)
    old: Any = model.get_submodule(layer)
    new = copy.deepcopy(model)
    first: Any = new.get_submodule(end)
    fresh = _identity(old, kernel, noise, torch.Generator().manual_seed(seed))
    parts = [first, act, fresh.train(old.training)]
    if data is not None and isinstance(first, nn.modules.batchnorm._BatchNorm):
        parts.append(_undone_norm(model, end, act, fresh, first, data, rows))
    grown = nn.Sequential(*parts)
    grown.train(first.training)
    parent, _, name = end.rpartition(".")
    if not end:
        return grown
    setattr(new.get_submodule(parent), name, grown)
    return new


def _behind(model: nn.Module, layer: str) -> tuple[str, nn.Module]:
    """The module after which to insert, the layer or its normalisation, and the activation that follows."""
    inner_units(model, [layer], function="deeper")  # refuses what is no layer, with the nearest
    trace = anatomy.trace(model, function="deeper")
    nodes = [node for node in trace.graph.nodes if node.op == "call_module" and str(node.target) == layer]
    if len(nodes) != 1:
        raise ValueError(f"deeper: {layer!r} is called {len(nodes)} times; a layer that is called once is accepted")
    at: fx.Node = nodes[0]
    if isinstance(trace.module(at), nn.modules.conv._ConvTransposeNd):
        raise ValueError(f"deeper: {layer!r} is a transposed convolution, which cannot be treated")
    users = list(at.users)
    if len(users) == 1 and isinstance(trace.module(users[0]), NORM):
        at = users[0]
        users = list(at.users)
        if sum(str(n.target) == str(at.target) for n in trace.graph.nodes if n.op == "call_module") > 1:
            raise ValueError(f"deeper: {str(at.target)!r} behind {layer!r} is called more than once; cannot be treated")
    act = _activation(trace, users[0]) if len(users) == 1 else None
    if act is None:
        kinds = [type(m).__name__ if (m := trace.module(u)) is not None else trace.label(u) for u in users]
        told = " and ".join(kinds) or "nothing"
        raise ValueError(
            f"deeper: {layer!r} is followed by {told}; behind it an identity would not stay one. Accepted are layers "
            "followed by ReLU, ReLU6 or Hardtanh"
        )
    return str(at.target), act


def _activation(trace: anatomy.Trace, node: fx.Node) -> nn.Module | None:
    module = trace.module(node)
    if isinstance(module, IDEMPOTENT):
        act = copy.deepcopy(module)
        if hasattr(act, "inplace"):
            act.inplace = False
        return act
    made = METHODS.get(str(node.target)) if node.op == "call_method" else FUNCTIONS.get(node.target)  # type: ignore[arg-type]
    return made() if made else None


@torch.no_grad()
def _identity(old: Any, kernel: int | None, noise: float, draws: torch.Generator) -> nn.Module:
    """A layer as wide as `old` that gives back its input."""
    like = {"device": old.weight.device, "dtype": old.weight.dtype}
    if isinstance(old, nn.Linear):
        if kernel is not None:
            raise ValueError(f"deeper(kernel={kernel}): a linear layer has no kernel; leave it out")
        new: Any = nn.Linear(old.out_features, old.out_features, bias=old.bias is not None, **like)
        new.weight.copy_(torch.eye(old.out_features))
    else:
        side = kernel if kernel is not None else next((k for k in old.kernel_size if k % 2), 3)
        if isinstance(side, bool) or not isinstance(side, int) or side < 1 or side % 2 == 0:
            raise ValueError(f"deeper(kernel={kernel!r}): an odd number from 1 on is accepted, such as 3")
        kind = next(kind for kind in CONV if isinstance(old, kind))
        new = kind(
            old.out_channels, old.out_channels, side, padding=side // 2, bias=old.bias is not None,
            padding_mode=old.padding_mode, **like,
        )  # fmt: skip
        nn.init.dirac_(new.weight)
    if new.bias is not None:
        new.bias.zero_()
    if noise:
        new.weight += noise * torch.randn(new.weight.shape, generator=draws).to(new.weight)
    return new  # type: ignore[no-any-return]


@torch.no_grad()
def _undone_norm(
    model: nn.Module, end: str, act: nn.Module, fresh: nn.Module, first: Any, data: Data | torch.Tensor, rows: int
) -> nn.Module:
    """Batch normalisation that changes nothing: scale and shift put back what it takes away."""
    sums: list[torch.Tensor] = []

    def look(module: nn.Module, given: Any, out: torch.Tensor) -> None:
        values = fresh(act(out)).transpose(0, 1).flatten(1).double()
        sums.append(
            torch.stack([values.sum(1), values.square().sum(1), torch.full_like(values[:, 0], values.shape[1])])
        )

    where = next(model.parameters()).device
    handle = model.get_submodule(end).register_forward_hook(look)
    try:
        with untouched(model):
            model.eval()
            for x, _ in some_rows(data, rows, where, function="deeper"):
                model(x)
    finally:
        handle.remove()
    total, squares, count = torch.stack(sums).sum(0)
    mean = total / count
    variance = (squares / count - mean.square()).clamp(min=0)
    norm = type(first)(first.num_features, eps=first.eps, momentum=first.momentum).to(first.running_mean)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)
    norm.weight.copy_((norm.running_var + norm.eps).sqrt())
    norm.bias.copy_(norm.running_mean)
    return norm  # type: ignore[no-any-return]
