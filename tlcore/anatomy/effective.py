"""The effective receptive field: how strongly each input position moves one output position.

The theoretical field says which inputs can matter; the gradient says how much they do. It is large in the
middle and fades towards the edges, like a Gaussian.

Source: Luo, Li, Urtasun, Zemel 2016, "Understanding the Effective Receptive Field in Deep Convolutional
Neural Networks" (arXiv 1701.04128), section 1.1 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import fx, nn

from tlcore.anatomy.find import Found, find
from tlcore.anatomy.graph import shadow
from tlcore.anatomy.interpret import LeafRules
from tlcore.anatomy.layout import OTHER, axes_in
from tlcore.anatomy.receptive_field import ReceptiveField, from_found
from tlcore.anatomy.shapes import input_shapes, run, takes_tokens
from tlcore.anatomy.state import states_in

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, repr=False)
class EffectiveField:
    """The gradient map of one output position, beside its theoretical field.

    Attributes
    ----------
    map : Tensor
        Mean gradient size at each position of `wrt`, shape (H, W) (or (L,), (D, H, W)); it sums to 1.
    position : tuple of int
        The output position it belongs to.
    theoretical : ReceptiveField
        What the graph allows.
    samples : int
        Over how many random inputs the mean was taken.
    """

    map: torch.Tensor = field(compare=False)
    position: tuple[int, ...]
    theoretical: ReceptiveField
    samples: int

    def share_within(self, size: int | Sequence[int]) -> float:
        """The share (0 … 1) of the gradient in a box of `size`, centred in the theoretical field."""
        return float(self.map[tuple(slice(low, high + 1) for low, high in self.box(size))].sum())

    def box(self, size: int | Sequence[int]) -> tuple[tuple[int, int], ...]:
        """First and last position of the centred box of `size` along each axis, cut at the border."""
        rank = self.map.dim()
        sizes = (size,) * rank if isinstance(size, int) else tuple(size)
        if len(sizes) != rank or any(not isinstance(n, int) or n < 1 for n in sizes):
            raise ValueError(f"size={size!r}: give a positive int, or {rank} of them")
        spans = []
        for n, middle, length in zip(sizes, self.theoretical.center(self.position), self.map.shape, strict=True):
            low = math.ceil(middle - n / 2)
            spans.append((max(low, 0), min(low + n - 1, length - 1)))
        return tuple(spans)

    def area(self, threshold: float = 0.0455) -> int:
        """How many positions have at least `threshold` times the largest gradient.

        The default is the one of Luo et al.: 1 - 95.45 %.
        """
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold={threshold!r}: must be above 0 and at most 1")
        return int((self.map >= threshold * self.map.max()).sum())

    def width(self, threshold: float = 0.0455) -> float:
        """The side of a square (cube, …) with that `area`."""
        return float(self.area(threshold) ** (1 / self.map.dim()))

    def ratio(self, threshold: float = 0.0455) -> float:
        """`width` over the theoretical size (geometric mean over the axes)."""
        return self.width(threshold) / float(math.prod(self.theoretical.size) ** (1 / self.map.dim()))

    def extent(self, share: float = 0.95) -> int:
        """The side of the smallest centred box that holds `share` of the gradient."""
        if not 0 < share <= 1:
            raise ValueError(f"share={share!r}: must be above 0 and at most 1")
        low, high = 1, 2 * max(self.map.shape) + 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self.share_within(middle) >= share - 1e-6 else (middle + 1, high)
        return low

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the map with the theoretical field and the effective extent."""
        from tlcore.anatomy.picture import draw_effective

        return draw_effective(self, ax=ax)

    def __repr__(self) -> str:
        own, size = self.theoretical, "x".join(map(str, self.theoretical.size))
        return (
            f"EffectiveField({own.of!r} w.r.t. {own.wrt!r} at {self.position}: "
            f"width {self.width():.1f} of {size} "
            f"({self.ratio():.0%}), 95% of the gradient within {self.extent()}, {self.samples} samples)"
        )


