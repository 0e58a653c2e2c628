"""Layers whose weights are tensor trains.

A dense layer: its matrix (out, in), with out = n_1 ... n_d and in = m_1 ... m_d, is read as a tensor with axes
(n_1 m_1), ..., (n_d m_d), and the layer multiplies by one core after another (Novikov et al. 2015, Tensorizing Neural
Networks, arXiv 1509.06569, section 4). A convolution: the train of its kernel (in, k_h, k_w, out) is itself a chain of
small convolutions, 1 x 1 to r_1 maps, k_h x 1 to r_2, 1 x k_w to r_3, and 1 x 1 to all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from tlcore.compress.ranks import Rule, rule
from tlcore.compress.replace import like, numbers, replaced, work
from tlcore.compress.svd import bias_of, conv_along, weights
from tlcore.compress.tt import Rank, cores_of, rank_of_size, tt_tensor


def factors(number: int, count: int) -> tuple[int, ...]:
    """`number` as a product of `count` whole numbers that are as equal as its primes allow, smallest first.

    >>> factors(4096, 4), factors(25088, 4), factors(10, 3)
    ((8, 8, 8, 8), (8, 14, 14, 16), (1, 2, 5))
    """
    primes, left, prime = [], number, 2
    while prime * prime <= left:
        while left % prime == 0:
            primes.append(prime)
            left //= prime
        prime += 1
    parts = [1] * count
    for prime in sorted([*primes, left], reverse=True):
        parts[parts.index(min(parts))] *= prime
    return tuple(sorted(parts))


class TTLinear(nn.Module):
    """A dense layer whose matrix is a tensor train: x (..., in) -> (..., out).

    >>> layer = TTLinear((8, 8), (4, 16), ranks=(3,))
    >>> layer(torch.zeros(5, 64)).shape, [tuple(core.shape) for core in layer.cores]
    (torch.Size([5, 64]), [(1, 8, 4, 3), (3, 8, 16, 1)])

    Parameters
    ----------
    out_factors, in_factors
        n_1 ... n_d and m_1 ... m_d; their products are the numbers of outputs and inputs.
    ranks
        r_1 ... r_{d-1}.
    """

    def __init__(
        self, out_factors: Sequence[int], in_factors: Sequence[int], *, ranks: Sequence[int], bias: bool = True
    ) -> None:
        super().__init__()
        self.out_factors, self.in_factors, self.ranks = tuple(out_factors), tuple(in_factors), tuple(ranks)
        if len(self.out_factors) != len(self.in_factors) or len(self.ranks) != len(self.in_factors) - 1:
            raise ValueError(
                f"TTLinear: {len(self.out_factors)} factors of the outputs, {len(self.in_factors)} of the inputs and "
                f"{len(self.ranks)} ranks; d, d and d - 1 are accepted"
            )
        self.out_features, self.in_features = math.prod(self.out_factors), math.prod(self.in_factors)
        ends = pairwise((1, *self.ranks, 1))
        self.cores = nn.ParameterList(
            torch.empty(a, n, m, b) for n, m, (a, b) in zip(self.out_factors, self.in_factors, ends)
        )
        self.bias = nn.Parameter(torch.zeros(self.out_features)) if bias else None
        # The entries of the matrix are sums of r_1 ... r_{d-1} products: He et al. 2015 asks for a variance of 2 / in.
        spread = (2 / (self.in_features * math.prod(self.ranks))) ** (0.5 / len(self.cores))
        for core in self.cores:
            nn.init.normal_(core, std=spread)

    @property
    def rank(self) -> int:
        """The largest of the ranks."""
        return max(self.ranks, default=1)

    @property
    def weight(self) -> torch.Tensor:
        """The matrix (out, in), multiplied out."""
        d = len(self.cores)
        whole = tt_tensor([core.flatten(1, 2) for core in self.cores])  # (n_1 m_1, ..., n_d m_d)
        pairs = whole.reshape([size for pair in zip(self.out_factors, self.in_factors) for size in pair])
        return pairs.permute(*range(0, 2 * d, 2), *range(1, 2 * d, 2)).reshape(self.out_features, self.in_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One core after another; the matrix is never built."""
        if x.shape[-1] != self.in_features:
            raise ValueError(f"TTLinear: inputs of shape {tuple(x.shape)}; (..., {self.in_features}) is accepted")
        leading, rest = x.shape[:-1], self.in_features
        x = x.reshape(-1, 1, 1, rest)
        for core in self.cores:  # x: (N n_1 ... n_{k-1}, r_{k-1}, m_k, m_{k+1} ... m_d)
            before, n, m, after = core.shape
            rest //= m
            x = x.reshape(-1, before * m, rest)
            matrix = core.permute(1, 3, 0, 2).reshape(n * after, before * m)  # (n_k r_k, r_{k-1} m_k)
            x = matrix @ x  # (N n_1 ... n_{k-1}, n_k r_k, m_{k+1} ... m_d)
            x = x.reshape(-1, after, rest)
        x = x.reshape(*leading, self.out_features)
        return x if self.bias is None else x + self.bias

    def extra_repr(self) -> str:
        """Sizes for `print`."""
        shown = (" x ".join(map(str, some)) for some in (self.in_factors, self.out_factors))
        return f"{', '.join(shown)}, ranks={self.ranks}, bias={self.bias is not None}"


