"""Which layers have units (neurons, channels) that can be taken away or doubled, and what else has to change with them.

A unit lives in three places: the layer that makes it (its row of weights), what follows it unit by unit (batch
normalisation, depthwise convolutions), and the layers that read it (their columns of weights). Where something else
looks at it, such as the sum at the end of a residual block, the layer is left alone, and the reason is said.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from tlcore import anatomy
from tlcore.runtime import nearest

CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORM = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
# What works on each unit alone: with one unit fewer, or one twice, the others stay as they are.
ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Softplus, nn.Softsign,
    nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.LogSigmoid, nn.Identity,
    nn.modules.dropout._DropoutNd,
)  # fmt: skip
POOL = (
    nn.modules.pooling._MaxPoolNd, nn.modules.pooling._AvgPoolNd, nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd, nn.ZeroPad2d, nn.Upsample,
)  # fmt: skip
FUNCTIONS = {
    torch.relu, F.relu, F.relu6, F.leaky_relu, F.elu, F.gelu, F.silu, torch.sigmoid, torch.tanh, F.sigmoid, F.tanh,
    F.dropout, F.dropout2d, torch.relu_,
}  # fmt: skip
POOLING = {F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d}  # where units lie flat: over them
METHODS = {"relu", "relu_", "sigmoid", "tanh", "contiguous"}


@dataclass(frozen=True)
class Reader:
    """A layer that reads units; each unit has `repeat` columns there, more than one where a map was flattened."""

    path: str
    repeat: int = 1


@dataclass(frozen=True)
class Units:
    """The units of one layer, and what hangs on them."""

    layer: str
    count: int
    followers: tuple[str, ...]
    readers: tuple[Reader, ...]


def inner_units(
    model: nn.Module, layers: Sequence[str] | None = None, *, function: str = "inner_units"
) -> tuple[dict[str, Units], dict[str, str]]:
    """The layers whose units can change in number, and those where they cannot, with the reason.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    >>> found, left_alone = inner_units(net)  # images (N, 1, 8, 8), maps (N, 4, 6, 6)
    >>> found["0"]
    Units(layer='0', count=4, followers=('1',), readers=(Reader(path='4', repeat=36),))
    >>> left_alone
    {'4': "Linear: its units are the network's output"}

    Parameters
    ----------
    layers
        Paths of linear layers and convolutions; None for all of them.

    Raises
    ------
    ValueError
        If torch.fx cannot trace the network, or a path in `layers` is none of a linear layer or convolution.
    """
    try:
        trace = anatomy.trace(model, function=function)
    except ValueError as error:
        told = str(error).partition(" Way out:")[0]
        raise ValueError(f"{told} Without its graph nothing is known about what reads a unit") from error
    calls = Counter(str(node.target) for node in trace.graph.nodes if node.op == "call_module")
    owners = Counter(id(p) for module in model.modules() for p in module.parameters(recurse=False))
    direct = {str(node.target).rpartition(".")[0] for node in trace.graph.nodes if node.op == "get_attr"}
    found: dict[str, Units] = {}
    alone: dict[str, str] = {}

    def obstacle(path: str) -> str:
        """Why a layer cannot be changed at all."""
        module = model.get_submodule(path)
        if calls[path] > 1:
            return f"{path!r} is called {calls[path]} times"
        if path in direct:
            return f"the weights of {path!r} are used apart from it"
        if parametrize.is_parametrized(module):
            return f"{path!r} is parametrised"
        if any(owners[id(p)] > 1 for p in module.parameters(recurse=False)):
            return f"{path!r} shares its weights with another layer"
        return ""

    for node in trace.graph.nodes:
        module = trace.module(node)
        if not isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)) or str(node.target) in (found | alone):
            continue
        path = str(node.target)
        told = _reason(module) or obstacle(path)
        seen = told or _follow(trace, node, path, obstacle)
        if isinstance(seen, Units):
            found[path] = seen
        elif not _depthwise(module):  # a depthwise convolution goes with the layer before it
            alone[path] = f"{type(module).__name__}: {seen}"
    if layers is None:
        return found, alone
    wanted = [layers] if isinstance(layers, str) else list(layers)
    for path in wanted:
        if path not in found and path not in alone:
            known = [*found, *alone]
            raise ValueError(
                f"{function}(layers=…): no linear layer or convolution at {path!r}; {nearest(str(path), known)}"
            )
    return {p: found[p] for p in wanted if p in found}, {p: alone[p] for p in wanted if p in alone}


def _depthwise(module: nn.Module | None) -> bool:
    return isinstance(module, CONV) and 1 < module.groups == module.in_channels == module.out_channels


def _reason(module: nn.Module) -> str:
    """Why this kind of layer makes no units that can be taken one by one."""
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return "transposed convolutions cannot be treated"
    if isinstance(module, CONV) and module.groups > 1:
        return f"its {module.groups} groups tie its channels together"
    return ""


def _follow(trace: anatomy.Trace, start: fx.Node, path: str, obstacle: object) -> Units | str:
    """Walk from a layer to all that reads it."""
    layer = trace.module(start)
    conv = isinstance(layer, CONV)
    count = int(layer.out_channels if isinstance(layer, CONV) else layer.out_features)  # type: ignore[union-attr, arg-type]
    followers: dict[str, None] = {}
    readers: dict[str, Reader] = {}
    todo, done = [(start, not conv)], set()  # a linear layer's units lie flat, as another reads them
    while todo:
        at, flat = todo.pop()
        for user in at.users:
            if user in done:
                continue
            done.add(user)
            module, target = trace.module(user), str(user.target)
            if user.op == "output":
                return "its units are the network's output"
            first = user.args[0] if user.args else None
            if module is not None and first is not at:
                return f"{target!r} takes it as a further argument"
            if _depthwise(module) or isinstance(module, (*NORM, nn.PReLU)):
                size = _size(module)
                if isinstance(module, nn.PReLU) and size == 1:
                    todo.append((user, flat))
                    continue
                if size != count:
                    return f"{target!r} ({type(module).__name__}) does not have one number for each unit"
                told = obstacle(target)  # type: ignore[operator]
                if told:
                    return str(told)
                followers[target] = None
                todo.append((user, flat))
            elif isinstance(module, (nn.Linear, *CONV)):
                told = obstacle(target)  # type: ignore[operator]
                if told or (isinstance(module, CONV) and module.groups > 1):
                    return str(told) or f"{target!r} reads it in {module.groups} groups"
                columns = module.in_features if isinstance(module, nn.Linear) else module.in_channels
                repeat, rest = divmod(int(columns), count)
                fits = flat if isinstance(module, nn.Linear) else conv and not flat and repeat == 1
                if rest or not fits or (not conv and repeat > 1):
                    return f"{target!r} reads its units in another order"
                readers[target] = Reader(target, repeat)
            else:
                passed = _passes(user, module, flat)
                if passed is None:
                    kind = type(module).__name__ if module is not None else getattr(user.target, "__name__", target)
                    summed = user.target in (operator.add, operator.iadd, torch.add) or target in ("add", "add_")
                    return "its units are added to others" if summed else f"{kind} mixes its units with others"
                todo.append((user, passed))
    if not readers:
        return "nothing reads its units"
    return Units(path, count, tuple(followers), tuple(readers.values()))


def _size(module: nn.Module | None) -> int:
    for name in ("num_features", "num_parameters", "out_channels"):
        if hasattr(module, name):
            return int(getattr(module, name))
    return 0


def _passes(node: fx.Node, module: nn.Module | None, flat: bool) -> bool | None:
    """Whether the units lie flat behind this node; None if it does not work on each unit alone."""
    options = [*node.args[1:], *node.kwargs.values()]
    if module is not None:
        if isinstance(module, nn.Flatten):
            return True if (module.start_dim, module.end_dim) in ((1, -1), (1, 3)) else None
        return flat if isinstance(module, ELEMENTWISE) or (isinstance(module, POOL) and not flat) else None
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    if name == "flatten":
        return True if options in ([1], [1, -1]) else None
    if name == "mean" and not flat:
        places = options[0] if options else None
        spatial = isinstance(places, (tuple, list)) and sorted(places) in ([2, 3], [-2, -1])
        keeps = len(options) > 1 and bool(options[1])
        return (not keeps) if spatial else None
    if node.target in POOLING:
        return None if flat else False
    known = name in METHODS if node.op == "call_method" else node.target in FUNCTIONS
    return flat if known else None
