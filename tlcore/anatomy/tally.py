"""From the calls of a run to the rows of a profile: every parameter counted once, where it is first used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from torch import nn

from tlcore.anatomy.count import Call, Counted
from tlcore.anatomy.layers import kind_of, parts


class Bytes(NamedTuple):
    """Memory in bytes: of the parameters, and of all outputs if every one were kept."""

    parameters: int
    activations: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.parameters + self.activations


class LayerProfile(NamedTuple):
    """One call of one layer, or the sum of several."""

    name: str  # the module path; "" is the network itself
    kind: str
    output_shape: tuple[int, ...] | None  # with the batch; None where another module uses its parameters
    params: int  # its own; 0 where an earlier row has counted them
    trainable_params: int
    macs: int
    activations: int  # elements of its output
    bytes: Bytes
    ran: bool


def tally(model: nn.Module, counted: Counted, dtype_bytes: int | None) -> tuple[LayerProfile, ...]:
    """The rows of `model`: calls in their order, then what owns parameters and did not run."""
    modules = {path: (module, layer) for path, module, layer in parts(model)}
    owned: set[int] = set()

    def row(call: Call, *, ran: bool = True) -> LayerProfile:
        module, layer = modules[call.path]
        new = [p for p in module.parameters(recurse=layer) if id(p) not in owned]
        owned.update(map(id, new))
        params, trainable = (sum(p.numel() for p in new if p.requires_grad or every) for every in (True, False))
        memory = Bytes(sum(p.numel() * p.element_size() for p in new), call.activation_bytes)
        if dtype_bytes is not None:
            memory = Bytes(params * dtype_bytes, call.activations * dtype_bytes)
        return LayerProfile(
            call.path, kind_of(module), call.shape, params, trainable, call.macs, call.activations, memory, ran
        )

    called = {call.path for call in counted.calls}
    lent = {path: at for path, at in counted.lent.items() if path not in called}
    rows: list[LayerProfile] = []
    for index in range(len(counted.calls) + 1):
        rows += [row(Call(path, True)) for path, at in lent.items() if at == index]
        for call in counted.calls[index : index + 1]:
            own = row(call)
            if call.layer or own.params or own.macs:
                rows.append(own)
    idle = (row(Call(path, True), ran=False) for path in modules if path not in called and path not in lent)
    return (*rows, *(own for own in idle if own.params))


def summed(name: str, kind: str, rows: Iterable[LayerProfile]) -> LayerProfile:
    """One row for many; its output is the last one's."""
    some = list(rows)
    shape = next((row.output_shape for row in reversed(some) if row.output_shape), None)
    params, trainable, macs, activations = (
        sum(getattr(row, what) for row in some) for what in ("params", "trainable_params", "macs", "activations")
    )
    memory = Bytes(sum(row.bytes.parameters for row in some), sum(row.bytes.activations for row in some))
    return LayerProfile(name, kind, shape, params, trainable, macs, activations, memory, any(r.ran for r in some))
