"""The receptive field of any node of a network with respect to any earlier node.

The lecture's definition: the receptive field of layer k with respect to layer m < k, F_k w.r.t. F_m, is the
region of layer m's activations that one position of layer k is computed from. It is read off the traced
graph, exactly and without running the network.

Source: Araujo, Norris, Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks" (Distill).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from torch import nn

from tlcore.anatomy.find import Found, find
from tlcore.anatomy.interpret import LeafRules
from tlcore.anatomy.intervals import IntervalMap
from tlcore.anatomy.table import LayerRow, Number, Table
from tlcore.anatomy.walk import between, edge_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, repr=False)
class ReceptiveField:
    """What one position of `of` sees of `wrt`. All tuples have one entry per spatial axis.

    Attributes
    ----------
    of, wrt : str
        The names of the two nodes.
    size : tuple of int
        The largest extent over all output positions.
    stride : tuple of int or Fraction
        How far the field moves per output step (the jump).
    offset : tuple of (int or None)
        Where the field of output position 0 starts; negative: in the padding.
    global_ops : tuple of str
        Operations on the way that see the whole input (a squeeze-excitation gate, attention, …).
    contributors : {"all", "conv"}
        Which layers count.
    """

    of: str
    wrt: str
    size: tuple[int, ...]
    stride: tuple[Number, ...]
    offset: tuple[int | None, ...]
    global_ops: tuple[str, ...]
    contributors: str
    _found: Found = field(compare=False)

    def interval(self, position: int | Sequence[int]) -> tuple[tuple[int, int], ...]:
        """First and last position of `wrt`, inclusive, that output `position` sees along each axis.

        >>> receptive_field(nn.Conv2d(3, 8, 5, stride=2, padding=2)).interval((10, 0))
        ((18, 22), (-2, 2))
        """
        spans = []
        for axis, own in zip(self._place(position), self._maps(), strict=True):
            index, t = axis
            span = (0, self._whole(index) - 1) if own is None else own.at(t)
            if span is None:
                raise ValueError(f"interval(position={position!r}): {self.of!r} reads nothing of {self.wrt!r} there")
            spans.append(span)
        return tuple(spans)

    def center(self, position: int | Sequence[int]) -> tuple[float, ...]:
        """The middle of the interval of output `position`."""
        return tuple((low + high) / 2 for low, high in self.interval(position))

    def padding_share(self, position: int | Sequence[int]) -> float:
        """The share (0 … 1) of the field of output `position` that lies outside `wrt`, in the padding.

        Needs `input_size`.
        """
        extent = self._found.wrt_extent
        if extent is None:
            raise ValueError(
                "padding_share: the extent of the input is not known; call receptive_field(…, input_size=…)"
            )
        inside = 1.0
        for (low, high), axis in zip(self.interval(position), self._found.axes, strict=True):
            inside *= max(0, min(high, extent[axis] - 1) - max(low, 0) + 1) / (high - low + 1)
        return 1.0 - inside

    @property
    def edges(self) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
        """For each axis the path that makes the low edge and the one that makes the high edge.

        A path lists names from `wrt` to `of`. Of several equal paths it is the first in the order of the
        graph. An axis that is seen as a whole has two empty paths.
        """
        state = self._found.state
        pairs: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        for axis, own in zip(self._found.axes, self._maps(), strict=True):
            if own is None:
                pairs.append(((), ()))
                continue
            widest = max(range(own.period), key=own.extent)
            pairs.append((edge_path(state, axis, widest, low=True), edge_path(state, axis, widest, low=False)))
        return tuple(pairs)

    def table(self, *, every: bool = False) -> Table:
        """One row per layer between `wrt` and `of`, with the field of its output.

        Layers that only act point by point are left out unless ``every=True``.
        """
        rows = []
        for state, shape in between(self._found, every=every):
            maps = [state.maps.get(axis) for axis in self._found.axes]
            rows.append(
                LayerRow(
                    state.name, state.kind, state.kernel, state.stride,
                    tuple(None if m is None else m.size for m in maps),
                    tuple(None if m is None else _plain(m.jump) for m in maps),
                    tuple(None if m is None else _start(m) for m in maps),
                    shape if self._found.sized else None,
                )
            )  # fmt: skip
        return Table(tuple(rows))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw how the field grows from layer to layer."""
        from tlcore.anatomy.picture import draw_growth

        return draw_growth(self, ax=ax)

    def __repr__(self) -> str:
        numbers = f"size {_by(self.size)}, stride {_by(self.stride)}, offset {_by(self.offset)}"
        text = f"{self.of!r} w.r.t. {self.wrt!r}: {numbers}"
        if self.contributors == "conv":
            text += ", convolutions only"
        if self.global_ops:
            shown = ", ".join(repr(name) for name in self.global_ops[:3])
            more = len(self.global_ops) - 3
            text += f", and the whole input through {shown}" + (f" and {more} more" if more > 0 else "")
        return f"ReceptiveField({text})"

    def _repr_html_(self) -> str:
        import html

        return f"<p><code>{html.escape(repr(self))}</code></p>{self.table()._repr_html_()}"

    def _maps(self) -> list[IntervalMap | None]:
        return [self._found.state.maps.get(axis) for axis in self._found.axes]

    def _whole(self, index: int) -> int:
        return self.size[index]

    def _place(self, position: int | Sequence[int]) -> list[tuple[int, int]]:
        given = (position,) if isinstance(position, int) else tuple(position)
        rank = len(self.size)
        if not all(isinstance(p, int) and not isinstance(p, bool) for p in given):
            raise TypeError(f"position={position!r}: give {rank} int(s), one for each spatial axis of {self.of!r}")
        if len(given) != rank:
            raise ValueError(f"position={position!r}: give {rank} int(s), one for each spatial axis of {self.of!r}")
        extent = self._found.of_extent or {}
        for p, axis in zip(given, self._found.axes, strict=True):
            limit = extent.get(axis)
            if p < 0 or (limit is not None and p >= limit):
                bound = "at least 0" if limit is None else f"0 … {limit - 1}"
                raise ValueError(f"position={position!r}: {p} is outside {self.of!r}; accepted: {bound}")
        return list(enumerate(given))


