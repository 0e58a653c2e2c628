"""Tracing a network and naming its parts: the one naming rule used everywhere.

A name is, in this order,

1. ``"input"``: the first placeholder, whatever it is called;
2. a torch.fx node name, such as ``"layer1_0_relu_1"``;
3. a module path, such as ``"layer1.0"``: the output of that module's last call;
4. ``"neck"``: the input of the last linear layer.

The network itself is never touched: we trace a shadow of it, with the same modules in evaluation mode,
without hooks, and with parameters on the meta device (which have a shape but no memory).
"""

from __future__ import annotations

import copy
import difflib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F


class TraceError(ValueError):
    """The network cannot be traced; the message names the module and the way out."""


@dataclass(frozen=True)
class Trace:
    """A traced network: its graph, and which node is the output of which module."""

    model: nn.Module  # the shadow
    graph: fx.Graph
    outputs: dict[str, fx.Node]  # module path -> the output of its last call
    scopes: dict[fx.Node, str]  # node -> the path of the module whose forward made it
    closes: dict[fx.Node, list[str]] = field(default_factory=dict)  # node -> the modules whose output it is

    def module(self, node: fx.Node) -> nn.Module | None:
        """The module that a ``call_module`` node calls, else None."""
        return self.model.get_submodule(str(node.target)) if node.op == "call_module" else None

    def label(self, node: fx.Node) -> str:
        """How a person names the node: the module path if it is its last call, else the node name."""
        path = str(node.target)
        if node.op == "placeholder" and node is first_placeholder(self.graph):
            return "input"
        return path if node.op == "call_module" and self.outputs.get(path) is node else node.name

    def outermost(self, node: fx.Node) -> str:
        """The largest module that ends in this node, or its `label`."""
        paths = [path for path in self.closes.get(node, []) if path and self.outputs[path] is node]
        return min(paths, key=lambda path: path.count("."), default=self.label(node))

    def names(self) -> list[str]:
        """Every name that `resolve` understands."""
        own = [n.name for n in self.graph.nodes if n.op != "output"]
        return list(dict.fromkeys(["input", *self.outputs, *own, "neck"]))

    def resolve(self, name: str, *, argument: str = "name", function: str = "resolve") -> fx.Node:
        """The node called `name`; see the naming rule at the top of this file."""
        if not isinstance(name, str):
            raise TypeError(f"{function}({argument}={name!r}): give a name (str), not {type(name).__name__}")
        by_name: dict[str, fx.Node] = {n.name: n for n in self.graph.nodes if n.op != "output"}
        if name == "input":
            return first_placeholder(self.graph)
        if name in by_name:
            return by_name[name]
        if name in self.outputs:
            return self.outputs[name]
        if name == "neck":
            return self._neck(function, argument)
        raise ValueError(f"{function}({argument}={name!r}): no node named {name!r}; {nearest(name, self.names())}")

    def _neck(self, function: str, argument: str) -> fx.Node:
        linear = [
            n
            for n in self.graph.nodes
            if isinstance(self.module(n), nn.Linear) or n.target in (F.linear, torch._C._nn.linear)
        ]
        if not linear:
            raise ValueError(f"{function}({argument}='neck'): this network has no linear layer, so it has no neck")
        source: fx.Node = linear[-1].all_input_nodes[0]
        return source


def first_placeholder(graph: fx.Graph) -> fx.Node:
    """The node of the network's (first) input."""
    node: fx.Node = next(n for n in graph.nodes if n.op == "placeholder")
    return node


def nearest(name: str, names: Iterable[str]) -> str:
    """The tail of an error message: which valid names come closest."""
    pool = list(names)
    close = difflib.get_close_matches(name, pool, n=2, cutoff=0.5)
    inside = [n for n in pool if close and n.rpartition(".")[0] == close[0]]
    close = list(dict.fromkeys([*close[:1], *inside[-1:], *close[1:]])) or [n for n in pool if "." not in n][:6]
    return "nearest: " + ", ".join(repr(n) for n in close)


def resolve(model: nn.Module, name: str) -> str:
    """The torch.fx node name that `name` stands for in `model`.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
    >>> resolve(net, "1"), resolve(net, "neck"), resolve(net, "input")
    ('_1', '_2', 'input_1')

    Parameters
    ----------
    model : nn.Module
        Anything torch.fx can trace, or a GraphModule.
    name : str
        ``"input"``, a node name, a module path (the output of its last call) or ``"neck"``.

    Raises
    ------
    ValueError
        If there is no such name; the message lists the nearest ones.
    """
    return trace(model, function="resolve").resolve(name).name