class TTConv(nn.Sequential):
    """A convolution whose kernel (in, k_h, k_w, out) is a tensor train: a chain of small convolutions.

    >>> layer = TTConv(nn.Conv2d(8, 16, 3, stride=2, padding=1), (4, 6, 5))
    >>> [tuple(part.weight.shape) for part in layer]
    [(4, 8, 1, 1), (6, 4, 3, 1), (5, 6, 1, 3), (16, 5, 1, 1)]
    >>> layer(torch.zeros(2, 8, 32, 32)).shape, layer.weight.shape
    (torch.Size([2, 16, 16, 16]), torch.Size([16, 8, 3, 3]))

    An axis of kernel size 1 has no core; its stride and padding are done by the first convolution.
    """

    def __init__(self, conv: nn.Conv1d | nn.Conv2d | nn.Conv3d, ranks: Sequence[int]) -> None:
        wide = [axis for axis, k in enumerate(conv.kernel_size) if k > 1]
        narrow = [axis for axis, k in enumerate(conv.kernel_size) if k == 1]
        widths = list(pairwise((conv.in_channels, *ranks, conv.out_channels)))
        axes = [narrow, *([axis] for axis in wide), []]
        bias = conv.bias is not None
        chain = [conv_along(conv, own, a, b) for own, (a, b) in zip(axes[:-1], widths[:-1], strict=True)]
        super().__init__(*chain, conv_along(conv, axes[-1], *widths[-1], bias=bias))
        self.in_channels, self.out_channels, self.ranks = conv.in_channels, conv.out_channels, tuple(ranks)
        self._kernel = tuple(conv.kernel_size)

    @property
    def rank(self) -> int:
        """The largest of the ranks."""
        return max(self.ranks)

    @property
    def weight(self) -> torch.Tensor:
        """The kernel (out, in, *k), multiplied out."""
        first, *middle, last = (weight.flatten(2) for weight in weights(self))  # (r_k, r_{k-1}, size along its axis)
        cores = [first.permute(2, 1, 0), *(core.permute(1, 2, 0) for core in middle), last.permute(1, 0, 2)]
        whole = tt_tensor(cores).reshape(self.in_channels, *self._kernel, self.out_channels)
        return whole.movedim(-1, 0)

    @property
    def bias(self) -> torch.Tensor | None:
        """That of the last convolution (out,)."""
        return bias_of(self[-1])


