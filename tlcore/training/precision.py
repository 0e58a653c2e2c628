"""Which arithmetic and memory order is fastest here: measured on the network itself, not looked up."""

from __future__ import annotations

import copy
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tlcore.runtime import same_draws_after

_STEPS = 3


@dataclass(frozen=True)
class Arithmetic:
    """How a step is computed: bfloat16 for convolutions and products or float32, channels last in memory or first."""

    bf16: bool = False
    channels_last: bool = False

    def context(self, device: torch.device) -> AbstractContextManager[Any]:
        """Surroundings of the forward pass."""
        return torch.autocast(device.type, torch.bfloat16) if self.bf16 else nullcontext()

    def images(self, x: torch.Tensor) -> torch.Tensor:
        """Inputs in the memory order chosen."""
        return x.contiguous(memory_format=torch.channels_last) if self.channels_last and x.ndim == 4 else x

    def model(self, net: nn.Module) -> nn.Module:
        """The network's kernels in the memory order chosen."""
        return net.to(memory_format=torch.channels_last) if self.channels_last else net  # type: ignore[call-overload]


CHOICES = (Arithmetic(), Arithmetic(channels_last=True), Arithmetic(bf16=True, channels_last=True))


def fastest(net: nn.Module, x: torch.Tensor, choices: tuple[Arithmetic, ...] = CHOICES) -> Arithmetic:
    """Take a few steps in each way on a copy of `net`, and return the way whose best step is the shortest.

    Where inputs are no images, the order in memory means nothing, and only what is left of the choices is tried.
    """
    if len(choices) > 1 and x.ndim != 4:
        choices = tuple(choice for choice in choices if not choice.channels_last)
    if len(choices) == 1:
        return choices[0]
    best, least = Arithmetic(), float("inf")
    with same_draws_after(x.device):
        for choice in choices:
            trial = choice.model(copy.deepcopy(net)).train()
            seconds = min(_step(trial, choice, x) for _ in range(_STEPS))
            if seconds < 0.95 * least:  # a gain that small may be chance; the simpler way comes first
                best, least = choice, seconds
    return best


def _step(net: nn.Module, choice: Arithmetic, x: torch.Tensor) -> float:
    start = time.perf_counter()
    with choice.context(x.device):
        out = net(choice.images(x))
    (out[0] if isinstance(out, tuple) else out).float().square().mean().backward()
    if x.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start
