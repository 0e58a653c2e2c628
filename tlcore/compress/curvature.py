"""The diagonal of a loss's Hessian, exactly and in three ways that scale.

All take a `Problem`: named tensors at which we differentiate, and the network's outputs as a function of them. The
network is in evaluation mode, so batch normalisation is a fixed linear map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.func import functional_call, grad, jacrev, vmap
from torch.nn.functional import cross_entropy

from tlcore.compress.given import Rows

Point = dict[str, torch.Tensor]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Problem:
    """Where to differentiate: tensors by name, outputs (N, K) as a function of them and of inputs, and a mean loss.

    If `row_wise`, a tensor may also come with N rows, one for each input: then single rows' gradients cost no more.
    """

    point: Point
    outputs: Callable[[Point, torch.Tensor], torch.Tensor]
    loss: Loss = cross_entropy
    row_wise: bool = False

    def fresh(self) -> Point:
        """The tensors as leaves of a new graph."""
        return {name: tensor.detach().clone().requires_grad_() for name, tensor in self.point.items()}

    def zeros(self) -> Point:
        return {name: torch.zeros_like(tensor) for name, tensor in self.point.items()}

    def gradient(self, point: Point, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """All gradients in one row, with the graph that made them."""
        value = self.loss(self.outputs(point, x), y)
        parts = torch.autograd.grad(value, list(point.values()), create_graph=True, materialize_grads=True)
        return torch.cat([part.flatten() for part in parts])


def of_weights(model: torch.nn.Module, names: list[str], loss: Loss) -> Problem:
    """The problem whose tensors are parameters of a network."""
    known = dict(model.named_parameters())
    point = {name: known[name].detach() for name in names}
    return Problem(point, lambda some, x: functional_call(model, some, (x,)), loss)


def exact_diagonal(problem: Problem, rows: Rows, *, chunk: int = 64) -> Point:
    """Every H_kk, by as many Hessian-vector products as there are numbers k: H e_k has H_kk at place k.

    >>> weights = {"w": torch.tensor([1.0, 2.0])}  # the loss below is w1² + 3 w2²
    >>> problem = Problem(weights, lambda p, x: p["w"], lambda out, y: (out.square() * torch.tensor([1.0, 3.0])).sum())
    >>> exact_diagonal(problem, [(torch.ones(1), torch.ones(1))])["w"].tolist()
    [2.0, 6.0]
    """
    total, many = torch.cat([t.flatten() for t in problem.zeros().values()]), _count(rows)
    for x, y in rows:
        point = problem.fresh()
        first = problem.gradient(point, x, y)
        if not first.requires_grad:
            continue  # the loss is linear here
        for ks in torch.arange(len(first), device=first.device).split(chunk):
            units = torch.zeros(len(ks), len(first), dtype=first.dtype, device=first.device)
            units[torch.arange(len(ks)), ks] = 1
            parts = torch.autograd.grad(
                first, list(point.values()), units, is_grads_batched=True, retain_graph=True, materialize_grads=True
            )
            columns = torch.cat([part.flatten(1) for part in parts], 1)  # (k, n)
            total[ks] += columns.gather(1, ks[:, None])[:, 0] * (len(y) / many)
    return _split(total, problem.point)


def hutchinson_diagonal(problem: Problem, rows: Rows, *, samples: int = 100, seed: int = 0) -> Point:
    """An unbiased estimate: the mean of v * Hv over random signs v (Bekas, Kokiopoulou, Saad 2007).

    One Hessian-vector product a sample, each on its own part of the rows. For place k its variance is about the sum of
    the squares of the rest of H's row k, divided by `samples`.

    >>> weights = {"w": torch.tensor([1.0, 2.0])}
    >>> problem = Problem(weights, lambda p, x: p["w"], lambda out, y: (out.square() * torch.tensor([1.0, 3.0])).sum())
    >>> hutchinson_diagonal(problem, [(torch.ones(1), torch.ones(1))], samples=1)["w"].tolist()  # H is diagonal
    [2.0, 6.0]
    """
    total, many = torch.cat([t.flatten() for t in problem.zeros().values()]), _count(rows)
    draws = torch.Generator().manual_seed(seed)
    pieces, passes = _pieces(rows, samples)
    for x, y in pieces:
        point = problem.fresh()
        first = problem.gradient(point, x, y)
        if not first.requires_grad:
            continue
        for _ in range(passes):
            signs = (torch.randint(2, (len(first),), generator=draws) * 2 - 1).to(first)
            parts = torch.autograd.grad(first, list(point.values()), signs, retain_graph=True, materialize_grads=True)
            product = torch.cat([part.flatten() for part in parts])
            total += signs * product * (len(y) / many / passes)
    return _split(total, problem.point)


def gauss_newton_diagonal(problem: Problem, rows: Rows, *, chunk: int = 32) -> Point:
    """The diagonal of the Gauss-Newton matrix, the mean of JᵀH_out J over rows; never below 0 for a convex loss.

    H without the terms in which the network itself bends, as LeCun et al. 1990 leave them out ("Levenberg-Marquardt
    approximation"); for cross-entropy also the Fisher matrix. As many backward passes as there are outputs.

    >>> weights = {"w": torch.tensor([1.0, 2.0])}  # out = w1 w2, loss (out - y)²: J = (w2, w1), H_out = 2
    >>> problem = Problem(weights, lambda p, x: p["w"].prod().view(1, 1), lambda out, y: (out - y).square().mean())
    >>> gauss_newton_diagonal(problem, [(torch.ones(1, 1), torch.ones(1))])["w"].tolist()
    [8.0, 2.0]
    """
    total, many = problem.zeros(), _count(rows)
    frozen = {name: tensor.detach() for name, tensor in problem.point.items()}

    def along(point: Point, x: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
        return (problem.outputs(point, x[None])[0] * direction).sum()

    each = vmap(grad(along), in_dims=(None, 0, 0), chunk_size=chunk)
    bends = vmap(jacrev(jacrev(lambda out, y: problem.loss(out[None], y[None]))))
    for x, y in rows:
        with torch.no_grad():
            out = problem.outputs(frozen, x)
            values, vectors = torch.linalg.eigh(bends(out, y))  # (N, K), (N, K, K)
        if problem.row_wise:
            own = {n: t.expand(len(x), *t.shape).clone().requires_grad_() for n, t in frozen.items()}
            out = problem.outputs(own, x)
            for k in range(values.shape[1]):
                if not values[:, k].abs().max() > 1e-12 * values.abs().max():
                    continue
                ahead = (out * vectors[:, :, k]).sum()
                parts = torch.autograd.grad(ahead, list(own.values()), retain_graph=True, materialize_grads=True)
                for name, g in zip(own, parts, strict=True):
                    total[name] += (g.square() * values[:, k].view(-1, *[1] * (g.ndim - 1))).sum(0) / many
            continue
        for k in range(values.shape[1]):
            for at in range(0, len(x), chunk):
                part = slice(at, at + chunk)
                some = values[part, k]
                if not some.abs().max() > 1e-12 * values.abs().max():
                    continue  # softmax's Hessian has one direction of no curvature
                gradients = each(frozen, x[part], vectors[part, :, k])
                for name, g in gradients.items():
                    total[name] += (g.square() * some.view(-1, *[1] * (g.ndim - 1))).sum(0) / many
    return total


def fisher_diagonal(problem: Problem, rows: Rows, *, samples: int = 100, seed: int = 0) -> Point:
    """An unbiased estimate of the same for cross-entropy, one ordinary backward pass a sample.

    H_out = diag(p) - ppᵀ of each row is S Sᵀ with S = diag(√p) - p √pᵀ. With random signs r, the square of the sum of
    JᵀSr over rows has the mean of the sum of JᵀH_out J. Each sample takes its own part of the rows; the relative error
    of each number is about sqrt(2 / samples). Drawing labels from p in place of signs ("Sophia", Liu et al. 2023) is
    unbiased too, but where the network is sure nearly every draw has a gradient near 0, and rare ones the rest.
    """
    if problem.loss is not cross_entropy:
        raise ValueError("saliency(method='fisher'): cross-entropy only; for other losses 'gauss_newton' is accepted")
    total, many = problem.zeros(), _count(rows)
    draws = torch.Generator().manual_seed(seed)
    pieces, passes = _pieces(rows, samples)
    for x, _ in pieces * passes:
        point = problem.fresh()
        out = problem.outputs(point, x)
        p = out.detach().softmax(1)  # (n, K)
        signs = p.sqrt() * (torch.randint(2, p.shape, generator=draws) * 2 - 1).to(p)
        direction = signs - p * signs.sum(1, keepdim=True)
        parts = torch.autograd.grad(out, list(point.values()), direction, materialize_grads=True)
        for name, g in zip(point, parts, strict=True):
            total[name] += g.square() / (passes * many)
    return total


def _pieces(rows: Rows, samples: int) -> tuple[Rows, int]:
    """The rows in about as many parts as there are samples, and how often to go over them."""
    size = max(1, _count(rows) // samples)
    pieces = [(x[n : n + size], y[n : n + size]) for x, y in rows for n in range(0, len(y), size)]
    return pieces, -(-samples // len(pieces))


def _count(rows: Rows) -> int:
    return sum(len(y) for _, y in rows)


def _split(flat: torch.Tensor, like: Point) -> Point:
    pieces = flat.split([tensor.numel() for tensor in like.values()])
    return {name: piece.view_as(tensor).clone() for (name, tensor), piece in zip(like.items(), pieces, strict=True)}