def receptive_field(
    model: nn.Module,
    *,
    of: str | None = None,
    wrt: str = "input",
    input_size: Sequence[int] | Sequence[Sequence[int]] | None = None,
    contributors: Literal["all", "conv"] = "all",
    leaf_rules: LeafRules | None = None,
) -> ReceptiveField:
    """The receptive field of node `of` with respect to node `wrt`.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 7, stride=2, padding=3), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
    ...                     nn.Conv2d(8, 8, 3, padding=1))
    >>> field = receptive_field(net)                    # (N, 3, H, W) -> (N, 8, H/4, W/4)
    >>> field
    ReceptiveField('3' w.r.t. 'input': size (19, 19), stride (4, 4), offset (-9, -9))
    >>> field.interval((0, 10))
    ((-9, 9), (31, 49))
    >>> receptive_field(net, of="3", wrt="0").size      # F_k w.r.t. F_m
    (7, 7)
    >>> receptive_field(net, contributors="conv").size  # the pool counts as kernel 1, with its stride
    (15, 15)
    >>> field.table()
    name  kind      kernel  stride  size  jump  offset
    --------------------------------------------------
    0     conv           7       2     7     2      -3
    2     max pool       3       2    11     4      -5
    3     conv           3       1    19     4      -9

    Parameters
    ----------
    model : nn.Module
        Anything torch.fx can trace, or an already traced GraphModule; 1-D, 2-D or 3-D. It is only read.
    of : str, optional
        A torch.fx node name, a module path (the output of its last call), ``"input"`` or ``"neck"``.
        Default: the last node that still has a place in space, before global or adaptive pooling or
        flattening.
    wrt : str
        As `of`; default the network's input.
    input_size : tuple of int, optional
        ``(C, H, W)`` without the batch, or ``(H, W)`` alone; one such tuple per input if there are several.
        Only needed where sizes matter: adaptive pooling, interpolation to a size, slices counted from the
        end, the share of padding, and the size of a field that is the whole input. Without it the answer is
        the one for inputs that the strides divide evenly.
    contributors : {"all", "conv"}
        ``"conv"`` is the lecture's strict definition, "considering only convolutional layers as
        contribution": all other windows (pooling, interpolation) count as kernel 1 with their stride kept.
    leaf_rules : dict, optional
        What a module or operation reads that we cannot look into: a module class, function, module path or
        node name -> `Window`, ``"pointwise"`` or ``"global"``. Such a module is not traced into.

    Returns
    -------
    ReceptiveField

    Raises
    ------
    TypeError, ValueError
        If an argument is not accepted, a name is not known (the nearest names are listed), the network
        cannot be traced, an operation is not known, or there is no path from `wrt` to `of`.

    Notes
    -----
    The field is the smallest interval per axis that holds every position of `wrt` with a path to any channel
    of the output position, dilation holes included; the padding around the input counts as if it were input.
    Batch norm is pointwise (evaluation mode). Instance, layer and group norm over space, softmax over space
    and gates keep their local field and are named in ``global_ops``.
    """
    return from_found(find(model, of, wrt, input_size, contributors, leaf_rules, "receptive_field"), contributors)


def from_found(found: Found, contributors: str) -> ReceptiveField:
    """Turn the state of a node into the answer for the user."""
    maps = [found.state.maps.get(axis) for axis in found.axes]
    sizes: list[int] = []
    for axis, own in zip(found.axes, maps, strict=True):
        if own is not None:
            sizes.append(own.size)
        elif found.wrt_extent is not None:
            sizes.append(found.wrt_extent[axis])
        else:
            names = ", ".join(repr(op.name) for op in found.state.whole) or "a global operation"
            raise ValueError(
                f"receptive_field(of={found.of!r}): it sees all of {found.wrt!r} through {names}; "
                "give input_size=(C, H, W) to get that extent as a number"
            )
    return ReceptiveField(
        found.of,
        found.wrt,
        tuple(sizes),
        tuple(0 if own is None else _plain(own.jump) for own in maps),
        tuple(0 if own is None else _start(own) for own in maps),
        tuple(op.name for op in found.state.whole),
        contributors,
        found,
    )


def _plain(jump: Fraction) -> Number:
    return int(jump) if jump.denominator == 1 else jump


def _start(own: IntervalMap) -> int | None:
    span = own.at(0)
    return None if span is None else span[0]


def _by(values: Sequence[object]) -> str:
    return str(values[0]) if len(values) == 1 else f"({', '.join(str(v) for v in values)})"
