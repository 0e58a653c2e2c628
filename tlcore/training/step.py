"""One step's gradients; a batch too large for the device's memory is taken in parts."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import nn

from tlcore.training.precision import Arithmetic


class Gradients:
    """Leaves a batch's gradients in the parameters, and gives back its loss and its outputs.

    >>> net = nn.Linear(3, 2)
    >>> gradients = Gradients(net, nn.functional.cross_entropy, Arithmetic(), torch.device("cpu"))
    >>> value, out = gradients(torch.rand(5, 3), torch.tensor([0, 1, 0, 1, 1]))
    >>> value.shape, out.shape, net.weight.grad.shape
    (torch.Size([]), torch.Size([5, 2]), torch.Size([2, 3]))

    Where the device's memory does not suffice, the batch is halved, and halved again; the gradients of the parts add up
    to those of the whole batch (batch normalisation sees the parts). It is said once each time, and kept for the next.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        arithmetic: Arithmetic,
        device: torch.device,
    ) -> None:
        self.model, self.loss, self.arithmetic, self.device = model, loss, arithmetic, device
        self.parts = 1

    def __call__(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        while True:
            self.model.zero_grad(set_to_none=True)
            try:
                return self._whole(x, y) if self.parts == 1 else self._in_parts(x, y)
            except torch.OutOfMemoryError:
                if self.parts >= len(y):
                    raise
            self.parts *= 2
            torch.cuda.empty_cache()
            size = -(-len(y) // self.parts)
            warnings.warn(f"out of memory on {self.device}: batches are taken {size} rows at a time", stacklevel=3)

    def _whole(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with self.arithmetic.context(self.device):
            out = self.model(x)
            value = self.loss(out, y)
        if torch.isfinite(value):
            value.backward()
        return value.detach(), out.detach()

    def _in_parts(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        total, outs = torch.zeros((), device=self.device), []
        for some, theirs in zip(x.chunk(self.parts), y.chunk(self.parts)):
            with self.arithmetic.context(self.device):
                out = self.model(some)
                value = self.loss(out, theirs) * (len(theirs) / len(y))
            if torch.isfinite(value):
                value.backward()
            total += value.detach().float()
            outs.append(out.detach())
        return total, torch.cat(outs)
