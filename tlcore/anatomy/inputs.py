"""From the `input_size` a user gives to the tensors a network is run on."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

Example = tuple[int, ...] | torch.Tensor  # the shape of one input with its batch of one, or the input itself
InputSize = Sequence[int] | torch.Tensor | Sequence[Sequence[int] | torch.Tensor]


def examples(model: nn.Module, input_size: Any, function: str) -> list[Example]:
    """One shape (with a batch of one) or tensor for each input of `model`.

    >>> examples(nn.Conv2d(3, 8, 3), (3, 32, 32), "profile"), examples(nn.Conv2d(3, 8, 3), (16, 3, 32, 32), "profile")
    ([(1, 3, 32, 32)], [(1, 3, 32, 32)])

    Raises
    ------
    TypeError, ValueError
        If `input_size` is not of an accepted form, or there are not enough of them.
    """
    say, wanted = f"{function}(input_size={shown(input_size)})", "(C, H, W), (N, C, H, W) or an example tensor"
    needed = _needed(model)
    if isinstance(input_size, torch.Tensor):
        given: list[Any] = [input_size] * max(len(needed), 1)
    elif not isinstance(input_size, (tuple, list)) or not input_size:
        raise TypeError(f"{say}: give {wanted}")
    elif isinstance(input_size[0], (tuple, list, torch.Tensor)):
        given = list(input_size)
    else:
        given = [input_size] * max(len(needed), 1)
    if len(given) < len(needed):
        names = ", ".join(repr(name) for name in needed)
        raise ValueError(f"{say}: this network takes {len(needed)} inputs ({names}); give one tuple for each")
    conv = _first_conv(model)
    return [_example(one, conv if len(given) == 1 else None, say, wanted) for one in given]


def build(given: Sequence[Example], device: torch.device, dtype: torch.dtype, *, indices: bool) -> list[torch.Tensor]:
    """The tensors themselves: noise of a fixed seed, or zeros for a network that looks things up (`indices`)."""
    noise, made = torch.Generator().manual_seed(0), []
    for one in given:
        if isinstance(one, torch.Tensor):
            tensor = one.detach()
        elif indices:
            tensor = torch.zeros(one, dtype=torch.long, device=device)
        elif device.type == "meta":
            tensor = torch.empty(one, dtype=dtype, device=device)
        else:
            tensor = torch.randn(one, generator=noise, device="cpu").to(dtype)
        made.append(tensor.to(device))
    return made


def _example(size: Any, conv: nn.Module | None, say: str, wanted: str) -> Example:
    if isinstance(size, torch.Tensor):
        return size
    if not isinstance(size, (tuple, list)) or not all(isinstance(n, int) and not isinstance(n, bool) for n in size):
        raise TypeError(f"{say}: every entry must be an int; give {wanted}")
    if not size or any(n < 1 for n in size):
        raise ValueError(f"{say}: every entry must be at least 1")
    if conv is None:
        return (1, *size[1:]) if len(size) == 4 else (1, *size)
    rank = len(conv.kernel_size)  # type: ignore[arg-type]
    if len(size) not in (rank, rank + 1, rank + 2):
        form = {1: "(C, L)", 2: "(C, H, W)", 3: "(C, D, H, W)"}[rank]
        raise ValueError(
            f"{say}: this network works on {rank} spatial axes, so give {form}, or the same behind a batch size"
        )
    return (1, *([conv.in_channels] if len(size) == rank else []), *size[-rank - 1 :])  # type: ignore[list-item]


def _first_conv(model: nn.Module) -> nn.Module | None:
    """The convolution that tells how many spatial axes an input has; None if indices come first or there is none."""
    for module in model.modules():
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
            return None
        if isinstance(module, nn.modules.conv._ConvNd):
            return module
    return None


def _needed(model: nn.Module) -> list[str]:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    arguments = inspect.signature(model.forward).parameters.values()
    return [a.name for a in arguments if a.kind in positional and a.default is inspect.Parameter.empty]


def shown(input_size: Any) -> str:
    """An `input_size` for an error message: example tensors by their shapes."""
    if isinstance(input_size, torch.Tensor):
        return f"a tensor of shape {tuple(input_size.shape)}"
    if isinstance(input_size, (tuple, list)):
        inside = ", ".join(shown(one) for one in input_size)
        return f"({inside}{',' if len(input_size) == 1 else ''})"
    return repr(input_size)
