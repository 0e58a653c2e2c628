"""Running a network once to see what each call of each of its modules costs.

A shadow of the network runs on the meta device, where tensors have a shape and no numbers; where an operation
needs numbers, the shadow uses the network's own weights. torch's `FlopCounterMode` knows a formula for every
operation that multiplies and adds; we read its total when a module is entered and when it is left.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from tlcore.anatomy.graph import shadow
from tlcore.anatomy.inputs import Example, build
from tlcore.anatomy.layers import parts, tensors_in
from tlcore.anatomy.untouched import same_randomness


@dataclass
class Call:
    """One call of one module; `macs` without those of the modules it calls, `activations` without theirs."""

    path: str
    layer: bool
    macs: int = 0
    shape: tuple[int, ...] | None = None
    activations: int = 0
    activation_bytes: int = 0


@dataclass
class Counted:
    """All calls in the order in which they began."""

    calls: list[Call] = field(default_factory=list)
    lent: dict[str, int] = field(default_factory=dict)  # module whose parameters others use -> at which call first


def count(model: nn.Module, given: Sequence[Example], say: str) -> Counted:
    """What a shadow of `model` does with these inputs.

    Raises
    ------
    ValueError
        If it cannot run on them.
    """
    ways: list[Callable[[torch.Tensor], torch.Tensor]] = [lambda t: t.to("meta")]
    if not any(p.is_meta for p in model.parameters()):
        ways.append(lambda t: t if isinstance(t, nn.Parameter) else t.clone())
    blame = ""
    for way in ways:
        for indices in (False, True):
            reader = _Reader(shadow(model, way), indices)
            try:
                reader.run(given, on_meta=way is ways[0])
            except _WantsIndices:
                continue
            except Exception as error:  # whatever the user's layers raise
                text = (str(error).strip() or type(error).__name__).splitlines()[0]
                where = (reader.open[-1].call.path if reader.open else "") or type(model).__name__
                blame = f"{where!r} cannot work on it ({text})"
                break
            return reader.counted
    raise ValueError(f"{say}: {blame}")


class _WantsIndices(Exception):
    """The network looks up rows of a table, so noise is no input for it."""


@dataclass
class _Open:
    """A call that has not ended: the counter's total when it began, and how much of it its own calls took."""

    call: Call
    start: int
    inner: int = 0


class _Reader(TorchFunctionMode):
    def __init__(self, twin: nn.Module, indices: bool) -> None:
        from torch.utils.flop_counter import FlopCounterMode  # it may look for a compiler: not for who never counts

        super().__init__()
        self.twin, self.indices = twin, indices
        self.counter = FlopCounterMode(display=False, custom_mapping=_formulas())
        self.counted, self.open = Counted(), list[_Open]()
        self.called: set[str] = set()
        self.owner: dict[int, str] = {}
        self.outputs: dict[int, weakref.ref[torch.Tensor]] = {}
        for path, module, layer in parts(twin):
            module.register_forward_pre_hook(self._enter(path, layer))
            module.register_forward_hook(self._leave)
            for parameter in module.parameters(recurse=layer):
                self.owner.setdefault(id(parameter), path)

    def run(self, given: Sequence[Example], *, on_meta: bool) -> None:
        like = next((p for p in self.twin.parameters() if p.is_floating_point()), torch.empty(0))
        device = torch.device("meta") if on_meta else like.device
        place: AbstractContextManager[Any] = device if on_meta else nullcontext()
        with torch.inference_mode(False), torch.no_grad(), same_randomness(), _unfused_attention():
            inputs = build(given, device, like.dtype, indices=self.indices)
            with self.counter, self, place, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what a layer says about speed does not concern a count
                self.twin(*inputs)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not self.indices and func in (F.embedding, F.embedding_bag):
            looked_up = args[0] if args else kwargs["input"]
            if looked_up.is_floating_point():
                raise _WantsIndices
        self._note((*args, *kwargs.values()))
        return func(*args, **kwargs)

    def _note(self, values: Sequence[Any]) -> None:
        """Remember a parameter of a module that has not been called, so that it does not pass for unused."""
        for value in values:
            if isinstance(value, (tuple, list)):
                self._note(value)
            elif isinstance(value, nn.Parameter):
                path = self.owner.get(id(value))
                if path is not None and path not in self.called:
                    self.counted.lent.setdefault(path, len(self.counted.calls))

    def _enter(self, path: str, layer: bool) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any) -> None:
            self.called.add(path)
            self.counted.calls.append(Call(path, layer))
            self.open.append(_Open(self.counted.calls[-1], self.counter.get_total_flops()))

        return hook

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        own = self.open.pop()
        spent = self.counter.get_total_flops() - own.start
        own.call.macs = (spent - own.inner) // 2
        if self.open:
            self.open[-1].inner += spent
        own.call.layer |= self.counted.calls[-1] is own.call  # it called nothing, so all it did is its own
        tensors = list(tensors_in(output))
        own.call.shape = tuple(tensors[0].shape) if tensors else None
        for tensor in tensors:
            known = self.outputs.get(id(tensor))
            if own.call.layer or known is None or known() is not tensor:
                own.call.activations += tensor.numel()
                own.call.activation_bytes += tensor.numel() * tensor.element_size()
            self.outputs[id(tensor)] = weakref.ref(tensor)


@contextmanager
def _unfused_attention() -> Iterator[None]:
    """The fused encoder layer of evaluation mode hides its matrix products from the counter."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _formulas() -> dict[Any, Callable[..., int]]:
    """Operations that multiply matrices and that torch has no formula for; arguments are shapes, results FLOPs."""
    aten = torch.ops.aten
    return {
        aten.mv: lambda a, *_, **__: 2 * prod(a),
        aten.addmv: lambda _, a, *__, **___: 2 * prod(a),
        aten.dot: lambda a, *_, **__: 2 * prod(a),
        aten.vdot: lambda a, *_, **__: 2 * prod(a),
        aten.addbmm: lambda _, a, b, **__: 2 * prod(a) * b[-1],
        aten._trilinear: lambda _, w, *__, out_shape, **___: 2 * prod(out_shape) * prod(w[1:]),  # nn.Bilinear
        aten.mkldnn_rnn_layer: lambda x, w, u, *_, **__: 2 * prod(x[:-1]) * (prod(w) + prod(u)),
        aten._cudnn_rnn: lambda x, w, *_, **__: 2 * prod(x[:-1]) * sum(prod(m) for m in w if len(m) == 2),
    }
