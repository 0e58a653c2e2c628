"""The ground truth for receptive fields: where the gradient is not zero.

With positive weights, no batch norm, average instead of max pooling and in double precision nothing cancels,
so the support of the gradient of one output position is exactly what that position sees.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from tlcore.anatomy.effective import _index
from tlcore.anatomy.find import find

POOLS = {nn.MaxPool1d: nn.AvgPool1d, nn.MaxPool2d: nn.AvgPool2d, nn.MaxPool3d: nn.AvgPool3d}
GOES = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.Dropout,
    nn.ReLU,
    nn.ReLU6,
    nn.Hardswish,
    nn.SiLU,
    nn.GELU,
)


def positive(model: nn.Module) -> nn.Module:
    """A copy of `model` in which nothing cancels."""
    twin = copy.deepcopy(model).double().eval()
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, GOES):
                setattr(parent, name, nn.Identity())
            elif type(child) in POOLS:
                new = POOLS[type(child)](child.kernel_size, child.stride, child.padding, child.ceil_mode)
                setattr(parent, name, new)
    with torch.no_grad():
        for parameter in twin.parameters():
            fan = max(parameter[0].numel(), 1) if parameter.dim() > 1 else 1
            parameter.copy_((torch.rand_like(parameter) + 0.5) / fan)
    return twin


def supports(
    model: nn.Module,
    input_size: tuple[int, ...],
    positions: Sequence[tuple[int, ...]],
    *,
    of: str | None = None,
) -> list[tuple[tuple[int, int], ...] | None]:
    """The bounding box of the gradient support for each output position; None where the gradient is zero."""
    found = find(model, of, "input", input_size, "all", None, "oracle")
    graph_module = torch.fx.GraphModule(model, found.seen.graph)
    kept: list[torch.Tensor] = []

    class Stop(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> object:
            value = super().run_node(n)
            if n.name == found.of_node.name:
                kept.append(value)
            return value

    x = torch.rand((1, *input_size), dtype=torch.float64).add_(0.5).requires_grad_(True)
    Stop(graph_module).run(x)
    boxes: list[tuple[tuple[int, int], ...] | None] = []
    for place in positions:
        (gradient,) = torch.autograd.grad(kept[0][_index(found, place)].sum(), x, retain_graph=True)
        seen = gradient[0].abs().sum(0).nonzero()
        low, high = (seen.amin(0), seen.amax(0)) if len(seen) else (None, None)
        box = None if low is None else tuple(zip(low.tolist(), high.tolist(), strict=True))
        boxes.append(box)
    return boxes
