"""Cutting a network at some of its nodes: what is computed up to there, and nothing after.

The network is only read. We run a twin of it in evaluation mode that shares its weights (as long as it stays on its
device), so that neither its mode nor its gradients nor its statistics change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import fx, nn
from torch.nn import functional as F

from tlcore.anatomy.graph import Trace, TraceError, first_placeholder, nearest, needed_for, shadow, trace

Pool = Literal["mean", "max", "flatten"] | int
_PLAIN = (int, float, str, bool, tuple, list, type(None))


class Cutter:
    """A network that is traced once and cut where you like.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ...                     nn.Linear(8, 2))
    >>> first, neck = Cutter(net)(["0", "neck"], pool="mean")(torch.rand(5, 3, 9, 9))
    >>> first.shape, neck.shape, first.min() < 0  # ReLU works in place, but on what was already taken
    (torch.Size([5, 8]), torch.Size([5, 8]), tensor(True))

    Parameters
    ----------
    model
        Where torch.fx cannot trace it, module paths, "input" and "neck" are found by hooks, and the whole network runs.
    device
        Where to run; default where the network is.
    function
        The caller's name, for error messages.
    """

    def __init__(self, model: nn.Module, *, device: torch.device | None = None, function: str = "cut") -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"{function}(model=…): give an nn.Module, not {type(model).__name__}")
        self.function = function
        self.device = device or next((p.device for p in model.parameters()), torch.device("cpu"))
        self.seen: Trace | None = None
        self.twin = _twin(model, self.device)
        try:
            self.seen = trace(model, function=function)
        except TraceError as error:
            self.reason = str(error)

    def resolve(self, layer: str) -> str:
        """The name of the node that `layer` stands for (a module path, where the network cannot be traced)."""
        if self.seen is not None:
            return self.seen.resolve(layer, argument="layer", function=self.function).name
        if not isinstance(layer, str):
            raise TypeError(f"{self.function}(layer={layer!r}): give a name (str), not {type(layer).__name__}")
        known = [path for path, _ in self.twin.named_modules() if path]
        if layer not in ("input", "neck", *known):
            near = nearest(layer, ["input", *known, "neck"])
            raise ValueError(f"{self.function}(layer={layer!r}): no module {layer!r}; {near}. ({self.reason})")
        return layer

    def __call__(self, layers: Sequence[str], pool: Pool | None) -> Cut:
        """The network up to `layers`; `pool` says how maps become vectors, None leaves them as they are."""
        names = [self.resolve(layer) for layer in layers]
        if self.seen is None:
            return Cut(_Hooked(self.twin, names, pool), tuple(layers), self.function, traced=False)
        return Cut(self._subgraph(self.seen, names, pool), tuple(layers), self.function, traced=True)

    def _subgraph(self, seen: Trace, names: list[str], pool: Pool | None) -> fx.GraphModule:
        wanted = {node.name: node for node in seen.graph.nodes if node.name in names and node.op != "output"}
        needed = set().union(*(needed_for(node) for node in wanted.values()))
        graph, copies, taken = fx.Graph(), dict[fx.Node, fx.Node](), dict[str, fx.Node]()
        for node in seen.graph.nodes:
            if node.op == "placeholder" or node in needed:
                if node.op == "placeholder" and not node.args and node is not first_placeholder(seen.graph):
                    raise ValueError(f"{self.function}: this network takes several inputs, among them {node.name!r}")
                copies[node] = graph.node_copy(node, copies.__getitem__)
                if node.op == "get_attr":
                    self._constant(seen, str(node.target))
                if node.name in wanted:  # at once, before a later operation can write over it
                    taken[node.name] = graph.call_function(pooled, (copies[node], pool))
        graph.output(tuple(taken[name] for name in names))
        return fx.GraphModule(self.twin, graph).eval()

    def _constant(self, seen: Trace, target: str) -> None:
        """What tracing itself found to be constant lies in the traced shadow only."""
        value = vars(seen.model).get(target, seen.model._buffers.get(target))
        if isinstance(value, torch.Tensor) and not value.is_meta and not hasattr(self.twin, target):
            setattr(self.twin, target, value.to(self.device))


class Cut:
    """A network up to some layers: call it with a batch, get what each of them gives."""

    def __init__(self, net: nn.Module, layers: tuple[str, ...], function: str, *, traced: bool) -> None:
        self.net, self.layers, self.function, self.traced = net, layers, function, traced
        self.channels_last = True

    @torch.no_grad()
    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        """One tensor with ``len(x)`` rows for each layer."""
        if self.channels_last and x.ndim == 4 and x.device.type == "cpu":  # there up to twice as fast
            try:
                return self._run(x.contiguous(memory_format=torch.channels_last))
            except ValueError:  # perhaps a view that needs the usual order
                self.channels_last = False
        return self._run(x.contiguous())

    def _run(self, x: torch.Tensor) -> list[torch.Tensor]:
        try:
            made = self.net.forward(x)  # torch.fx's __call__ would print to stderr when something fails
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            text = (str(error).strip().splitlines() or [type(error).__name__])[0]
            shape = ", ".join(map(str, x.shape[1:]))
            raise ValueError(f"{self.function}: the network cannot work on inputs (N, {shape}): {text}") from error
        for layer, value in zip(self.layers, made, strict=True):
            if not isinstance(value, torch.Tensor) or not value.ndim or len(value) != len(x):
                what = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value)
                raise ValueError(
                    f"{self.function}(layer={layer!r}): it gives {getattr(what, '__name__', what)}, "
                    f"not a tensor with one row for each of {len(x)} inputs; take a node before or after it"
                )
        return list(made)

    def digest(self) -> str:
        """Names everything that the outputs depend on, but the inputs: operations, their settings, all numbers."""
        found = hashlib.sha256(str(getattr(self.net, "code", "")).encode())
        for path, module in self.net.named_modules():
            own = vars(module) if path else {}
            plain = {name: value for name, value in sorted(own.items()) if isinstance(value, _PLAIN)}
            calls = {name: getattr(f, "__qualname__", "") for name, f in sorted(own.items()) if callable(f)}
            found.update(repr((path, type(module).__qualname__, plain, calls)).encode())
            tensors = {**module._parameters, **module._buffers}
            tensors |= {name: value for name, value in vars(module).items() if isinstance(value, torch.Tensor)}
            for name, tensor in sorted(tensors.items()):
                if tensor is not None:
                    found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                    found.update(content(tensor))
        return found.hexdigest()


def content(tensor: torch.Tensor) -> memoryview:
    """The bytes of a tensor."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    made: Any = flat.view(torch.uint8).numpy()
    return memoryview(made)