def effective_receptive_field(
    model: nn.Module,
    *,
    of: str | None = None,
    wrt: str = "input",
    input_size: Sequence[int],
    position: int | Sequence[int] | None = None,
    samples: int = 16,
    seed: int = 0,
    reduce: Literal["abs", "square"] = "abs",
    batch_size: int = 8,
    leaf_rules: LeafRules | None = None,
) -> EffectiveField:
    """The gradient of one position of `of` with respect to every position of `wrt`, over random inputs.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(*(nn.Conv2d(1, 1, 3, padding=1) for _ in range(5)))
    >>> seen = effective_receptive_field(net, input_size=(1, 31, 31))      # position (15, 15)
    >>> seen.map.shape, seen.theoretical.size
    (torch.Size([31, 31]), (11, 11))
    >>> round(seen.share_within(11), 6), seen.share_within(5) > 0.5
    (1.0, True)

    Parameters
    ----------
    model : nn.Module
        Its weights are used as they are, in evaluation mode; it is only read.
    of, wrt, leaf_rules
        As in `receptive_field`.
    input_size : tuple of int
        ``(C, H, W)`` without the batch.
    position : int or tuple of int, optional
        The output position; default the centre.
    samples : int
        Random inputs (standard normal). Each has its own random signs, by which the channels of the output
        position are summed, so that channels do not cancel.
    seed : int
        Fixes inputs and signs; the global random state is not used.
    reduce : {"abs", "square"}
        Mean absolute or mean squared gradient over samples and channels of `wrt`.
    batch_size : int
        How many samples at a time.

    Raises
    ------
    TypeError, ValueError
        As `receptive_field`; also if `of` has no place in space or the gradient is zero everywhere.
    """
    say = "effective_receptive_field"
    for name, number in (("samples", samples), ("batch_size", batch_size)):
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ValueError(f"{say}({name}={number!r}): must be an int of at least 1")
    if reduce not in ("abs", "square"):
        raise ValueError(f"{say}(reduce={reduce!r}): accepted are 'abs' and 'square'")
    if any(p.is_meta for p in model.parameters()):
        raise ValueError(f"{say}: the model is on the meta device and has no weights; build it with real ones")
    found = find(model, of, wrt, input_size, "all", leaf_rules, say)
    theoretical = from_found(found, "all")
    place = _position(found, position, say)
    theoretical.interval(place)  # complains about a position outside
    if takes_tokens(found.seen) and found.wrt_node.op == "placeholder":
        raise ValueError(f"{say}(wrt={wrt!r}): indices have no gradient; take the embedding's output as wrt")
    total = _gradients(
        found, model, input_shapes(found.seen, input_size, say), place, samples, seed, reduce, batch_size
    )
    if not float(total.sum()) > 0:
        raise ValueError(f"{say}: the gradient of {found.of!r} at {place} is zero everywhere for these inputs")
    return EffectiveField(total / total.sum(), place, theoretical, samples)


def _gradients(
    found: Found,
    model: nn.Module,
    shapes: Sequence[tuple[int, ...]],
    place: tuple[int, ...],
    samples: int,
    seed: int,
    reduce: str,
    batch_size: int,
) -> torch.Tensor:
    """Sum over samples of the gradient size at each position of `wrt`."""
    twin = shadow(model, lambda t: t if isinstance(t, nn.Parameter) else t.clone())
    parameter = next((p for p in twin.parameters() if p.is_floating_point()), torch.empty(0))
    noise = torch.Generator().manual_seed(seed)
    total: torch.Tensor | None = None
    for start in range(0, samples, batch_size):
        count = min(batch_size, samples - start)
        inputs = [_draw((count, *shape[1:]), noise, parameter, takes_tokens(found.seen)) for shape in shapes]
        held: list[torch.Tensor] = []

        def replace(node: fx.Node, value: Any, held: list[torch.Tensor] = held) -> Any:
            if node is not found.wrt_node:
                return value
            held.append(value.detach().clone().requires_grad_(True))
            return held[0].clone()  # a layer that works in place may then overwrite it

        with torch.inference_mode(False), torch.enable_grad():
            done = run(found.seen, inputs, model=twin, until=found.of_node, replace=replace)
            if found.of_node not in done.of:
                raise ValueError(f"effective_receptive_field: the network fails on real inputs: {done.error}")
            column = done.of[found.of_node][_index(found, place)]
            signs = torch.randint(0, 2, column.shape, generator=noise).to(column) * 2 - 1
            (gradient,) = torch.autograd.grad((column * signs).sum(), held[0])
        size = gradient.double().abs() if reduce == "abs" else gradient.double().square()
        summed = size.sum(dim=[d for d, dim in enumerate(_layout(found)) if not axes_in(dim)])
        total = summed if total is None else total + summed
    assert total is not None
    return total.cpu()


def _draw(shape: tuple[int, ...], noise: torch.Generator, like: torch.Tensor, tokens: bool) -> torch.Tensor:
    if tokens:
        return torch.randint(0, 2, shape, generator=noise).to(like.device)
    return torch.randn(shape, generator=noise).to(like.device, like.dtype)


def _layout(found: Found) -> Any:
    return next(states_in((found.states[found.wrt_node],))).layout


def _dims(found: Found) -> dict[int, int]:
    """Spatial axis -> dimension of `of`."""
    dims: dict[int, int] = {}
    for d, dim in enumerate(found.state.layout):
        axes = axes_in(dim)
        if len(axes) > 1 or (axes and any(axis == OTHER and n > 1 for axis, n in dim)):
            raise ValueError(
                f"effective_receptive_field(of={found.of!r}): its spatial axes are folded together; name a node before"
            )
        if axes:
            dims[axes[0]] = d
    return dims


def _position(found: Found, position: int | Sequence[int] | None, say: str) -> tuple[int, ...]:
    extent, dims = found.of_extent or {}, _dims(found)
    if position is None:
        return tuple(extent[axis] // 2 if axis in dims else 0 for axis in found.axes)
    given = (position,) if isinstance(position, int) else tuple(position)
    if len(given) != len(found.axes):
        raise ValueError(f"{say}(position={position!r}): give {len(found.axes)} int(s), one for each spatial axis")
    return given


def _index(found: Found, place: tuple[int, ...]) -> tuple[Any, ...]:
    by_dim = {d: axis for axis, d in _dims(found).items()}
    at = dict(zip(found.axes, place, strict=True))
    return tuple(at[by_dim[d]] if d in by_dim else slice(None) for d in range(len(found.state.layout)))
