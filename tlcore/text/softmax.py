"""Cross-entropy after a large linear layer, a few rows at a time: the scores of a whole batch never exist at once.

A batch of 32 texts, 70 steps and 8 000 pieces has 18 million scores, and as many gradients. Made, used and forgotten in
pieces that fit the processor's cache they cost half the time, and hardly any memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional as F

IGNORED = -100


def linear_cross_entropy(
    h: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, y: torch.Tensor, *, bf16: bool = False
) -> torch.Tensor:
    """The mean of ``cross_entropy(h @ weight.T + bias, y)`` over targets that are not -100.

    >>> h, weight, bias = torch.randn(6, 4), torch.randn(9, 4), torch.randn(9)
    >>> y = torch.tensor([0, 8, 3, -100, 1, 1])
    >>> torch.allclose(linear_cross_entropy(h, weight, bias, y), F.cross_entropy(F.linear(h, weight, bias), y))
    True

    Parameters
    ----------
    h, weight, bias, y
        (N, E), (V, E), (V,), (N,).
    bf16
        Products in bfloat16; sums stay float32.
    """
    if torch.is_grad_enabled() and (h.requires_grad or weight.requires_grad or bias.requires_grad):
        return _InPieces.apply(h, weight, bias, y, bf16)  # type: ignore[no-any-return]
    total = sum(F.cross_entropy(z, t, reduction="sum") for z, t, _ in _pieces(h, weight, bias, y, bf16))
    return total / (y != IGNORED).sum()  # type: ignore[return-value]


def _pieces(h: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, y: torch.Tensor, bf16: bool) -> Any:
    kind = torch.bfloat16 if bf16 else weight.dtype
    h, across, bias = h.to(kind), weight.to(kind).T, bias.to(kind)
    rows = 4096 if h.is_cuda else 256
    for start in range(0, len(h), rows):
        part = h[start : start + rows]
        yield torch.addmm(bias, part, across).float(), y[start : start + rows], part


class _InPieces(torch.autograd.Function):
    """Gradients are made together with the loss, while the scores are at hand."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, h: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, y: torch.Tensor, bf16: bool
    ) -> torch.Tensor:
        kind = torch.bfloat16 if bf16 else weight.dtype
        plain = weight.to(kind)
        count = (y != IGNORED).sum()
        total = torch.zeros((), device=h.device)
        to_h, to_weight, to_bias = [], torch.zeros_like(weight), torch.zeros_like(bias)
        for z, t, part in _pieces(h, weight, bias, y, bf16):
            t = t[:, None]
            counts = t != IGNORED
            t = t.clamp_min(0)
            sums = z.logsumexp(1, keepdim=True)
            total += ((sums - z.gather(1, t)) * counts).sum()
            z.sub_(sums).exp_().scatter_add_(1, t, -torch.ones_like(sums)).mul_(counts / count)  # d loss / d z
            to_bias += z.sum(0)
            short = z.to(kind)
            to_h.append(short @ plain)
            to_weight += short.T @ part
        ctx.save_for_backward(torch.cat(to_h).to(h.dtype), to_weight, to_bias)
        return total / count

    @staticmethod
    def backward(ctx: Any, scale: torch.Tensor) -> Any:  # type: ignore[override]
        to_h, to_weight, to_bias = ctx.saved_tensors
        return to_h * scale, to_weight * scale, to_bias * scale, None, None
