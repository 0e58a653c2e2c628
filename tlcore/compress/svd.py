"""Low-rank layers: a matrix, or a kernel flattened to one, as the product of two thin ones.

A dense layer becomes two. A k x k convolution becomes two as well, in one of two ways of flattening its kernel:

- ``channel``: rows are the filters, (O, I k k): a k x k convolution to r maps, then 1 x 1 (Zhang et al. 2016,
  arXiv 1505.06798);
- ``spatial``: (I k_h, k_w O): a k_h x 1 convolution to r maps, then 1 x k_w (Jaderberg et al. 2014, arXiv 1405.3866,
  scheme 2).

Cut off after the r largest singular values, the product is the best matrix of rank r (Eckart and Young 1936).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import nn

from tlcore.compress.ranks import Rule, rank_for, rule
from tlcore.compress.replace import CONVS, like, numbers, replaced, work

Flatten = Literal["channel", "spatial"]
FLATTEN: tuple[Flatten, ...] = ("channel", "spatial")


class LowRankLinear(nn.Sequential):
    """A dense layer of rank r: x (..., in) -> (..., r) -> (..., out).

    >>> layer = LowRankLinear(64, 10, 4)
    >>> layer(torch.zeros(2, 64)).shape, layer.weight.shape, layer.rank
    (torch.Size([2, 10]), torch.Size([10, 64]), 4)
    """

    def __init__(self, in_features: int, out_features: int, rank: int, *, bias: bool = True) -> None:
        super().__init__(nn.Linear(in_features, rank, bias=False), nn.Linear(rank, out_features, bias=bias))
        self.in_features, self.out_features, self.rank = in_features, out_features, rank

    @property
    def weight(self) -> torch.Tensor:
        """The matrix that both make together (out, in)."""
        first, second = weights(self)
        return second @ first

    @property
    def bias(self) -> torch.Tensor | None:
        """That of the second layer (out,)."""
        return bias_of(self[-1])


class LowRankConv(nn.Sequential):
    """A convolution of rank r: to r maps and on to all; stride, padding and dilation are those of the original.

    >>> layer = LowRankConv(nn.Conv2d(8, 16, 3, stride=2, padding=1), 5, flatten="spatial")
    >>> layer
    LowRankConv(
      (0): Conv2d(8, 5, kernel_size=(3, 1), stride=(2, 1), padding=(1, 0), bias=False)
      (1): Conv2d(5, 16, kernel_size=(1, 3), stride=(1, 2), padding=(0, 1))
    )
    >>> layer(torch.zeros(2, 8, 32, 32)).shape, layer.weight.shape
    (torch.Size([2, 16, 16, 16]), torch.Size([16, 8, 3, 3]))
    """

    def __init__(self, conv: nn.Conv1d | nn.Conv2d | nn.Conv3d, rank: int, *, flatten: Flatten = "channel") -> None:
        axes = len(conv.kernel_size)
        first = range(axes) if flatten == "channel" else (0,)
        then = () if flatten == "channel" else (1,)
        super().__init__(
            conv_along(conv, first, conv.in_channels, rank),
            conv_along(conv, then, rank, conv.out_channels, bias=conv.bias is not None),
        )
        self.in_channels, self.out_channels, self.rank, self.flatten = (
            conv.in_channels,
            conv.out_channels,
            rank,
            flatten,
        )

    @property
    def weight(self) -> torch.Tensor:
        """The kernel that both make together (O, I, *k)."""
        first, second = weights(self)  # (r, I, *k) and (O, r, *1); or (r, I, k_h, 1), (O, r, 1, k_w)
        if self.flatten == "channel":
            return torch.einsum("or,ri...->oi...", second.flatten(1), first)
        return torch.einsum("rih,orw->oihw", first[..., 0], second[..., 0, :])

    @property
    def bias(self) -> torch.Tensor | None:
        """That of the second convolution (O,)."""
        return bias_of(self[-1])


def weights(parts: Iterable[Any]) -> list[torch.Tensor]:
    """Those of all parts of a layer."""
    return [part.weight for part in parts]


def bias_of(part: Any) -> torch.Tensor | None:
    """That of one part, if it has one."""
    found: torch.Tensor | None = part.bias
    return found


def conv_along(conv: Any, axes: Iterable[int], channels_in: int, channels_out: int, *, bias: bool = False) -> nn.Module:
    """A convolution with the kernel, stride, padding and dilation of `conv` along some axes, and 1 along the others."""
    count, kept = len(conv.kernel_size), set(axes)

    def along(values: Any, other: int) -> tuple[int, ...]:
        return tuple(values[axis] if axis in kept else other for axis in range(count))

    padding = conv.padding if isinstance(conv.padding, str) else along(conv.padding, 0)
    kind: Any = CONVS[count]
    made: nn.Module = kind(
        channels_in, channels_out, along(conv.kernel_size, 1), along(conv.stride, 1), padding,
        along(conv.dilation, 1), bias=bias, padding_mode=conv.padding_mode,
    )  # fmt: skip
    return made


def svd(
    model: nn.Module,
    *,
    rank: int | Mapping[str, int] | None = None,
    energy: float | None = None,
    size: float | None = None,
    error: float | None = None,
    flatten: Flatten = "channel",
    layers: Iterable[str] | None = None,
) -> nn.Module:
    """A copy of `model` whose dense layers and convolutions are products of two thin ones.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 8))
    >>> small = svd(net, rank=4)
    >>> small[0]                                            # (N, 16, H, W) -> (N, 4, H', W') -> (N, 32, H', W')
    LowRankConv(
      (0): Conv2d(16, 4, kernel_size=(3, 3), stride=(1, 1), bias=False)
      (1): Conv2d(4, 32, kernel_size=(1, 1), stride=(1, 1))
    )
    >>> small(torch.zeros(2, 16, 3, 3)).shape
    torch.Size([2, 8])
    >>> svd(nn.Linear(64, 64), size=0.5).rank               # 64 * 64 / 2 = 16 * (64 + 64)
    16

    Parameters
    ----------
    model
        A network or a single layer.
    rank, energy, size, error
        Exactly one. `rank`: the rank of every treated layer, or one for each path. `energy`: the smallest rank that
        keeps this share of the sum of squared singular values. `size`: the largest rank that leaves this share of the
        weights. `error`: the smallest rank with ||W - W_r|| <= error ||W|| (Frobenius), so the same as an energy of
        1 - error². All but `rank` leave a layer alone that would not get smaller.
    flatten
        How a kernel becomes a matrix: "channel" or "spatial" (the second for two axes only).
    layers
        Module paths; default all dense layers and all convolutions in one group.

    Returns
    -------
    nn.Module
        Layers replaced in place of the old ones, under the same paths: `LowRankLinear`, `LowRankConv`.
        `compress.changes` lists them.

    Warns
    -----
    UserWarning
        Names layers it cannot treat and leaves alone; says when no layer changed.

    Raises
    ------
    TypeError, ValueError
        None or several of the four, a value out of range, a rank larger than a matrix, an unknown path.

    Notes
    -----
    The lecture's examples: a 4096 x 4096 matrix gets smaller below rank 2048, a 512 x 256 x 3 x 3 kernel below 419, and
    512 if flattened spatially; `compress.break_even` computes them.
    """
    if flatten not in FLATTEN:
        raise ValueError(f"svd(flatten={flatten!r}): accepted are {', '.join(FLATTEN)}")
    chosen = rule("svd", rank=rank, energy=energy, size=size, error=error)
    if isinstance(rank, Mapping):
        if layers is not None:
            raise ValueError("svd(rank={…}, layers=…): the paths are those in rank; leave out layers")
        layers = list(rank)

    def make(path: str, layer: nn.Module) -> nn.Module | None:
        own = Rule("rank", rank[path]) if isinstance(rank, Mapping) else chosen
        new = _low_rank(layer, own, flatten, f"svd, layer {path!r}" if path else "svd")
        return new if new is None or own.by == "rank" or numbers(new) < numbers(layer) else None

    return replaced(model, make, layers=layers, function="svd")


@torch.no_grad()
def _low_rank(layer: Any, chosen: Rule, flatten: Flatten, where: str) -> LowRankLinear | LowRankConv | None:
    """The pair of layers; None where even rank 1 is more than the size asked for."""
    weight = work(layer.weight)
    spatial = flatten == "spatial" and weight.ndim > 2
    if spatial and weight.ndim != 4:
        raise ValueError(
            f"{where}: flatten='spatial' needs two axes and the kernel has {weight.ndim - 2}; use 'channel'"
        )
    # (I k_h, k_w O), or (O, I k k)
    matrix = weight.permute(1, 2, 3, 0).flatten(2).flatten(0, 1) if spatial else weight.flatten(1)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    r = rank_for(chosen, values, numbers=matrix.numel(), each=sum(matrix.shape), where=where)
    if not r:
        return None
    root = values[:r].sqrt()  # half to each side: both then have entries of one size
    left, right = left[:, :r] * root, root[:, None] * right[:r]
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        made: Any = LowRankLinear(layer.in_features, layer.out_features, r, bias=bias)
    else:
        made = LowRankConv(layer, r, flatten=flatten)
    first, second = (left.T, right.T) if spatial else (right, left)
    if spatial:
        kh, kw = layer.kernel_size
        first = first.reshape(r, layer.in_channels, kh, 1)
        second = right.reshape(r, kw, layer.out_channels).permute(2, 0, 1)[:, :, None]  # (O, r, 1, k_w)
    new: Any = like(made, layer)
    for part, values in ((new[0], first), (new[1], second)):
        part.weight.copy_(values.reshape(part.weight.shape))
    if bias:
        new[1].bias.copy_(layer.bias).requires_grad_(layer.bias.requires_grad)
    return new  # type: ignore[no-any-return]
