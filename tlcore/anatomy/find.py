"""From the user's arguments to the state of one node: the part that receptive fields of every kind share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from tlcore.anatomy.graph import Trace, needed_for, trace
from tlcore.anatomy.interpret import LeafRules, Reader, fallback_for
from tlcore.anatomy.layout import axes_in
from tlcore.anatomy.shapes import Values, input_shapes, measure, probe, works_in_space
from tlcore.anatomy.state import NeedsSize, NotRun, Outcome, PlaceLost, State, UnknownOperation, states_in
from tlcore.anatomy.windows import Window


@dataclass(frozen=True, eq=False)
class Found:
    """The two nodes, the state of `of`, and what is known about lengths."""

    seen: Trace
    states: dict[fx.Node, Outcome]
    values: Values
    of_node: fx.Node
    wrt_node: fx.Node
    of: str
    wrt: str
    state: State
    axes: tuple[int, ...]  # the spatial axes of `wrt`
    sized: bool  # whether the user gave input_size

    @property
    def wrt_extent(self) -> dict[int, int] | None:
        """Length of `wrt` along each axis, if the input's size is known."""
        return self._extent(self.wrt_node)

    @property
    def of_extent(self) -> dict[int, int] | None:
        """Length of `of` along each axis it still has, if the input's size is known."""
        return self._extent(self.of_node)

    def _extent(self, node: fx.Node) -> dict[int, int] | None:
        state = next(states_in((self.states[node],)), None)
        if not self.sized or state is None:
            return None
        return {axis: n for dim in state.layout for axis, n in dim if axis in axes_in(dim)}


def find(
    model: nn.Module,
    of: str | None,
    wrt: str,
    input_size: Any,
    contributors: str,
    leaf_rules: LeafRules | None,
    function: str,
) -> Found:
    """Check the arguments, trace, measure and interpret; errors are sentences for the user."""
    if contributors not in ("all", "conv"):
        raise ValueError(f"{function}(contributors={contributors!r}): accepted are 'all' and 'conv'")
    rules = checked_rules(leaf_rules, function)
    seen = trace(model, leaves=rules, function=function)
    start = seen.resolve(wrt, argument="wrt", function=function)
    goal = None if of is None else seen.resolve(of, argument="of", function=function)
    fallback = fallback_for(seen, rules) if rules else None
    if input_size is None:
        runs = probe(seen, function, fallback)
    else:
        runs = [measure(seen, input_shapes(seen, input_size, function), fallback)]
    if start not in runs[0].of:
        raise ValueError(_not_run(seen, runs[0], wrt, "wrt", input_size, function))
    readings = [Reader(seen, run, start, rules, contributors == "conv").read() for run in runs]
    states = readings[0] if len(readings) == 1 else _agreed(seen, *readings)
    first = states.get(start)
    if not isinstance(first, State) or not first.maps:
        raise ValueError(
            f"{function}(wrt={wrt!r}): {seen.label(start)!r} has no spatial axis, so there is nothing to see a field of"
        )
    if goal is None:
        first_use = [n for n in seen.graph.nodes if start in n.all_input_nodes and n.op != "output"]
        failed = runs[0].failed
        if failed is not None and failed in first_use and failed.users:
            raise ValueError(_not_run(seen, runs[0], seen.label(first_use[0]), "of", input_size, function))
        goal = last_in_space(seen, states, start, function)
    elif goal not in runs[0].of:
        raise ValueError(_not_run(seen, runs[0], str(of), "of", input_size, function))
    name = seen.outermost(goal) if of is None else of
    state = _of_state(states.get(goal), seen, goal, start, name, wrt, function)
    return Found(
        seen,
        states,
        runs[0],
        goal,
        start,
        name,
        wrt,
        state,
        tuple(sorted(first.maps)),
        input_size is not None,
    )


