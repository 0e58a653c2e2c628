"""Running a traced graph: on the meta device for shapes alone, or with real numbers up to one node."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn

from tlcore.anatomy.graph import Trace, first_placeholder, needed_for

_RANKS = {
    kind: rank
    for rank in (1, 2, 3)
    for kind in (
        f"Conv{rank}d", f"ConvTranspose{rank}d", f"MaxPool{rank}d", f"AvgPool{rank}d", f"LPPool{rank}d",
        f"AdaptiveAvgPool{rank}d", f"AdaptiveMaxPool{rank}d", f"InstanceNorm{rank}d",
        f"conv{rank}d", f"conv_transpose{rank}d", f"max_pool{rank}d", f"avg_pool{rank}d", f"lp_pool{rank}d",
        f"adaptive_avg_pool{rank}d", f"adaptive_max_pool{rank}d",
    )
}  # fmt: skip
_RANKS |= {"BatchNorm2d": 2, "BatchNorm3d": 3, "PixelShuffle": 2, "PixelUnshuffle": 2}
_KEEP = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.Dropout)
_PROBES = {
    1: ((1152,), (2560,)),
    2: ((1152, 1280), (2560, 2304)),
    3: ((1152, 1280, 1408), (2560, 2304, 2176)),
}


@dataclass
class Values:
    """What each node computed, and the first node that failed."""

    of: dict[fx.Node, Any] = field(default_factory=dict)
    failed: fx.Node | None = None
    error: Exception | None = None


def run(
    seen: Trace,
    inputs: Sequence[Any],
    *,
    model: nn.Module | None = None,
    until: fx.Node | None = None,
    replace: Callable[[fx.Node, Any], Any] | None = None,
    fallback: Callable[[fx.Node, dict[fx.Node, Any]], Any] | None = None,
) -> Values:
    """Run the graph node by node; a node that fails ends its own descendants only.

    `model` gives the modules (default: the shadow on the meta device), `until` stops after that node,
    `replace` may exchange a value, and `fallback` may supply the value of a node that failed.
    """
    own = seen.model if model is None else model
    wanted = set(seen.graph.nodes) if until is None else needed_for(until)
    feed, done = iter(inputs), Values()
    for node in seen.graph.nodes:
        if node.op == "output" or (node not in wanted and node.op != "placeholder"):
            continue
        if any(source not in done.of for source in node.all_input_nodes):
            continue
        try:
            value = _value(node, done.of, feed, own, seen.model)
        except Exception as error:  # whatever the user's layer raises
            value = fallback(node, done.of) if fallback else None
            if value is None:
                if done.failed is None:
                    done.failed, done.error = node, error
                continue
        done.of[node] = value if replace is None else replace(node, value)
        if node is until:
            break
    return done


def _value(node: fx.Node, of: dict[fx.Node, Any], feed: Any, own: nn.Module, shadow: nn.Module) -> Any:
    if node.op == "placeholder":
        given = next(feed, None)
        return given if given is not None or not node.args else node.args[0]
    if node.op == "get_attr":
        value: Any = own
        for part in str(node.target).split("."):
            value = getattr(value, part)
        if isinstance(value, torch.Tensor) and value.device != _device(own):
            value = value.to(_device(own))
        return value
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: of[n])  # type: ignore[misc]
    if node.op == "call_module" and own is shadow and isinstance(own.get_submodule(str(node.target)), _KEEP):
        return args[0]  # the shape is known without asking the meta kernels, which are slow here
    if node.op == "call_module":
        return own.get_submodule(str(node.target))(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    return node.target(*args, **kwargs)  # type: ignore[operator]


def _device(model: nn.Module) -> torch.device:
    tensor = next(model.parameters(), next(model.buffers(), None))
    return torch.device("meta") if tensor is None else tensor.device


def space_rank(seen: Trace) -> int | None:
    """How many spatial axes the first layer that fixes it works on; None if no layer does."""
    ranks = (works_in_space(seen, node) for node in seen.graph.nodes)
    return next((rank for rank in ranks if rank), None)


def works_in_space(seen: Trace, node: fx.Node) -> int:
    """How many spatial axes this layer works on; 0 if it is not such a layer."""
    module = seen.module(node)
    if module is not None:
        names = [cls.__name__ for cls in type(module).__mro__]
    else:
        names = [getattr(node.target, "__name__", str(node.target)).split(".")[0]]
    return next((_RANKS[name] for name in names if name in _RANKS), 0)


def takes_tokens(seen: Trace) -> bool:
    """Whether the first placeholder goes straight into an embedding."""
    first = first_placeholder(seen.graph)
    return any(
        isinstance(seen.module(user), nn.Embedding) or getattr(user.target, "__name__", "") == "embedding"
        for user in first.users
    )


def input_channels(seen: Trace) -> list[int]:
    """Channel counts worth trying, the most likely first."""
    for node in seen.graph.nodes:
        count = getattr(seen.module(node), "in_channels", None)
        if count is None and "conv" in getattr(node.target, "__name__", "") and len(node.all_input_nodes) > 1:
            weight: Any = seen.model
            try:
                for part in str(node.all_input_nodes[1].target).split("."):
                    weight = getattr(weight, part)
                count = weight.shape[0 if "transpose" in str(node.target) else 1]
            except AttributeError:
                continue
        if isinstance(count, int):
            return list(dict.fromkeys([count, 3, 1, max(count // 4, 1), max(count // 16, 1)]))
    return [3, 1]


def input_shapes(seen: Trace, input_size: Any, function: str) -> list[tuple[int, ...]]:
    """The batch shape of each placeholder for an `input_size` that the user gave.

    Raises
    ------
    TypeError, ValueError
        If `input_size` is not ``(C, H, W)`` or ``(H, W)`` (or one such tuple per input).
    """
    say = f"{function}(input_size={input_size!r})"
    wanted = "(C, H, W) without the batch, or (H, W) alone"
    if not isinstance(input_size, (tuple, list, torch.Size)) or not input_size:
        raise TypeError(f"{say}: give {wanted}")
    sizes = [input_size] if not isinstance(input_size[0], (tuple, list)) else list(input_size)
    rank, tokens, shapes = space_rank(seen), takes_tokens(seen), []
    for size in sizes:
        if not all(isinstance(n, int) and not isinstance(n, bool) for n in size):
            raise TypeError(f"{say}: every entry must be an int; give {wanted}")
        if any(n < 1 for n in size):
            raise ValueError(f"{say}: every entry must be at least 1")
        if rank is not None and not tokens and len(size) not in (rank, rank + 1):
            form = {1: "(C, L)", 2: wanted, 3: "(C, D, H, W)"}[rank]
            raise ValueError(f"{say}: this network works on {rank} spatial axes, so give {form}")
        with_channels = tokens or rank is None or len(size) == rank + 1
        shapes.append((2, *size) if with_channels else (2, input_channels(seen)[0], *size))
    places = sum(n.op == "placeholder" and not n.args for n in seen.graph.nodes)
    if len(shapes) == 1 and places > 1:
        shapes *= places
    if len(shapes) < places:
        raise ValueError(f"{say}: this network takes {places} inputs; give one tuple for each")
    return shapes


def measure(
    seen: Trace,
    shapes: Sequence[tuple[int, ...]],
    fallback: Callable[[fx.Node, dict[fx.Node, Any]], Any] | None = None,
) -> Values:
    """The shape of every activation, from a run on the meta device (no real computation)."""
    parameter = next((p for p in seen.model.parameters() if p.is_floating_point()), None)
    dtype = torch.long if takes_tokens(seen) else (torch.float32 if parameter is None else parameter.dtype)
    with torch.no_grad(), torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a layer says about speed does not concern a run for shapes
        return run(seen, [torch.empty(shape, dtype=dtype) for shape in shapes], fallback=fallback)


def probe(
    seen: Trace, function: str, fallback: Callable[[fx.Node, dict[fx.Node, Any]], Any] | None = None
) -> list[Values]:
    """Two runs at two made-up input sizes: what differs between them depends on the input's size.

    Raises
    ------
    ValueError
        If no layer tells how many spatial axes there are.
    """
    rank = space_rank(seen)
    if rank is None:
        raise ValueError(
            f"{function}: no layer tells how many spatial axes the input has; give input_size=(C, H, W) "
            "(or (C, L), (C, D, H, W))"
        )
    places = sum(n.op == "placeholder" and not n.args for n in seen.graph.nodes)
    runs: list[list[Values]] = []
    for channels in input_channels(seen):
        lead = (2,) if takes_tokens(seen) else (2, channels)
        runs.append([measure(seen, [(*lead, *size)] * places, fallback) for size in _PROBES[rank]])
        if runs[-1][0].failed is None:
            break
    return max(runs, key=lambda pair: len(pair[0].of))
