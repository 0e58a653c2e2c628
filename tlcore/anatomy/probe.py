"""Hooks that measure what passes through layers: forwards the activations, backwards the gradients.

An in-place operation after a layer changes that layer's output. So sizes of activations are taken at once, and
gradients by hooks on the tensor, which belong to its values at the time of registration. For a view that is not
so, so a view goes on as a copy of itself.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from tlcore.anatomy.graph import nearest
from tlcore.anatomy.layers import tensors_in

ACTIVATION, GRADIENT, WEIGHT, ZEROS = MEASURES = ("activation", "gradient", "weight_gradient", "zeros")
LABELS = {ACTIVATION: "activation", GRADIENT: "gradient", WEIGHT: "gradient of the weights", ZEROS: "share of zeros"}


class Record:
    """What one forward pass and its backward pass left behind, over all calls of each layer."""

    def __init__(self, step: int) -> None:
        self.step, self.reached = step, False
        self.fresh: list[tuple[str, str, torch.Tensor, int]] = []
        self.sums: dict[tuple[str, str], tuple[float, int]] = {}

    def add(self, layer: str, what: str, tensor: torch.Tensor) -> None:
        """Note the size of a tensor; nothing is fetched from the device yet."""
        tensor = tensor.detach()
        precise = torch.float32 if tensor.device.type == "mps" else torch.float64  # squares of 1e-30 must not vanish
        count = what == ZEROS
        size = (tensor == 0).sum(dtype=precise) if count else torch.linalg.vector_norm(tensor, dtype=precise)
        self.fresh.append((layer, what, size, tensor.numel()))

    def settle(self) -> None:
        """Turn what was noted into plain numbers, with one transfer from the device."""
        if not self.fresh:
            return
        device = self.fresh[0][2].device
        sizes = torch.stack([size.to(device) for _, _, size, _ in self.fresh]).tolist()
        for (layer, what, _, elements), size in zip(self.fresh, sizes, strict=True):
            total, number = self.sums.get((layer, what), (0.0, 0))
            self.sums[layer, what] = (total + (size if what == ZEROS else size * size), number + elements)
        self.fresh.clear()

    def has(self, layer: str, what: str) -> bool:
        """Whether anything was noted."""
        self.settle()
        return (layer, what) in self.sums

    def value(self, layer: str, what: str) -> float:
        """Root mean square (for zeros the share) of all that was noted; nan if nothing was."""
        self.settle()
        total, number = self.sums.get((layer, what), (math.nan, 1))
        mean = total / max(number, 1)
        return mean if what == ZEROS else math.sqrt(mean)


class Probe:
    """Hooks on `layers`; while a record is open, passes write to it, and it is kept once a gradient reaches it.

    With `awake`, outputs that nobody would need the gradient of become `roots`, so that they get one too.
    """

    def __init__(self, layers: Mapping[str, nn.Module], *, awake: bool = False) -> None:
        self.layers, self.awake = layers, awake
        self.record: Record | None = None
        self.records: list[Record] = []
        self.met: list[Record] = []  # by backward passes since the last forward pass began
        self.order: dict[str, None] = {}  # layers as they first ran
        self.roots: list[torch.Tensor] = []
        self.handles: list[Any] = []
        self.hooked: set[tuple[str, int]] = set()
        self.active = False

    def attach(self) -> None:
        """Register the hooks on the layers."""
        self.active = True
        for name, module in self.layers.items():
            self.handles.append(module.register_forward_hook(partial(self._forward, name)))

    def remove(self) -> None:
        """Take the hooks away; those on tensors of a graph that still lives fall silent."""
        for handle in self.handles:
            handle.remove()
        self.handles.clear()
        self.hooked.clear()
        self.roots.clear()
        self.record, self.active = None, False

    def start(self, record: Record | None) -> None:
        """Passes from here on belong to `record`."""
        for met in self.met:
            met.settle()
        self.met.clear()
        self.record = record
        if record is None:
            return
        for name, module in self.layers.items():
            for parameter in module.parameters():  # looked up each time: training may unfreeze some
                if parameter.requires_grad and (name, id(parameter)) not in self.hooked:
                    self.handles.append(parameter.register_hook(partial(self._weight, name)))
                    self.hooked.add((name, id(parameter)))

    def _forward(self, name: str, module: nn.Module, args: Any, output: Any) -> Any:
        record, value = self.record, next(tensors_in(output), None)
        if record is None or value is None or not value.is_floating_point():
            return None
        self.order.setdefault(name)
        record.add(name, ACTIVATION, value)
        record.add(name, ZEROS, value)
        if not torch.is_grad_enabled():
            return None
        tapped = value
        if self.awake and not value.requires_grad:
            self.roots.append(value.detach().clone().requires_grad_())
            tapped = self.roots[-1].clone()  # what comes next may work in place, which a leaf refuses
        elif value.requires_grad and (value.is_leaf or value._is_view()):
            tapped = value.clone()
        if tapped.requires_grad:
            tapped.register_hook(partial(self._gradient, record, name))
        return None if tapped is value else _exchanged(output, value, tapped)

    def _gradient(self, record: Record, name: str, gradient: torch.Tensor) -> None:
        if not self.active:
            return
        record.add(name, GRADIENT, gradient)
        if record not in self.met:
            self.met.append(record)
        if not record.reached:
            record.reached = True
            self.records.append(record)

    def _weight(self, name: str, gradient: torch.Tensor) -> None:
        for record in self.met:
            record.add(name, WEIGHT, gradient)


def _exchanged(output: Any, old: torch.Tensor, new: torch.Tensor) -> Any:
    """`output` with `new` in the place of `old`."""
    if output is old:
        return new
    if isinstance(output, Mapping):
        twin: Any = copy.copy(output)
        for key, item in output.items():
            twin[key] = _exchanged(item, old, new)
        return twin
    if isinstance(output, (tuple, list)):
        items = [_exchanged(item, old, new) for item in output]
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)
    return output


def checked_measures(what: Iterable[str], function: str) -> tuple[str, ...]:
    """`what` as a tuple, or a sentence about the first that is unknown."""
    chosen = tuple(what)
    for one in chosen:
        if one not in MEASURES:
            accepted = ", ".join(map(repr, MEASURES))
            raise ValueError(f"{function}(what={one!r}): accepted are {accepted}; {nearest(str(one), MEASURES)}")
    return chosen