def checked_rules(leaf_rules: LeafRules | None, function: str) -> LeafRules:
    """`leaf_rules` or a sentence about what is wrong with it."""
    if leaf_rules is None:
        return {}
    if not isinstance(leaf_rules, Mapping):
        raise TypeError(f"{function}(leaf_rules=…): give a dict, not {type(leaf_rules).__name__}")
    for key, rule in leaf_rules.items():
        if not isinstance(key, str) and not callable(key):
            raise TypeError(f"{function}(leaf_rules=…): key {key!r} must be a module class, a function or a name")
        if not isinstance(rule, Window) and rule not in ("pointwise", "global"):
            raise ValueError(
                f"{function}(leaf_rules=…): {rule!r} for {key!r} is not a rule; "
                "accepted are anatomy.Window(…), 'pointwise' and 'global'"
            )
    return leaf_rules


def last_in_space(seen: Trace, states: dict[fx.Node, Outcome], start: fx.Node, function: str) -> fx.Node:
    """The default `of`: the last node before the head that still has a place in space."""
    used = needed_for(next(n for n in seen.graph.nodes if n.op == "output"))
    best: fx.Node | None = None
    blamed: UnknownOperation | None = None
    for node in seen.graph.nodes:
        outcome = states.get(node)
        if node not in used or node is start:
            continue
        if isinstance(outcome, UnknownOperation):
            # flattening for a linear head may fail at a made-up size; only what is no head is worth an error
            lost = isinstance(outcome, NotRun | PlaceLost) and not works_in_space(seen, node)
            excused = lost or (isinstance(outcome, NeedsSize) and outcome.behind_adaptive)
            blamed = blamed or (None if excused else outcome)
        elif isinstance(outcome, State) and outcome.local and not _folded(outcome):
            best = node if best is None or not outcome.adaptive else best
    if blamed is not None:
        raise ValueError(f"{function}: {blamed}; or name a node before it: of=…")
    if best is None:
        raise ValueError(f"{function}: no node after {seen.label(start)!r} keeps a place in space; name one: of=…")
    return best


def _folded(state: State) -> bool:
    """Whether some dimension holds space together with something else."""
    return any(axes_in(dim) and sum(n > 1 or axis >= 0 for axis, n in dim) > 1 for dim in state.layout)


def _agreed(seen: Trace, one: dict[fx.Node, Outcome], two: dict[fx.Node, Outcome]) -> dict[fx.Node, Outcome]:
    """The states on which both probes agree; elsewhere the reason why input_size is needed."""
    result: dict[fx.Node, Outcome] = {}
    for node, outcome in one.items():
        earlier = next((result[n] for n in node.all_input_nodes if isinstance(result.get(n), NeedsSize)), None)
        mine, theirs = list(states_in((outcome,))), list(states_in((two.get(node),)))
        same = len(mine) == len(theirs) and all(a.same_as(b) for a, b in zip(mine, theirs, strict=True))
        if same or isinstance(outcome, UnknownOperation):
            result[node] = outcome
        else:
            need = NeedsSize(
                f"what {seen.label(node)!r} sees depends on the size of the input; give input_size=(C, H, W)"
            )
            need.behind_adaptive = any(state.adaptive for state in mine)
            result[node] = earlier or need
    return result


def _of_state(
    outcome: Outcome | None, seen: Trace, goal: fx.Node, start: fx.Node, of: str, wrt: str, function: str
) -> State:
    say = f"{function}(of={of!r}, wrt={wrt!r})"
    if isinstance(outcome, UnknownOperation):
        raise type(outcome)(f"{say}: {outcome}") from None
    state = next(states_in((outcome,)), None)
    if state is None:
        raise ValueError(f"{say}: {seen.label(goal)!r} is not an activation but a number or a shape; name another node")
    if not state.depends:
        order = list(seen.graph.nodes)
        hint = f"; {wrt!r} comes after {of!r}, exchange them" if order.index(start) > order.index(goal) else ""
        raise ValueError(f"{say}: there is no path from {wrt!r} to {of!r}{hint}")
    return state


def _not_run(seen: Trace, run: Values, name: str, argument: str, input_size: Any, function: str) -> str:
    where = seen.label(run.failed) if run.failed is not None else name
    text = str(run.error).strip().splitlines()
    reason = text[0] if text else type(run.error).__name__
    if input_size is None:
        return (
            f"{function}({argument}={name!r}): the shape of {where!r} needs the true size of the input "
            f"({reason}); give input_size=(C, H, W)"
        )
    return f"{function}(input_size={input_size!r}): {where!r} cannot work on it ({reason})"
