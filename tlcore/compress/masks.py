"""Weights that are 0 and stay 0 while the others are trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def masked(model: nn.Module, masks: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Inside, the weights where a mask is False are 0 and get no gradient; put the network on its device before.

    >>> net = nn.Linear(2, 1)
    >>> with masked(net, {"weight": torch.tensor([[True, False]])}):
    ...     net(torch.ones(1, 2)).sum().backward()
    >>> net.weight[0, 1].item(), net.weight.grad.tolist()
    (0.0, [[1.0, 0.0]])

    A weight of 0 without gradient stays 0 under every optimizer that starts here: its momentum is 0, and weight decay
    takes a share of 0.

    Raises
    ------
    ValueError
        For a mask without its parameter, or of another shape.
    """
    known, handles = dict(model.named_parameters()), []
    for name, mask in masks.items():
        if name not in known or known[name].shape != mask.shape:
            there = f"is {tuple(known[name].shape)}" if name in known else "is not there"
            raise ValueError(
                f"masked: a mask {tuple(mask.shape)} for {name!r}, which {there}; equal shapes are accepted"
            )
    try:
        for name, mask in masks.items():
            parameter = known[name]
            keep = mask.to(parameter.device)
            with torch.no_grad():
                parameter.masked_fill_(~keep, 0)
            if parameter.requires_grad:
                handles.append(parameter.register_hook(lambda g, keep=keep: g.masked_fill(~keep.to(g.device), 0)))
        yield
    finally:
        for handle in handles:
            handle.remove()
