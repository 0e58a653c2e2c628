"""Walking back from a node to `wrt`: the path that makes an edge, and the layers in between."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from tlcore.anatomy.find import Found
from tlcore.anatomy.state import State, states_in


def edge_path(state: State, axis: int, position: int, *, low: bool) -> tuple[str, ...]:
    """The names from `wrt` to `state` along the first path that makes that edge of `position`'s field."""
    side = 0 if low else 1
    names: list[str] = []
    here, t = state, position
    while True:
        if here.name and (not names or names[-1] != here.name):
            names.append(here.name)
        span = here.maps[axis].at(t)
        step = None if span is None else _step(here, axis, t, span[side], side)
        if step is None:
            return tuple(reversed(names))
        here, t = step


def _step(here: State, axis: int, t: int, edge: int, side: int) -> tuple[State, int] | None:
    for parent, taps in here.parents:
        own = parent.maps.get(axis)
        if own is None:
            continue
        reads = taps[axis].read(t) if axis in taps else (t,)
        for place in reads if side == 0 else reversed(reads):
            span = own.at(place)
            if span is not None and span[side] == edge:
                return parent, place
    return None


def between(found: Found, *, every: bool) -> Iterator[tuple[State, tuple[int, ...] | None]]:
    """The states on a path from `wrt` to `of` in the order of the graph, with the shape of each."""
    on_path: set[int] = set()
    todo = [found.state]
    while todo:
        state = todo.pop()
        if id(state) not in on_path:
            on_path.add(id(state))
            todo.extend(parent for parent, _ in state.parents)
    for node, outcome in found.states.items():
        if node is found.wrt_node:
            continue
        passed = next((s for s in states_in((outcome,)) if id(s) in on_path and s.depends), None)
        if passed is not None and (every or node is found.of_node or _matters(passed)):
            value = found.values.of[node]
            yield passed, tuple(value.shape[1:]) if isinstance(value, torch.Tensor) else None


def _matters(state: State) -> bool:
    parents = [parent for parent, _ in state.parents if parent.local]
    if not parents:
        return False
    if state.kernel is not None or len(parents) > 1 or state.whole != parents[0].whole:
        return True
    return state.maps != parents[0].maps
