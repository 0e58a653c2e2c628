"""Networks in 8 bits by torch's own quantisation.

Without data, dense and recurrent layers hold int8 weights, and their inputs are rounded to 8 bits at each call, with
the range of that call ("dynamic"). With data, convolutions too compute in int8, with ranges seen on the data
("static").
Jacob et al. 2018, arXiv 1712.05877.
"""

from __future__ import annotations

import copy
import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from tlcore.anatomy.layers import check_model, kind_of, parts
from tlcore.compress.half import Half
from tlcore.worlds import Dataset
from tlcore.worlds.dataset import as_floats

DYNAMIC = (nn.Linear, nn.LSTM, nn.GRU)


def int8(model: nn.Module, *, data: Dataset | torch.Tensor | None = None, batch_size: int = 64) -> nn.Module:
    """A copy of `model` with 8-bit weights, about a quarter as large, for processors.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    >>> small = int8(net)
    >>> small[0].weight().dtype, small(torch.rand(2, 64)).shape
    (torch.qint8, torch.Size([2, 10]))
    >>> images = torch.rand(32, 3, 8, 8)                    # (N, 3, 8, 8): 8-bit convolutions need to see some
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    >>> int8(net, data=images)(images).shape
    torch.Size([32, 10])

    Parameters
    ----------
    model
        Any network; with data, one that torch.fx can trace.
    data
        Images (N, C, H, W) or whatever the network takes, as it will see in use; a few hundred suffice. Labels are not
        read.
    batch_size
        How many of them go through at once.

    Returns
    -------
    nn.Module
        On the CPU, in evaluation mode; it cannot be trained.

    Warns
    -----
    UserWarning
        Names layers that stay in float32.

    Raises
    ------
    TypeError, ValueError
        For no network, data that is none, a network that has no layer to treat or cannot be traced.
    """
    check_model(model, "int8")
    net = copy.deepcopy(model.model if isinstance(model, Half) else model).cpu().float().eval()
    if data is None:
        _said(net, "give data= for convolutions", set(DYNAMIC))
        ao = _torch_ao("torch.ao.quantization")
        with _quiet():
            # it replaces children only, so that a single layer has to be one
            return ao.quantize_dynamic(nn.Sequential(net), set(DYNAMIC), dtype=torch.qint8)[0]  # type: ignore[no-any-return]
    inputs: Any = data.inputs if isinstance(data, Dataset) else data
    inputs = as_floats(inputs) if isinstance(inputs, torch.Tensor) else inputs
    if not isinstance(inputs, torch.Tensor) or not len(inputs):
        raise TypeError(f"int8(data={type(data).__name__}): a tensor or a Dataset with at least one input is accepted")
    fx, ao = _torch_ao("torch.ao.quantization.quantize_fx"), _torch_ao("torch.ao.quantization")
    engine = torch.backends.quantized.engine
    with _quiet(), torch.no_grad():
        try:
            watched = fx.prepare_fx(net, ao.get_default_qconfig_mapping(engine), (inputs[:1].cpu(),))
        except Exception as error:  # whatever tracing meets in the user's forward
            text = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ValueError(f"int8(data=…): torch.fx cannot trace this network ({text}); leave out data") from error
        for batch in inputs.split(batch_size):
            watched(batch.cpu())
        made = fx.convert_fx(watched)
    _said(made, "torch's default scheme has no 8-bit form for them", set())
    return made  # type: ignore[no-any-return]


def _said(net: nn.Module, why: str, treated: set[Any]) -> None:
    """Name the layers that stay as they are."""
    owners = [(path, module) for path, module, layer in parts(net) if any(p.ndim > 1 for p in module.parameters(layer))]
    left = [
        f"{path or 'the model itself'!r} ({kind_of(module)})" for path, module in owners if type(module) not in treated
    ]
    if treated and len(left) == len(owners):
        raise ValueError(
            f"int8: no dense or recurrent layer, so nothing can be done without data; there are {', '.join(left[:6])}: "
            "give data= for convolutions"
        )
    if left:
        shown = ", ".join(left[:6]) + (f" and {len(left) - 6} more" if len(left) > 6 else "")
        warnings.warn(f"int8: left alone in float32: {shown}; {why}", stacklevel=3)


def _torch_ao(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"int8: this torch ({torch.__version__}) has no {name} any more; int8 needs an older one"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Torch says at every call that these tools will move to another package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
