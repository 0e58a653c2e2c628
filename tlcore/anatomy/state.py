"""What we know about one activation: its layout, what it sees of `wrt` along each axis, and through what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from tlcore.anatomy.intervals import IntervalMap
from tlcore.anatomy.layout import OTHER, Layout, axes_in, axes_of, broadcast, only_axis, plain
from tlcore.anatomy.windows import Taps


class UnknownOperation(ValueError):
    """An operation whose reading pattern along space we do not know; the message names it and the way out."""


class NotRun(UnknownOperation):
    """An operation that failed on the meta device, so nothing is known from there on."""


class PlaceLost(UnknownOperation):
    """An operation that splits or mixes spatial axes."""


class NeedsSize(UnknownOperation):
    """The answer depends on the input's size, which was not given."""

    behind_adaptive = False  # only because of adaptive pooling, which starts the head


@dataclass(frozen=True)
class GlobalOp:
    """An operation that sees the whole input, and the module whose forward it stands in."""

    name: str
    scope: str


@dataclass(frozen=True, eq=False)
class State:
    """One activation.

    `maps` holds the local field along each axis that still has a place; `whole` names the operations on the
    way that see everything; `depends` says whether `wrt` is used at all. `parents` with their taps allow
    walking back along the path that makes an edge.
    """

    layout: Layout
    maps: dict[int, IntervalMap]
    depends: bool
    whole: tuple[GlobalOp, ...] = ()
    name: str = ""
    kind: str = ""
    kernel: tuple[int, ...] | None = None
    stride: tuple[int, ...] | None = None
    adaptive: bool = False  # every local path comes through adaptive pooling
    parents: tuple[tuple[State, dict[int, Taps]], ...] = ()

    @property
    def local(self) -> bool:
        """Whether it sees `wrt` through at least one path that keeps its place."""
        return self.depends and bool(self.maps)

    def same_as(self, other: State) -> bool:
        """Whether both see the same of `wrt` (their lengths may differ)."""
        return (self.maps, self.depends, self.whole) == (other.maps, other.depends, other.whole)


Outcome = State | UnknownOperation | tuple  # type: ignore[type-arg]  # a tuple of outcomes for several outputs


def states_in(value: object) -> Iterator[State]:
    """All states inside (nested) tuples."""
    if isinstance(value, State):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from states_in(item)


def merged(groups: Iterable[Sequence[GlobalOp]]) -> tuple[GlobalOp, ...]:
    """The union, in order, without repeats."""
    return tuple(dict.fromkeys(op for group in groups for op in group))


def opaque(shape: Sequence[int], inputs: Sequence[State]) -> State:
    """A result without a place in space, which sees what its inputs see as a whole."""
    return State(plain(shape), {}, any(s.depends for s in inputs), merged(s.whole for s in inputs))


def joined(states: Sequence[State], shape: Sequence[int]) -> State:
    """An element-wise result: the hull of all operands that keep a place."""
    layout = broadcast((s.layout for s in states), shape)
    lengths = dict(factor for dim in layout for factor in dim)
    maps: dict[int, IntervalMap] = {}
    for state in states:
        for axis, own in state.maps.items():
            maps[axis] = maps[axis].hull(own, lengths.get(axis, 1)) if axis in maps else own
    local = [s for s in states if s.maps]
    return State(
        layout,
        maps,
        any(s.depends for s in states),
        merged(s.whole for s in states),
        adaptive=bool(local) and all(s.adaptive for s in local),
        parents=tuple((s, {}) for s in states if s.depends),
    )


def through(state: State, taps: dict[int, Taps], layout: Layout) -> State:
    """A result that reads `taps` along the given axes and keeps every other axis."""
    lengths = dict(factor for dim in layout for factor in dim)
    maps = {
        axis: own.through(taps[axis], lengths.get(axis, 1)) if axis in taps else own for axis, own in state.maps.items()
    }
    return replace(state, layout=layout, maps=maps, kernel=None, stride=None, parents=((state, taps),))


def collapsed(state: State, axes: Iterable[int], layout: Layout, op: GlobalOp) -> State:
    """A result that sees everything along `axes`; named in `whole` if something local ends here."""
    gone = set(axes)
    ends = bool(gone & set(state.maps))
    maps = {axis: own for axis, own in state.maps.items() if axis not in gone}
    layout = tuple(tuple((OTHER if a in gone else a, n) for a, n in dim) for dim in layout)
    whole = merged([state.whole, [op] if ends else []])
    return replace(state, layout=layout, maps=maps, whole=whole, kernel=None, stride=None, parents=((state, {}),))


def with_statistics(state: State, axes: Iterable[int], op: GlobalOp) -> State:
    """A result that keeps its place but is scaled by numbers computed over all of `axes`."""
    touched = bool(set(axes) & set(state.maps))
    whole = merged([state.whole, [op] if touched else []])
    return replace(state, whole=whole, kernel=None, stride=None, parents=((state, {}),))


def single_axes(state: State, dims: Iterable[int]) -> dict[int, int]:
    """Dimension -> the spatial axis it holds, for those of `dims` that hold one (LayoutError if folded)."""
    found = {d: only_axis(state.layout[d]) for d in dims}
    return {d: axis for d, axis in found.items() if axis is not None}


def axes_at(state: State, dims: Iterable[int]) -> set[int]:
    """All spatial axes inside the given dimensions."""
    rank = len(state.layout)
    return {axis for d in dims for axis in axes_in(state.layout[d % rank])}


def every_axis(state: State) -> set[int]:
    """All spatial axes of the activation."""
    return set(axes_of(state.layout)) | set(state.maps)


def resized(layout: Layout, shape: Sequence[int]) -> Layout:
    """The layout after an operation that keeps every axis in its dimension but changes lengths."""
    return tuple(
        dim if _length(dim) == n else (((axes_in(dim) or (OTHER,))[0], n),)
        for dim, n in zip(layout, shape, strict=True)
    )


def _length(dim: tuple[tuple[int, int], ...]) -> int:
    product = 1
    for _, n in dim:
        product *= n
    return product
