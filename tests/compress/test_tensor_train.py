"""TT-SVD against tensorly, its error bound, and layers against those they replace."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorly import tt_to_tensor
from tensorly.decomposition import tensor_train as tensorly_train
from torch import nn

from tests.compress.test_svd import CONVS
from tlcore import anatomy, compress
from tlcore.compress.tt import full_ranks

shapes = st.lists(st.integers(1, 5), min_size=2, max_size=5).map(tuple)


def draw(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(1, 6), st.integers(0, 999))
def test_cores_are_those_of_tensorly(shape, rank, seed):
    tensor = draw(shape, seed)
    full = [min(math.prod(shape[:k]), math.prod(shape[k:])) for k in range(1, len(shape))]
    ours = compress.tt_svd(tensor, rank=min(rank, max(full)))
    theirs = tensorly_train(tensor.numpy(), [1, *(min(rank, f) for f in full), 1])
    assert [tuple(core.shape) for core in ours] == [core.shape for core in theirs]
    np.testing.assert_allclose(compress.tt_tensor(ours).numpy(), tt_to_tensor(theirs), atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(shapes, st.floats(0, 0.9), st.integers(0, 999))
def test_the_error_is_kept_and_cores_are_orthogonal(shape, error, seed):
    tensor = draw(shape, seed)
    cores = compress.tt_svd(tensor, error=error)
    assert float((compress.tt_tensor(cores) - tensor).norm()) <= error * float(tensor.norm()) + 1e-9
    for core in cores[:-1]:
        flat = core.flatten(0, 1)
        torch.testing.assert_close(flat.T @ flat, torch.eye(flat.shape[1], dtype=torch.float64))


@settings(max_examples=40, deadline=None)
@given(shapes, st.floats(0.05, 0.95), st.integers(0, 999))
def test_a_size_is_used_up_and_not_exceeded(shape, size, seed):
    tensor = draw(shape, seed)

    def numbers(rank):
        return sum(core.numel() for core in compress.tt_svd(tensor, rank=rank))

    if numbers(1) > size * tensor.numel():
        with pytest.raises(ValueError, match="less than rank 1 needs"):
            compress.tt_svd(tensor, size=size)
        return
    cores = compress.tt_svd(tensor, size=size)
    found, most = sum(core.numel() for core in cores), max(full_ranks(shape))
    assert found == max(n for n in map(numbers, range(1, most + 1)) if n <= size * tensor.numel() + 1e-9)


@pytest.mark.parametrize("name", CONVS)
def test_at_full_rank_a_convolution_is_what_it_was(name):
    conv, shape = CONVS[name]
    modes = [conv.in_channels, *(k for k in conv.kernel_size if k > 1), conv.out_channels]
    new, x = compress.tensor_train(conv, rank=max(full_ranks(modes))), torch.randn(shape)
    torch.testing.assert_close(new(x), conv(x), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(new.weight, conv.weight, atol=1e-5, rtol=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(2, 4), st.integers(0, 999))
def test_a_dense_layer_multiplies_by_the_matrix_it_stands_for(n, m, order, seed):
    torch.manual_seed(seed)
    layer, x = nn.Linear(m, n), torch.randn(2, 3, m)
    modes = [a * b for a, b in zip(compress.factors(n, order), compress.factors(m, order)[::-1])]
    most = max(full_ranks(modes))
    for rank in (1, most):
        new = compress.tensor_train(layer, rank=rank, order=order)
        torch.testing.assert_close(new(x), nn.functional.linear(x, new.weight, layer.bias), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(new.weight, layer.weight, atol=1e-4, rtol=1e-4)  # at full rank


def test_it_learns_from_the_start_and_counts_as_it_should():
    torch.manual_seed(0)
    layer = compress.TTLinear((4, 4), (4, 4), ranks=(4,))
    x = torch.randn(256, 16)
    goal = x @ torch.kron(torch.randn(4, 4), torch.randn(4, 4)).T  # of rank 1 in this format
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    losses = []
    for _ in range(200):
        loss = (layer(x) - goal).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]
    assert anatomy.profile(layer, (16,)).params == 4 * 4 * 4 * 2 + 16


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: compress.tt_svd(torch.ones(4, 4, 4), rank=5), "rank 5 is larger than every unfolding of 4x4x4"),
        (lambda: compress.tt_svd(torch.ones(4, 4, 4), rank=(5, 4)), r"number 1 is larger .* nearest: \(4, 4\)"),
        (lambda: compress.tt_svd(torch.ones(4, 4, 4), rank=(1, 2, 3)), "2 are needed"),
        (lambda: compress.tt_svd(torch.ones(4, 4, 4), error=0.1, size=0.1), "exactly one of"),
        (lambda: compress.tt_tensor([torch.ones(1, 2, 3), torch.ones(2, 2, 1)]), "cores of shapes"),
        (lambda: compress.tensor_train(nn.Linear(4, 4), rank=1, order=1), "whole number from 2 on"),
        (lambda: compress.TTLinear((2, 2), (2, 2), ranks=(1, 1)), "d, d and d - 1"),
        (lambda: compress.TTLinear((2, 2), (2, 2), ranks=(1,))(torch.ones(3, 5)), r"\(..., 4\) is accepted"),
    ],
)
def test_bad_input_gets_a_sentence(call, text):
    with pytest.raises(ValueError, match=text):
        call()