def shadow(model: nn.Module, convert: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    """A copy of `model` in evaluation mode, without hooks, whose tensors are ``convert(tensor)``.

    Nothing large is copied unless `convert` does, and the original is only read.

    >>> net = nn.Linear(3, 2)
    >>> shadow(net, lambda t: t.to("meta")).weight.device.type, net.weight.device.type, net.training
    ('meta', 'cpu', True)
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        for tensor in (*module._parameters.values(), *module._buffers.values(), *vars(module).values()):
            if isinstance(tensor, torch.Tensor) and id(tensor) not in memo:
                new = convert(tensor.detach())
                is_parameter = isinstance(tensor, nn.Parameter)
                memo[id(tensor)] = nn.Parameter(new, requires_grad=False) if is_parameter else new
    try:
        twin = copy.deepcopy(model, memo)
    except Exception as error:
        raise TraceError(
            f"{type(model).__name__} cannot be copied for reading ({error}); "
            "remove or replace the attribute that copy.deepcopy refuses"
        ) from error
    for module in twin.modules():
        for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"):
            setattr(module, hooks, OrderedDict())
        module.training = False
    return twin


def trace(model: nn.Module, *, leaves: Iterable[Any] = (), function: str = "trace") -> Trace:
    """Trace `model` in evaluation mode without touching it.

    Examples
    --------
    >>> seen = trace(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()))
    >>> [node.name for node in seen.graph.nodes]
    ['input_1', '_0', '_1', 'output']

    Parameters
    ----------
    model : nn.Module
        If it is a GraphModule its own graph is used.
    leaves : iterable of module classes and module paths
        Not looked into; they become one node each.
    function : str
        The name of the caller, for error messages.

    Raises
    ------
    TypeError
        If `model` is not a module.
    ValueError
        If torch.fx cannot trace it; the message names the module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"{function}(model=…): give an nn.Module, not {type(model).__name__}")
    twin = shadow(model, lambda t: t.to("meta"))
    if isinstance(twin, fx.GraphModule):
        return _read_graph_module(twin)
    tracer = _Tracer(leaves)
    try:
        graph = tracer.trace(twin)
    except Exception as error:
        path = tracer.open[-1] if tracer.open else ""
        kind = type(twin.get_submodule(path)).__name__
        where = f"module {path!r} ({kind})" if path else f"{kind}.forward"
        raise TraceError(
            f"{function}: torch.fx cannot trace {where}: {_first_line(error)} "
            f"Way out: leaf_rules={{{kind}: anatomy.Window(kernel=…, stride=…) | 'pointwise' | 'global'}}"
        ) from error
    outputs = {path: node for path, value in tracer.calls for node in [_first_node(value)] if node is not None}
    closes: dict[fx.Node, list[str]] = {}
    for path, value in tracer.calls:
        node = _first_node(value)
        if node is not None:
            closes.setdefault(node, []).append(path)
    return Trace(twin, graph, outputs, tracer.scopes, closes)


def needed_for(target: fx.Node) -> set[fx.Node]:
    """`target` and every node it is computed from."""
    seen: set[fx.Node] = set()
    todo = [target]
    while todo:
        node = todo.pop()
        if node not in seen:
            seen.add(node)
            todo.extend(node.all_input_nodes)
    return seen


class _Tracer(fx.Tracer):
    """torch.fx's tracer, which also notes which node is which module's output."""

    def __init__(self, leaves: Iterable[Any]) -> None:
        super().__init__()
        self.leaf_types = tuple(leaf for leaf in leaves if isinstance(leaf, type))
        self.leaf_paths = {leaf for leaf in leaves if isinstance(leaf, str)}
        self.calls: list[tuple[str, Any]] = []
        self.open: list[str] = []
        self.scopes: dict[fx.Node, str] = {}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        chosen = isinstance(m, self.leaf_types) or module_qualified_name in self.leaf_paths
        return chosen or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        path = self.path_of_module(m)
        self.open.append(path)
        value = super().call_module(m, forward, args, kwargs)
        self.open.pop()
        self.calls.append((path, value))
        return value

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        self.scopes[node] = self.open[-1] if self.open else ""
        return node


def _read_graph_module(twin: fx.GraphModule) -> Trace:
    outputs: dict[str, fx.Node] = {}
    scopes: dict[fx.Node, str] = {}
    last_in: dict[str, fx.Node] = {}
    for node in twin.graph.nodes:
        stack = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
        scopes[node] = stack[-1] if stack else ""
        for path in stack:
            last_in[path] = node
        if node.op == "call_module":
            outputs[str(node.target)] = node
    return Trace(twin, twin.graph, {**last_in, **outputs}, scopes)


def _first_node(value: Any) -> fx.Node | None:
    return next(_nodes_in(value), None)


def _nodes_in(value: Any) -> Iterator[fx.Node]:
    if isinstance(value, fx.Proxy):
        yield value.node
    elif isinstance(value, dict):
        for item in value.values():
            yield from _nodes_in(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _nodes_in(item)


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    line = text[0].rstrip() if text else type(error).__name__
    return line if line.endswith((".", "!", "?")) else line + "."
