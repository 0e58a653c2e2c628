"""Receptive fields read from the graph, beside those measured from gradients and those of another package.

Claim: exact for every net, and faster than measuring; the more so the larger the field. Peers, net by net:

- the gradient method: positive weights, average instead of max pooling, no batch norm and no activation
  functions, one forward and one backward pass at an input larger than the field; the bounding box of the
  gradient support is the answer. How large an input must be it cannot know: it is told our answer. It runs in
  float32; where the gradient at the edge underflows (densenet121: 1719 instead of 2071) it runs once more in
  float64, and that is the run whose time counts.
- `receptivefield` (its PyTorch back end), on the same prepared net. It makes four forward and three backward
  passes, so by default it only runs where the field is at most 600 pixels; `--all` runs it everywhere.

Not compared: torchscan 0.2 reports the window of each module by itself, not the field of a node, and
rfa-toolbox 1.7 needs a NumPy older than 2. Run alone: ``python benchmarks/receptive_field.py [--all]``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from tlcore import anatomy

NETS = (
    "resnet18",
    "resnet50",
    "resnet152",
    "googlenet",
    "densenet121",
    "inception_v3",
    "mobilenet_v2",
    "vgg16",
)
GONE = (nn.BatchNorm2d, nn.ReLU, nn.ReLU6, nn.Dropout)
PEER_LIMIT = 600


def build(name: str) -> nn.Module:
    """The torchvision net with random weights."""
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return getattr(torchvision.models, name)(weights=None, **extra).eval()  # type: ignore[no-any-return]


def prepared(model: nn.Module, of: str) -> nn.Module:
    """The net up to `of` in a form in which no gradient can cancel or vanish."""
    seen = anatomy.trace(model)
    node = seen.resolve(of)
    seen.graph.erase_node(next(n for n in seen.graph.nodes if n.op == "output"))
    seen.graph.output(node)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, GONE):
                setattr(parent, name, nn.Identity())
            elif isinstance(child, nn.MaxPool2d):
                pool = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode)
                setattr(parent, name, pool)
    with torch.no_grad():
        for parameter in model.parameters():
            width = max(parameter.shape[2:], default=1)
            parameter.fill_(width / max(parameter[0].numel(), 1)).requires_grad_(False)
    net = torch.fx.GraphModule(model, seen.graph)
    net.graph.eliminate_dead_code()
    for call in net.graph.nodes:  # functional activations and pools
        if call.op == "call_function" and call.target.__name__ in ("relu", "relu_"):
            call.replace_all_uses_with(call.args[0])
            net.graph.erase_node(call)
        elif call.op == "call_function" and call.target is torch.nn.functional.max_pool2d:
            call.target = torch.nn.functional.avg_pool2d
            call.kwargs = {k: v for k, v in call.kwargs.items() if k in ("kernel_size", "stride", "padding")}
    net.recompile()
    return net


def by_gradient(net: nn.Module, side: int) -> tuple[int, int]:
    """Height and width of the gradient support of the centre."""
    dtype = next(net.parameters()).dtype
    x = torch.zeros(1, 3, side, side, requires_grad=True, dtype=dtype)
    out = net(x)
    (gradient,) = torch.autograd.grad(out[0, :, out.shape[2] // 2, out.shape[3] // 2].sum(), x)
    rows, columns = (gradient[0].abs().sum(0).sum(d).nonzero().flatten() for d in (1, 0))
    return int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1


class Exposed(nn.Module):
    """What `receptivefield` asks for: the activations in a list called feature_maps."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.feature_maps: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.feature_maps = [self.net(x)]
        return self.feature_maps[0]


def by_package(net: nn.Module, side: int) -> tuple[int, int]:
    """The answer of the package `receptivefield`."""
    logging.disable(logging.INFO)
    from receptivefield.image import ImageShape
    from receptivefield.pytorch import PytorchReceptiveField

    (answer,) = PytorchReceptiveField(lambda: Exposed(net)).compute(ImageShape(side, side, 3))
    return int(answer.rf.size.h), int(answer.rf.size.w)


def timed(function: Any, *args: Any) -> tuple[Any, float]:
    """The result (or the error in words) and the seconds it took."""
    start = time.perf_counter()
    try:
        result = function(*args)
    except Exception as error:
        result = f"{type(error).__name__}: {str(error).splitlines()[0][:40] if str(error) else ''}"
    return result, time.perf_counter() - start


def cpu_name() -> str:
    """What the machine calls its processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line[:10] == "model name"), platform.machine())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="the peer package on large fields too")
    everywhere = parser.parse_args().all
    has_peer = importlib.util.find_spec("receptivefield") is not None
    peer = f"receptivefield {importlib.metadata.version('receptivefield')}" if has_peer else "receptivefield"
    print("# Receptive field of the last node before global pooling, with respect to the input\n")
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    print(f"{cpu_name()}, {os.cpu_count()} cores, {versions}.")
    print("Seconds; ours is the median of 5 including tracing, the others run once.\n")
    print(f"| net | tlcore | s | gradient | s | input it needs | ratio | {peer} | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    figures: dict[str, Any] = {"origin": "random weights, no data"}
    anatomy.receptive_field(build("resnet18"))
    for name in NETS:
        model = build(name)
        runs = [timed(anatomy.receptive_field, model) for _ in range(5)]
        field, seconds = runs[0][0], statistics.median(s for _, s in runs)
        side = -(-(max(field.size) + 96) // 32) * 32
        net = prepared(model, field.of)
        gradient, gradient_seconds = timed(by_gradient, net, side)
        single = gradient == field.size
        if not single:
            gradient, gradient_seconds = timed(by_gradient, net.double(), side)
        if not has_peer:
            answer, peer_seconds = "not installed", None
        elif max(field.size) > PEER_LIMIT and not everywhere:
            answer, peer_seconds = f"not run: field > {PEER_LIMIT}", None
        else:
            answer, peer_seconds = timed(by_package, net, side)
        ratio = gradient_seconds / seconds
        shown = "–" if peer_seconds is None else f"{peer_seconds:.2f}"
        measured = _by(gradient) + ("" if single else " (float64)")
        cells = [name, _by(field.size), f"{seconds:.3f}", measured, f"{gradient_seconds:.2f}"]
        cells += [f"{side}x{side}", f"{ratio:.0f}", _by(answer), shown]
        print(f"| {' | '.join(cells)} |", flush=True)
        figures[name] = {
            "size": field.size,
            "seconds": round(seconds, 4),
            "gradient_size": gradient,
            "gradient_seconds": round(gradient_seconds, 3),
            "gradient_input": side,
            "gradient_dtype": "float32" if single else "float64",
            "peer_size": answer,
            "peer_seconds": None if peer_seconds is None else round(peer_seconds, 3),
        }
        figures[f"{name}_seconds"] = round(seconds, 4)
        if name == "resnet152":
            figures["gradient_ratio"] = round(ratio, 1)
    print()
    print(json.dumps(figures))


def _by(size: Any) -> str:
    return "x".join(map(str, size)) if isinstance(size, tuple) else str(size)


if __name__ == "__main__":
    main()
