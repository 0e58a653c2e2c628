"""The rule of each operation: module calls and functional calls side by side.

Every rule takes a `Call` (the operation with its concrete arguments) and the state of its input, and returns
the state of its output. `OPERATIONS` lists them by the operation's own name, so ``nn.MaxPool2d``,
``F.max_pool2d`` and ``torch.max_pool2d`` meet in one function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import torch

from tlcore.anatomy import windows
from tlcore.anatomy.layout import OTHER, LayoutError, axes_in, reshaped
from tlcore.anatomy.state import (
    GlobalOp,
    Outcome,
    State,
    UnknownOperation,
    axes_at,
    collapsed,
    joined,
    merged,
    opaque,
    resized,
    single_axes,
    states_in,
    through,
    with_statistics,
)
from tlcore.anatomy.windows import Taps


@dataclass(frozen=True)
class Call:
    """One operation: its arguments by name, with states for activations and plain values for the rest."""

    name: str  # how a person names it
    op: GlobalOp
    key: str  # the operation's own name, "conv2d"
    args: dict[str, Any]
    value: Any  # the result on the meta device: gives shapes
    in_shape: tuple[int, ...]
    dynamic: frozenset[str] = frozenset()  # arguments computed from sizes while running
    conv_only: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the (first) result."""
        value = self.value
        while isinstance(value, (tuple, list)):
            value = value[0]
        return tuple(value.shape)

    def get(self, name: str, default: Any = None) -> Any:
        """An argument, or its default when it was not given."""
        value = self.args.get(name, default)
        return default if value is None else value

    def counted(self, taps: Taps) -> Taps:
        """The taps of something that is not a convolution."""
        return taps.middle() if self.conv_only else taps


Rule = Callable[[Call, State], Outcome]


def per_axis(value: Any, rank: int) -> tuple[Any, ...]:
    """An int or a sequence as one entry per axis."""
    if isinstance(value, (tuple, list, torch.Size)):
        return tuple(value) * rank if len(value) == 1 else tuple(value)
    return (value,) * rank


def windowed(call: Call, x: State, taps: Sequence[Taps], kind: str, kernel: Any = None, stride: Any = None) -> State:
    """Taps along the last ``len(taps)`` dimensions; dimension 1 is mixed, as in every convolution."""
    rank = len(taps)
    first = len(x.layout) - rank
    axes = single_axes(x, range(first, len(x.layout)))
    reads = {axis: taps[d - first] for d, axis in axes.items()}
    out = through(x, reads, resized(x.layout, call.shape))
    return replace(out, kind=kind, kernel=kernel, stride=stride)


# -- layers that read a window ------------------------------------------------------------------------------


