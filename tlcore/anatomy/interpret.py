"""Walking the graph: the state of every activation with respect to one node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx

from tlcore.anatomy.graph import Trace
from tlcore.anatomy.intervals import IntervalMap
from tlcore.anatomy.layout import LayoutError, axes_of, conventional, plain
from tlcore.anatomy.operations import OPERATIONS, function_key, module_call
from tlcore.anatomy.rules import Call, everything, pointwise, windowed
from tlcore.anatomy.shapes import Values, takes_tokens
from tlcore.anatomy.state import (
    GlobalOp,
    NotRun,
    Outcome,
    PlaceLost,
    State,
    UnknownOperation,
    opaque,
    states_in,
)
from tlcore.anatomy.windows import Window

LeafRule = Window | str
LeafRules = Mapping[Any, LeafRule]


@dataclass
class Reader:
    """Interprets a traced graph; one instance per (trace, shapes, wrt)."""

    seen: Trace
    values: Values
    wrt: fx.Node
    leaf_rules: LeafRules
    conv_only: bool

    def __post_init__(self) -> None:
        self.states: dict[fx.Node, Outcome] = {}
        self.tokens = takes_tokens(self.seen)

    def read(self) -> dict[fx.Node, Outcome]:
        """The state (or the reason why there is none) of every node that is a tensor or a tuple of them."""
        for node in self.seen.graph.nodes:
            if node.op == "output":
                continue
            if node not in self.values.of:
                self.states[node] = self._unmeasured(node)
            elif _has_tensor(self.values.of[node]):
                outcome = self._state(node)
                self.states[node] = self._start(node, outcome) if node is self.wrt else outcome
        return self.states

    def _unmeasured(self, node: fx.Node) -> UnknownOperation:
        for source in node.all_input_nodes:
            blame = self.states.get(source)
            if isinstance(blame, UnknownOperation):
                return blame
        return NotRun(f"{self.seen.label(node)!r} could not be run at this input size: {self.values.error}")

    def _start(self, node: fx.Node, outcome: Outcome) -> Outcome:
        value = self.values.of[node]
        if not isinstance(value, torch.Tensor):
            return outcome
        layout = outcome.layout if isinstance(outcome, State) else plain(value.shape)
        first = next(self.values.of[n] for n in self.seen.graph.nodes if n.op == "placeholder")
        if not axes_of(layout) and value.dim() == first.dim() and value.dim() > 2:
            layout = conventional(value.shape)  # its history is not known, its form is the usual one
        maps = {axis: IntervalMap.identity() for axis in axes_of(layout)}
        return State(layout, maps, True, name=self.seen.label(node), kind="wrt")

    def _state(self, node: fx.Node) -> Outcome:
        if node.op == "placeholder":
            value = self.values.of[node]
            channels = not (self.tokens and value.dim() == 2)
            return State(conventional(value.shape, channels=channels), {}, False, name=node.name, kind="input")
        if node.op == "get_attr":
            return opaque(tuple(self.values.of[node].shape), [])
        sources = [self.states.get(source) for source in node.all_input_nodes]
        for source in sources:
            if isinstance(source, UnknownOperation):
                return source
        if function_key(node.target) == "getitem" and not isinstance(self._own(node.args[0]), State):
            group = self._own(node.args[0])
            if isinstance(group, tuple) and isinstance(node.args[1], int | slice):
                return group[node.args[1]]  # type: ignore[no-any-return]
        inputs = list(states_in(sources))
        try:
            outcome = self._apply(node)
        except (
            LayoutError,
            UnknownOperation,
            ValueError,
            TypeError,
            IndexError,
            KeyError,
            AttributeError,
        ) as error:
            if any(s.local for s in inputs):
                kind = PlaceLost if isinstance(error, LayoutError) else UnknownOperation
                return kind(self._message(node, error))
            outcome = _blank(self.values.of[node], inputs)
        return self._named(node, outcome)

    def _apply(self, node: fx.Node) -> Outcome:
        rule_for_leaf = self._leaf_rule(node)
        if rule_for_leaf is not None:
            return self._apply_leaf_rule(node, rule_for_leaf)
        call = self._call(node)
        if call is None:
            raise UnknownOperation("no rule says what it reads")
        rule, _ = OPERATIONS[call.key]
        x = next(states_in(tuple(call.args.values())), None)
        return opaque(call.shape, []) if x is None else rule(call, x)

    def _call(self, node: fx.Node) -> Call | None:
        module = self.seen.module(node)
        args: dict[str, Any] = {}
        dynamic: set[str] = set()
        if module is not None:
            found = module_call(module)
            if found is None or found[0] not in OPERATIONS:
                return None
            key, args = found[0], dict(found[1])
            if isinstance(args.get("weight"), torch.Tensor):
                args["weight"] = _states(args["weight"])
            positional = ["input", "key", "value", "hidden"]
            for name, given in zip(positional, node.args, strict=False):
                args[name] = self._own(given)
            for name, given in node.kwargs.items():
                args["input" if "input" not in args else name] = self._own(given)
            args = {"input": args.pop("input"), **args}
        else:
            key = function_key(node.target) or ""
            if key not in OPERATIONS:
                return None
            names = OPERATIONS[key][1]
            given_names = [*names, *(f"rest{i}" for i in range(len(node.args)))]
            for name, given in zip(given_names, node.args, strict=False):
                args[name] = self._own(given)
                if name != names[0] and _holds_node(given):
                    dynamic.add(name)
            args.update({name: self._own(given) for name, given in node.kwargs.items()})
            for alias in ("x", "self", "tensor"):
                if alias in args and names[0] not in args:
                    args = {names[0]: args.pop(alias), **args}
            if "axis" in args:
                args["dim"] = args.pop("axis")
            if key == "permute":
                args["rest"] = list(args.values())[1:]
        value = self.values.of[node]
        first = next((n for n in node.all_input_nodes if isinstance(self.values.of.get(n), torch.Tensor)), None)
        in_shape = tuple(self.values.of[first].shape) if first is not None else ()
        return Call(
            self.seen.label(node),
            self._global(node),
            key,
            args,
            value,
            in_shape,
            frozenset(dynamic),
            self.conv_only,
        )

    def _own(self, given: Any) -> Any:
        """An argument with nodes replaced by their states (activations) or values (numbers)."""
        if isinstance(given, fx.Node):
            return self.states[given] if given in self.states else self.values.of[given]
        if isinstance(given, (tuple, list)):
            return (
                type(given)(self._own(item) for item in given)
                if type(given) in (tuple, list)
                else tuple(self._own(item) for item in given)
            )
        if isinstance(given, slice):
            return slice(self._own(given.start), self._own(given.stop), self._own(given.step))
        return given

    def _global(self, node: fx.Node) -> GlobalOp:
        scope = str(node.target) if node.op == "call_module" else self.seen.scopes.get(node, "")
        return GlobalOp(self.seen.label(node), scope)

    def _leaf_rule(self, node: fx.Node) -> LeafRule | None:
        module = self.seen.module(node)
        for key, rule in self.leaf_rules.items():
            if isinstance(key, str):
                if key in (node.name, str(node.target)):
                    return rule
            elif key is node.target or (module is not None and isinstance(key, type) and isinstance(module, key)):
                return rule
        return None

    def _apply_leaf_rule(self, node: fx.Node, rule: LeafRule) -> Outcome:
        value = self.values.of[node]
        given = [self._own(a) for a in (*node.args, *node.kwargs.values())]
        states = list(states_in(given))
        first = next(self.values.of[n] for n in node.all_input_nodes if isinstance(self.values.of.get(n), torch.Tensor))
        call = Call(
            self.seen.label(node),
            self._global(node),
            "leaf rule",
            {"input": states},
            value,
            tuple(first.shape),
        )
        x = states[0]
        if rule == "global":
            return everything(call, x)
        if rule == "pointwise":
            return pointwise(replace(call, key="leaf: pointwise"), x)
        assert isinstance(rule, Window)
        rank = len(x.layout) - 2
        taps = [call.counted(rule.along(axis)) for axis in range(rank)]
        kernel = rule.kernel if isinstance(rule.kernel, tuple) else (rule.kernel,) * rank
        stride = rule.stride if isinstance(rule.stride, tuple) else (rule.stride,) * rank
        return windowed(call, x, taps, "leaf: window", kernel, stride)

    def _message(self, node: fx.Node, error: Exception) -> str:
        module = self.seen.module(node)
        if module is not None:
            kind = type(module).__name__
            return (
                f"module {self.seen.label(node)!r} ({kind}): {error}. "
                f"Way out: leaf_rules={{{kind}: anatomy.Window(kernel=…, stride=…) | 'pointwise' | 'global'}}"
            )
        target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
        scope = self.seen.scopes.get(node, "")
        where = f" in module {scope!r}" if scope else ""
        return (
            f"operation {target!r} (node {node.name!r}{where}): {error}. Way out: "
            f"leaf_rules={{{node.name!r}: anatomy.Window(kernel=…, stride=…) | 'pointwise' | 'global'}}"
        )

    def _named(self, node: fx.Node, outcome: Outcome) -> Outcome:
        if isinstance(outcome, tuple):
            return tuple(self._named(node, o) if o is not None else None for o in outcome)
        if isinstance(outcome, UnknownOperation):
            return outcome
        whole = outcome.whole
        if whole and outcome.maps and len(outcome.parents) > 1:  # a gate meets its trunk: name the gate's module
            closing = self.seen.closes.get(node, [])
            gates = [p for p, _ in outcome.parents if len(p.maps) < len(outcome.maps)]
            fresh = {op for gate in gates for op in gate.whole}
            whole = tuple(dict.fromkeys(_lifted(op, closing) if op in fresh else op for op in whole))
        return replace(outcome, name=self.seen.label(node), whole=whole)


def _lifted(op: GlobalOp, closing: list[str]) -> GlobalOp:
    """The innermost module that holds the whole gate, if one ends here."""
    for path in closing:
        if path and (op.scope == path or op.scope.startswith(path + ".")):
            return GlobalOp(path, path)
    return op


def _has_tensor(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(_has_tensor(item) for item in value)
    return isinstance(value, torch.Tensor)


def _holds_node(given: Any) -> bool:
    if isinstance(given, (tuple, list)):
        return any(_holds_node(item) for item in given)
    return isinstance(given, fx.Node)


def _blank(value: Any, inputs: list[State]) -> Outcome:
    if isinstance(value, (tuple, list)):
        return tuple(_blank(item, inputs) for item in value)
    return opaque(tuple(value.shape), inputs) if isinstance(value, torch.Tensor) else None  # type: ignore[return-value]


def _states(weight: torch.Tensor) -> State:
    return State(plain(weight.shape), {}, False)


def fallback_for(seen: Trace, leaf_rules: LeafRules) -> Callable[[fx.Node, dict[fx.Node, Any]], Any]:
    """Supplies the shape of a leaf that has a rule but cannot run on the meta device."""

    def fallback(node: fx.Node, of: dict[fx.Node, Any]) -> Any:
        rule = Reader(seen, Values(), node, leaf_rules, False)._leaf_rule(node)
        x = next((of[n] for n in node.all_input_nodes if isinstance(of.get(n), torch.Tensor)), None)
        if rule is None or x is None:
            return None
        if not isinstance(rule, Window):
            return torch.empty_like(x)
        channels = getattr(seen.module(node), "out_channels", x.shape[1])
        lengths = []
        for axis, n in enumerate(x.shape[2:]):
            k, s, p, d = (
                v if isinstance(v, int) else v[axis] for v in (rule.kernel, rule.stride, rule.padding, rule.dilation)
            )
            reach = d * (k - 1)
            lengths.append((n - 1) * s - 2 * p + reach + 1 if rule.transposed else (n + 2 * p - reach - 1) // s + 1)
        return torch.empty((x.shape[0], channels, *lengths), dtype=x.dtype, device="meta")

    return fallback