def tensor_train(
    model: nn.Module,
    *,
    rank: Rank | Mapping[str, Rank] | None = None,
    energy: float | None = None,
    size: float | None = None,
    error: float | None = None,
    order: int = 4,
    layers: Iterable[str] | None = None,
) -> nn.Module:
    """A copy of `model` whose dense layers and convolutions hold tensor trains.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 16))
    >>> small = tensor_train(net, rank=4, order=2)
    >>> [tuple(core.shape) for core in small[3].cores]      # (N, 32) -> (N, 16): (r_{k-1}, n_k, m_k, r_k)
    [(1, 4, 8, 4), (4, 4, 4, 1)]
    >>> small(torch.zeros(2, 16, 3, 3)).shape
    torch.Size([2, 16])

    Parameters
    ----------
    model
        A network or a single layer.
    rank, energy, size, error
        Exactly one, as in `tt_svd`; a mapping gives each path its own. All but `rank` leave a layer alone that would
        not get smaller.
    order
        Into how many factors the sides of a dense matrix are split; a train of order 1 is the matrix itself.
    layers
        Module paths; default all dense layers and all convolutions in one group.

    Returns
    -------
    nn.Module
        Layers replaced in place of the old ones, under the same paths: `TTLinear`, `TTConv`.

    Warns
    -----
    UserWarning
        Names layers it cannot treat and leaves alone; says when no layer changed.

    Raises
    ------
    TypeError, ValueError
        None or several of the four, a value out of range, a rank larger than every unfolding, an unknown path.

    Notes
    -----
    Fewer numbers are not fewer multiply-adds: a 4096 x 4096 matrix as 8^4 x 8^4 holds fewer numbers up to rank 2046 and
    needs fewer multiply-adds only up to 15 (`compress.break_even`). A trained matrix has no reason to be of low rank
    when folded so: expect to train after it (Novikov et al. 2015 train such layers from the start).
    """
    if type(order) is not int or order < 2:
        raise ValueError(f"tensor_train(order={order!r}): a whole number from 2 on is accepted")
    chosen = rule("tensor_train", rank=rank, energy=energy, size=size, error=error)
    if isinstance(rank, Mapping):
        if layers is not None:
            raise ValueError("tensor_train(rank={…}, layers=…): the paths are those in rank; leave out layers")
        layers = list(rank)

    def make(path: str, layer: nn.Module) -> nn.Module | None:
        own = Rule("rank", rank[path]) if isinstance(rank, Mapping) else chosen
        new = _train(layer, own, order, f"tensor_train, layer {path!r}" if path else "tensor_train")
        return new if new is None or own.by == "rank" or numbers(new) < numbers(layer) else None

    return replaced(model, make, layers=layers, function="tensor_train")


@torch.no_grad()
def _train(layer: Any, chosen: Rule, order: int, where: str) -> nn.Module | None:
    """The layer in the format; None where even rank 1 is more than the size asked for."""
    weight, bias = work(layer.weight), layer.bias is not None
    if isinstance(layer, nn.Linear):
        n, m = factors(layer.out_features, order), factors(layer.in_features, order)[::-1]
        alternating = [axis for k in range(order) for axis in (k, order + k)]
        tensor = weight.reshape(*n, *m).permute(alternating).reshape([a * b for a, b in zip(n, m)])
    else:
        tensor = weight.movedim(0, -1)
        tensor = tensor.reshape([layer.in_channels, *(k for k in layer.kernel_size if k > 1), layer.out_channels])
    if chosen.by == "size" and not rank_of_size(tuple(tensor.shape), chosen.value):
        return None
    cores = _balanced(cores_of(tensor, chosen, where))
    ranks = [core.shape[-1] for core in cores[:-1]]
    if isinstance(layer, nn.Linear):
        new: Any = TTLinear(n, m, ranks=ranks, bias=bias)
        places = list(new.cores)
    else:
        new = TTConv(layer, ranks)
        places = [part.weight for part in new]
        first, *middle, last = cores  # convolutions hold (r_k, r_{k-1}, k)
        cores = [first.permute(2, 1, 0), *(core.permute(2, 0, 1) for core in middle), last.permute(1, 0, 2)]
    for place, core in zip(places, cores, strict=True):
        place.copy_(core.reshape(place.shape))
    new = like(new, layer)
    if bias:
        new.bias.copy_(layer.bias).requires_grad_(layer.bias.requires_grad)
    return new  # type: ignore[no-any-return]


def _balanced(cores: list[torch.Tensor]) -> list[torch.Tensor]:
    """The same train with cores of one norm: the last one holds all of it otherwise, and one rate would not fit all."""
    norms = [float(core.norm()) for core in cores]
    if not all(norms):
        return cores
    mean = math.prod(norm ** (1 / len(norms)) for norm in norms)
    return [core * (mean / norm) for core, norm in zip(cores, norms)]