def convolution(call: Call, x: State) -> Outcome:
    """`conv1d` … `conv_transpose3d`."""
    weight = call.args["weight"]
    shape = tuple(weight.shape) if not isinstance(weight, State) else tuple(_lengths(weight))
    rank = len(shape) - 2
    kernel, up = shape[2:], "transpose" in call.key
    stride, dilation = per_axis(call.get("stride", 1), rank), per_axis(call.get("dilation", 1), rank)
    padding = call.get("padding", 0)
    if padding == "same":
        padding = tuple(d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    padding = (0,) * rank if padding == "valid" else per_axis(padding, rank)
    make = windows.transposed if up else windows.sliding
    taps = [make(*numbers) for numbers in zip(kernel, stride, padding, dilation, strict=True)]
    mixed = axes_at(x, [len(x.layout) - rank - 1])
    if mixed & set(x.maps):  # space was folded into the channels, which a convolution sums over
        x = collapsed(x, mixed, x.layout, call.op)
    kind = "transposed conv" if up else "conv"
    if all(n == 1 for n in (*kernel, *stride)) and not any(padding):
        first = len(x.layout) - rank
        sizes = (*call.shape[: first - 1], call.shape[first - 1], *call.shape[first:])
        return replace(through(x, {}, resized(x.layout, sizes)), kind=kind, kernel=kernel, stride=stride)
    return windowed(call, x, taps, kind, kernel, stride)


def _lengths(state: State) -> list[int]:
    lengths = []
    for dim in state.layout:
        product = 1
        for _, n in dim:
            product *= n
        lengths.append(product)
    return lengths


def pooling(call: Call, x: State) -> Outcome:
    """`max_pool*`, `avg_pool*` and `lp_pool*`; ceil_mode only adds outputs at the far border."""
    rank = int(call.key.split("pool")[1][0])
    kernel = per_axis(call.get("kernel_size"), rank)
    space = call.in_shape[-rank:]
    if "kernel_size" in call.dynamic and kernel == space and call.shape[-rank:] == (1,) * rank:
        return whole_pool(call, x, rank)
    stride = per_axis(call.get("stride") or kernel, rank)
    padding, dilation = per_axis(call.get("padding", 0), rank), per_axis(call.get("dilation", 1), rank)
    numbers = zip(kernel, stride, padding, dilation, strict=True)
    taps = [call.counted(windows.sliding(*four)) for four in numbers]
    out = windowed(
        call, x, taps, call.key.split("_pool")[0] + " pool", (1,) * rank if call.conv_only else kernel, stride
    )
    return (out, out) if isinstance(call.value, (tuple, list)) else out


def whole_pool(call: Call, x: State, rank: int) -> State:
    """Pooling of everything into one place."""
    dims = range(len(x.layout) - rank, len(x.layout))
    return replace(collapsed(x, axes_at(x, dims), resized(x.layout, call.shape), call.op), kind="global pool")


def adaptive_pooling(call: Call, x: State) -> Outcome:
    """`adaptive_avg_pool*` and `adaptive_max_pool*`, also when the length does not divide evenly."""
    rank = int(call.key.split("pool")[1][0])
    given = per_axis(call.get("output_size"), rank)
    first = len(x.layout) - rank
    single = [d for d in range(first, len(x.layout)) if given[d - first] == 1]
    out = collapsed(x, axes_at(x, single), x.layout, call.op)
    taps = [
        windows.adaptive(1, 1) if d in single else call.counted(windows.adaptive(call.in_shape[d], call.shape[d]))
        for d in range(first, len(x.layout))
    ]
    out = windowed(call, out, taps, "global pool" if len(single) == rank else "adaptive pool")
    keeps = all(n is None for n in given)
    out = replace(out, adaptive=x.adaptive or not keeps, parents=((x, out.parents[0][1]),))
    return (out, out) if isinstance(call.value, (tuple, list)) else out


def interpolation(call: Call, x: State) -> Outcome:
    """`F.interpolate` and `nn.Upsample`."""
    rank = len(x.layout) - 2
    mode = call.get("mode", "nearest")
    if call.get("antialias"):
        raise UnknownOperation("antialias=True reads a window that depends on rounding")
    factors = per_axis(call.get("scale_factor"), rank)
    by_size = call.get("size") is not None or call.get("recompute_scale_factor")
    taps = []
    for d in range(rank):
        length, outputs = call.in_shape[2 + d], call.shape[2 + d]
        if mode == "area":
            taps.append(call.counted(windows.adaptive(length, outputs)))
            continue
        scale = Fraction(length, outputs) if by_size else 1 / Fraction(factors[d]).limit_denominator(10_000)
        corner = Fraction(length - 1, max(outputs - 1, 1)) if call.get("align_corners") else None
        taps.append(call.counted(windows.resample(mode, scale, corner_scale=corner)))
    return windowed(call, x, taps, f"upsample {mode}")


def pixel_shuffle(call: Call, x: State) -> Outcome:
    """`pixel_shuffle` and its inverse."""
    if call.key == "pixel_shuffle":
        factor = call.get("upscale_factor")
        return windowed(call, x, [windows.shuffle(factor)] * 2, "pixel shuffle")
    factor = call.get("downscale_factor")
    taps = call.counted(windows.sliding(factor, factor))
    return windowed(call, x, [taps] * 2, "pixel unshuffle", (factor,) * 2, (factor,) * 2)


def padding(call: Call, x: State) -> Outcome:
    """`F.pad` and every ``nn.*Pad*``; negative padding crops."""
    pairs = list(call.get("pad"))
    rank = len(pairs) // 2
    front = [pairs[2 * (rank - 1 - d)] for d in range(rank)]
    first = len(x.layout) - rank
    touched = [d for d in range(rank) if call.in_shape[first + d] != call.shape[first + d] or front[d]]
    axes = single_axes(x, [first + d for d in touched])
    reads = {axis: windows.crop(-front[d - first]) for d, axis in axes.items()}
    return replace(through(x, reads, resized(x.layout, call.shape)), kind="pad")


# -- operations that see everything -------------------------------------------------------------------------


def reduction(call: Call, x: State) -> Outcome:
    """`mean`, `sum`, `amax`, … over some dimensions."""
    rank = len(x.layout)
    dims = call.get("dim")
    if isinstance(dims, State):  # torch.max(x, y)
        return joined([x, dims], call.shape)
    chosen = range(rank) if dims is None or dims == () else [d % rank for d in per_axis(dims, 1)]
    axes = axes_at(x, chosen)
    kept = len(call.shape) == rank
    gone = set(chosen)
    layout = tuple((((OTHER, 1),) if d in gone else dim) for d, dim in enumerate(x.layout) if kept or d not in gone)
    out = replace(collapsed(x, axes, layout, call.op), kind="global " + call.key if axes else call.key)
    return (out, out) if isinstance(call.value, (tuple, list)) else out


def linear(call: Call, x: State) -> Outcome:
    """`linear`: a sum over the last dimension."""
    axes = axes_at(x, [-1])
    layout = (*x.layout[:-1], ((OTHER, call.shape[-1]),))
    return replace(collapsed(x, axes, layout, call.op), kind="linear")


def product(call: Call, x: State) -> Outcome:
    """`matmul` and `bmm`: a sum over the last dimension of the left factor, the last but one of the right."""
    left: Any = call.args["input"]
    right: Any = call.args.get("other")
    if not (isinstance(left, State) and left.local):
        dims = [-2 if len(right.layout) > 1 else -1]
        layout = (*right.layout[:-2], ((OTHER, call.shape[-2]),), right.layout[-1])
        if len(layout) != len(call.shape):
            raise LayoutError("a product that changes the number of dimensions")
        return replace(collapsed(right, axes_at(right, dims), layout, call.op), kind="matmul")
    if not (isinstance(right, State) and right.local):
        if len(left.layout) != len(call.shape):
            raise LayoutError("a product that changes the number of dimensions")
        return linear(call, left)
    return everything(call, left)


def everything(call: Call, x: State) -> Outcome:
    """Attention, recurrent layers and the like: each output sees every place."""
    states = [s for s in states_in(tuple(call.args.values())) if s.depends]
    local = any(s.local for s in states)
    whole = merged([*(s.whole for s in states), [call.op] if local else []])
    parents: tuple[tuple[State, dict[int, Taps]], ...] = tuple((s, {}) for s in states)

    def build(value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return tuple(build(v) for v in value)
        if not isinstance(value, torch.Tensor):
            return None
        return replace(opaque(tuple(value.shape), states), whole=whole, parents=parents, kind="global")

    return build(call.value)  # type: ignore[no-any-return]


def statistics(call: Call, x: State) -> Outcome:
    """Instance, layer and group norm, softmax: local, but scaled by numbers taken over a whole axis."""
    if call.key in ("layer_norm", "rms_norm"):
        dims: Any = range(-len(call.get("normalized_shape")), 0)
    elif call.key in ("group_norm", "instance_norm"):
        dims = range(1, len(x.layout))
    else:
        dims = per_axis(call.get("dim", -1 if "soft" in call.key else 1), 1)
    return replace(with_statistics(x, axes_at(x, dims), call.op), kind=call.key.replace("_", " "))


# -- operations that move things about ----------------------------------------------------------------------


def reshape(call: Call, x: State) -> Outcome:
    """`view`, `reshape`, `flatten`, `unflatten`, `squeeze`, `unsqueeze`."""
    return replace(through(x, {}, reshaped(x.layout, call.shape)), kind="reshape")


def permute(call: Call, x: State) -> Outcome:
    """`permute`, `transpose` and their other names."""
    rank = len(x.layout)
    if call.key == "permute":
        given = call.args.get("dims")
        order = [d % rank for d in (given if isinstance(given, (tuple, list)) else call.args["rest"])]
    elif call.key == "movedim":
        order = _moved(rank, per_axis(call.get("source"), 1), per_axis(call.get("destination"), 1))
    else:
        a, b = (0, 1) if call.key == "t" else (call.args["dim0"] % rank, call.args["dim1"] % rank)
        order = list(range(rank))
        order[a], order[b] = order[b], order[a]
    return replace(through(x, {}, tuple(x.layout[d] for d in order)), kind="permute")


def _moved(rank: int, source: Sequence[int], destination: Sequence[int]) -> list[int]:
    places = {d % rank: s % rank for s, d in zip(source, destination, strict=True)}
    rest = iter(d for d in range(rank) if d not in {s % rank for s in source})
    return [places[d] if d in places else next(rest) for d in range(rank)]


def concatenation(call: Call, x: State) -> Outcome:
    """`cat`: along channels the hull of all parts; along space there is no single map."""
    parts = [s for s in call.args["tensors"] if isinstance(s, State)]
    rank = len(call.shape)
    dim = call.get("dim", 0) % rank
    if any(axes_at(s, [dim]) & set(s.maps) for s in parts):
        raise UnknownOperation("concatenates along a spatial axis")
    blank = tuple(1 if d == dim else n for d, n in enumerate(call.shape))
    flat = [replace(s, layout=tuple(((OTHER, 1),) if d == dim else f for d, f in enumerate(s.layout))) for s in parts]
    out = joined(flat, blank)
    out = replace(out, parents=tuple((s, {}) for s in parts if s.depends))
    return replace(out, layout=resized(out.layout, call.shape), kind="concatenate")


def stacking(call: Call, x: State) -> Outcome:
    """`stack`: a new dimension, the hull of all parts."""
    parts = [s for s in call.args["tensors"] if isinstance(s, State)]
    dim = call.get("dim", 0) % len(call.shape)
    out = joined(parts, [n for d, n in enumerate(call.shape) if d != dim])
    return replace(out, layout=(*out.layout[:dim], ((OTHER, call.shape[dim]),), *out.layout[dim:]), kind="stack")


def repetition(call: Call, x: State) -> Outcome:
    """`expand` and `repeat`: fine as long as no spatial axis is repeated."""
    shift = len(call.shape) - len(x.layout)
    layout = [((OTHER, n),) for n in call.shape[:shift]] + list(resized(x.layout, call.shape[shift:]))
    for dim, new in zip(x.layout, layout[shift:], strict=True):
        if axes_in(dim) and dim != new:
            raise UnknownOperation("repeats a spatial axis")
    return replace(through(x, {}, tuple(layout)), kind=call.key)


def pieces(call: Call, x: State) -> Outcome:
    """`chunk`, `split`, `unbind`: several slices along one dimension."""
    rank = len(x.layout)
    dim = call.get("dim", 0) % rank
    start, outs = 0, []
    for part in call.value:
        if call.key == "unbind":
            outs.append(sliced(x, [start if d == dim else slice(None) for d in range(rank)], tuple(part.shape), call))
            start += 1
            continue
        window = slice(start, start + part.shape[dim])
        outs.append(sliced(x, [window if d == dim else slice(None) for d in range(rank)], tuple(part.shape), call))
        start += part.shape[dim]
    return tuple(outs)


def narrowing(call: Call, x: State) -> Outcome:
    """`narrow` and `select`."""
    rank, dim, start = len(x.layout), call.get("dim") % len(x.layout), call.get("start")
    index = start if call.key == "select" else slice(start, start + call.get("length"))
    return sliced(x, [index if d == dim else slice(None) for d in range(rank)], call.shape, call)


def indexing(call: Call, x: State) -> Outcome:
    """``x[...]`` with slices, ints, None and Ellipsis."""
    index = call.args["index"]
    items = list(index) if isinstance(index, tuple) else [index]
    used = sum(item is not None and item is not Ellipsis for item in items)
    if Ellipsis not in [item for item in items if not isinstance(item, State)]:
        items.append(Ellipsis)
    at = next(i for i, item in enumerate(items) if item is Ellipsis)
    items[at : at + 1] = [slice(None)] * (len(x.layout) - used)
    return sliced(x, items, call.shape, call)


def sliced(x: State, items: Sequence[Any], shape: Sequence[int], call: Call) -> State:
    """The state of an indexing expression with one entry per dimension (None adds one)."""
    dims = iter(enumerate(x.layout))
    layout: list[Any] = []
    reads: dict[int, Taps] = {}
    for item in items:
        if item is None:
            layout.append(((OTHER, 1),))
            continue
        d, dim = next(dims)
        length = call.in_shape[d]
        if isinstance(item, slice):
            start, stop, step = item.indices(length)
            count = len(range(start, stop, step))
            if count != length:
                axis = single_axes(x, [d]).get(d)
                if axis is not None:
                    reads[axis] = windows.crop(start, step)
                dim = ((OTHER if axis is None else axis, count),)
            layout.append(dim)
        elif isinstance(item, int):
            axis = single_axes(x, [d]).get(d)
            if axis is not None:
                reads[axis] = windows.pick(item % length)
        else:
            if axes_in(dim):
                raise UnknownOperation("picks places of a spatial axis by a tensor or a list")
            layout.append(((OTHER, shape[len(layout)]),))
    return replace(through(x, reads, tuple(layout)), kind="slice")


def pointwise(call: Call, x: State) -> Outcome:
    """Element-wise: the hull of all operands."""
    operands = list(states_in(tuple(call.args.values())))
    out = replace(joined(operands, call.shape), kind=call.key)
    return (out,) * len(call.value) if isinstance(call.value, (tuple, list)) else out


def first_operand(call: Call, x: State) -> Outcome:
    """Element-wise in the first operand alone (batch norm, dropout)."""
    return replace(joined([x], call.shape), kind=call.key.replace("_", " "))


def gated(call: Call, x: State) -> Outcome:
    """`glu`: one half of a dimension times the sigmoid of the other."""
    dim = call.get("dim", -1) % len(x.layout)
    if axes_in(x.layout[dim]):
        raise UnknownOperation("splits a spatial axis into halves")
    return replace(through(x, {}, resized(x.layout, call.shape)), kind="glu")


def embedding(call: Call, x: State) -> Outcome:
    """`embedding`: one vector for each index."""
    return replace(through(x, {}, (*x.layout, ((OTHER, call.shape[-1]),))), kind="embedding")


def constant(call: Call, x: State) -> Outcome:
    """`zeros_like` and its kin: a shape without the values."""
    return State(x.layout if len(call.shape) == len(x.layout) else opaque(call.shape, []).layout, {}, False)
