"""Networks in 16 bits: float16 or bfloat16 weights, computed in 16 bits where the device can and in 32 elsewhere."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_map

from tlcore.anatomy.layers import check_model

TYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
Compute = Literal["auto", "half", "float32"]


class Half(nn.Module):
    """A network whose weights are 16 bits wide; it takes and returns what the original takes and returns.

    Attributes
    ----------
    model
        The network itself.
    dtype
        Of the weights, but for those of batch normalisation.
    compute
        "half": layers compute in 16 bits. "float32": weights are widened for each call, so only memory is saved.
        "auto": half where the device has instructions for it.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, compute: Compute) -> None:
        super().__init__()
        self.model, self.dtype, self.compute = model, dtype, compute
        self.train(model.training)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Inputs become what the layers compute in, outputs float32."""
        device = next((p.device for p in self.model.parameters()), torch.device("cpu"))
        narrow = self.compute == "half" or (self.compute == "auto" and computes(device, self.dtype))
        inside = self.dtype if narrow else torch.float32
        args, kwargs = _cast(args, inside), _cast(kwargs, inside)
        if narrow:
            return _cast(self.model(*args, **kwargs), torch.float32)
        wide = {name: p.float() for name, p in self.model.named_parameters() if p.dtype == self.dtype}
        wide |= {name: b.float() for name, b in self.model.named_buffers() if b.dtype == self.dtype}
        return functional_call(self.model, wide, args, kwargs)


def half(model: nn.Module, *, dtype: torch.dtype | str = torch.float16, compute: Compute = "auto") -> Half:
    """A copy of `model` with 16-bit weights, half as large.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.LazyLinear(10)).eval()
    >>> x = torch.rand(4, 3, 8, 8)
    >>> y = net(x)                                          # (N, 3, 8, 8) -> (N, 10)
    >>> small = half(net)
    >>> small.model[0].weight.dtype, small.model[1].running_var.dtype, small(x).dtype
    (torch.float16, torch.float32, torch.float32)
    >>> (small(x) - y).abs().max().item() < 0.01
    True

    Parameters
    ----------
    model
        Any network.
    dtype
        float16 (11 bits of precision, numbers up to 65,504) or bfloat16 (8 bits, the range of float32).
    compute
        "half" to compute in 16 bits, "float32" to store in 16 bits only, "auto" to do what suits the device: GPUs
        compute in both types, processors in those for which they have instructions. In the second way a network is
        half as large and no faster.

    Returns
    -------
    Half
        Takes and returns float32; the network is its `model`.

    Raises
    ------
    TypeError, ValueError
        For another type, or weights beyond the range of float16, named.

    Notes
    -----
    Batch normalisation stays in float32: its variances may be beyond what float16 can hold, and it is a small part of
    any network. Weights smaller than 6e-8 become 0 in float16.
    """
    check_model(model, "half")
    kind = TYPES.get(dtype) if isinstance(dtype, str) else dtype
    if kind is None or kind not in TYPES.values():
        raise ValueError(f"half(dtype={dtype!r}): accepted are {', '.join(TYPES)}; nearest: 'float16'")
    if compute not in ("auto", "half", "float32"):
        raise ValueError(f"half(compute={compute!r}): accepted are auto, half, float32")
    if isinstance(model, Half):
        raise TypeError("half: the model is in 16 bits already; give the network it was made from")
    net = copy.deepcopy(model)
    with torch.no_grad():
        for path, module in net.named_modules():
            if not isinstance(module, _BatchNorm):
                _narrow(module, kind, path)
    return Half(net, kind, compute)


def computes(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a device has instructions for a 16-bit type.

    >>> computes(torch.device("cpu"), torch.float16) in (True, False)
    True
    """
    if device.type == "cuda":
        return dtype == torch.float16 or torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        name = "bf16" if dtype == torch.bfloat16 else "fp16"
        return bool(getattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported")())
    return device.type in ("mps", "meta")


def _narrow(module: nn.Module, kind: torch.dtype, path: str) -> None:
    """Its own parameters and buffers, not those of its children."""
    for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
        if not tensor.is_floating_point():
            continue
        small = tensor.to(kind)
        if bool((small.isinf() & tensor.isfinite()).any()):
            most = tensor[tensor.isfinite()].abs().max().item()
            raise ValueError(
                f"half(dtype=float16): {f'{path}.{name}'.lstrip('.')} holds {most:.4g}, and float16 ends at 65504; "
                "use dtype='bfloat16'"
            )
        tensor.data = small


def _cast(values: Any, kind: torch.dtype) -> Any:
    """Floating tensors in any nest of tuples, lists and dicts."""
    return tree_map(lambda v: v.to(kind) if isinstance(v, torch.Tensor) and v.is_floating_point() else v, values)