def pooled(value: Any, pool: Pool | None) -> Any:
    """Vectors (N, F) out of maps (N, C, H, W), as a tensor of its own; what cannot be pooled is left as it is.

    >>> maps = torch.arange(8.0).view(1, 2, 2, 2)
    >>> pooled(maps, "mean").tolist(), pooled(maps, "max").tolist(), pooled(maps, 1).tolist()
    ([[1.5, 5.5]], [[3.0, 7.0]], [[1.5, 5.5]])
    """
    if not isinstance(value, torch.Tensor) or pool is None or value.ndim < 2:
        return value.clone() if isinstance(value, torch.Tensor) else value
    if value.ndim == 2 or pool == "flatten":
        return value.flatten(1).clone()
    if value.ndim == 3:
        return value.clone()
    places = tuple(range(2, value.ndim))
    if pool == "mean":
        return value.mean(places)
    if pool == "max":
        return value.amax(places)
    average = F.adaptive_avg_pool2d if value.ndim == 4 else F.adaptive_avg_pool3d
    return average(value, pool).flatten(1)  # type: ignore[operator]


class _Hooked(nn.Module):
    """For networks that cannot be traced: all of it runs, and hooks take what the layers give."""

    def __init__(self, net: nn.Module, layers: list[str], pool: Pool | None) -> None:
        super().__init__()
        self.net, self.layers, self.pool = net, layers, pool

    def forward(self, x: torch.Tensor) -> tuple[Any, ...]:
        taken: dict[str, Any] = {"input": pooled(x, self.pool)}

        def neck(module: nn.Module, args: Any) -> None:
            taken["neck"] = pooled(args[0], self.pool)

        handles = []
        for layer in self.layers:
            if layer == "neck":
                handles += [m.register_forward_pre_hook(neck) for m in self.net.modules() if isinstance(m, nn.Linear)]
            elif layer != "input":
                handles.append(self.net.get_submodule(layer).register_forward_hook(self._take(taken, layer)))
        try:
            self.net(x)
        finally:
            for handle in handles:
                handle.remove()
        for layer in self.layers:
            if layer not in taken:
                what = "this network has no linear layer, so it has no neck" if layer == "neck" else "it did not run"
                raise ValueError(f"layer {layer!r}: {what}")
        return tuple(taken[layer] for layer in self.layers)

    def _take(self, taken: dict[str, Any], layer: str) -> Any:
        def hook(module: nn.Module, args: Any, value: Any) -> None:
            taken[layer] = pooled(value, self.pool)

        return hook


def _twin(model: nn.Module, device: torch.device) -> nn.Module:
    """The network in evaluation mode and float32 on `device`, sharing the weights that are so already."""
    twin = shadow(model, lambda t: t.to(device, torch.float32 if t.is_floating_point() else t.dtype))
    for own, other in zip(twin.modules(), model.modules(), strict=True):
        # weight normalisation and pruning make their weights in such hooks
        own._forward_pre_hooks = other._forward_pre_hooks.copy()
    return twin
