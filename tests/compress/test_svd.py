"""Low-rank layers against torch's own ranks and layers, the profile, and the lecture's two examples."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tlcore import anatomy, compress
from tlcore.compress.ranks import smallest_rank

CONVS = {
    "plain": (nn.Conv2d(6, 8, 3, padding=1), (2, 6, 9, 9)),
    "strided": (nn.Conv2d(6, 8, (3, 5), stride=(2, 1), padding=(1, 0)), (2, 6, 9, 11)),
    "dilated": (nn.Conv2d(6, 8, 3, padding=2, dilation=2, bias=False), (2, 6, 9, 9)),
    "reflected": (nn.Conv2d(6, 8, 3, padding="same", padding_mode="reflect"), (2, 6, 9, 9)),
    "1x1": (nn.Conv2d(6, 8, 1, stride=2, padding=1), (2, 6, 9, 9)),
    "1-D": (nn.Conv1d(6, 8, 5, padding=2, stride=2), (2, 6, 12)),
    "3-D": (nn.Conv3d(4, 5, 2, stride=2), (2, 4, 6, 6, 6)),
}


def full_rank(conv: nn.Module, flatten: str) -> int:
    out, into, *k = conv.weight.shape
    return min(into * k[0], k[1] * out) if flatten == "spatial" else min(out, conv.weight[0].numel())


@pytest.mark.parametrize(
    ("name", "flatten"),
    [
        (name, flatten)
        for name in CONVS
        for flatten in ("channel", "spatial")
        if flatten == "channel" or "-D" not in name
    ],
)
def test_at_full_rank_a_convolution_is_what_it_was(name, flatten):
    conv, shape = CONVS[name]
    new, x = compress.svd(conv, rank=full_rank(conv, flatten), flatten=flatten), torch.randn(shape)
    torch.testing.assert_close(new(x), conv(x), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(new.weight, conv.weight, atol=1e-5, rtol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 999), st.sampled_from(["energy", "error", "size"]))
def test_the_rank_is_the_smallest_that_is_good_enough_or_the_largest_that_fits(n, m, seed, by):
    weight = torch.randn(n, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values = torch.linalg.svdvals(weight)
    gone = [float(values[r:].square().sum()) for r in range(len(values) + 1)]
    share = 0.8 if by != "error" else 0.3
    if by == "size":
        fits = [r for r in range(1, len(values) + 1) if r * (n + m) <= share * n * m]
        want = max(fits, default=0)
    else:
        tail = 1 - share if by == "energy" else share**2
        want = min(r for r in range(1, len(values) + 1) if gone[r] <= tail * gone[0] * (1 + 1e-9))
        assert smallest_rank(values, tail) == want
    layer = nn.Linear(m, n).double()
    layer.weight.data = weight
    if not want or want * (n + m) >= n * m:
        with pytest.warns(UserWarning, match="no layer would get smaller"):
            assert type(compress.svd(layer, **{by: share})) is nn.Linear
        return
    new = compress.svd(layer, **{by: share})
    assert new.rank == want
    assert float((new.weight - weight).detach().norm() ** 2) == pytest.approx(
        gone[want], rel=1e-6, abs=1e-9
    )  # Eckart-Young


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("method", "flatten"), [("svd", "channel"), ("svd", "spatial"), ("tensor_train", "channel")])
def test_costs_in_closed_form_are_those_of_the_layers(method, flatten, stride):
    conv = nn.Conv2d(16, 24, 3, stride=stride, padding=1, bias=False)
    make = compress.tensor_train if method == "tensor_train" else compress.svd
    options = {} if method == "tensor_train" else {"flatten": flatten}
    closed = compress.cost_of((24, 16, 3, 3), 7, method=method, flatten=flatten, stride=stride)
    cost = anatomy.profile(make(conv, rank=7, **options), (16, 8, 8))
    assert (cost.params, cost.macs) == (closed.params, closed.macs * (8 // stride) ** 2)


def test_costs_of_dense_layers_are_those_of_the_layers():
    layer = nn.Linear(48, 60, bias=False)
    for method, new in (
        ("svd", compress.svd(layer, rank=5)),
        ("tensor_train", compress.tensor_train(layer, rank=5, order=3)),
    ):
        cost = anatomy.profile(new, (48,))
        assert compress.cost_of((60, 48), 5, method=method, order=3) == (cost.params, cost.macs)


def test_at_which_rank_the_lectures_examples_pay():
    for shape, options in (((4096, 4096), {}), ((512, 256, 3, 3), {}), ((512, 256, 3, 3), {"flatten": "spatial"})):
        pays, plain = compress.break_even(shape, **options), torch.Size(shape).numel()
        for rank, smaller in ((pays.params, True), (pays.params + 1, False)):
            assert (compress.cost_of(shape, rank, **options).params < plain) is smaller
    train = compress.break_even((4096, 4096), method="tensor_train")
    assert train.macs < train.params  # in between it is smaller but slower
    assert compress.break_even((64, 64, 3, 3), flatten="spatial", stride=2).macs < 96


def test_what_cannot_be_treated_is_named_and_left_alone():
    tied = nn.Linear(32, 32)
    net = nn.Sequential(
        nn.Conv2d(4, 4, 3, groups=4), nn.LSTM(4, 4), nn.MultiheadAttention(8, 2), tied, nn.Linear(32, 32)
    )
    net[4].weight = tied.weight
    net.append(nn.Linear(64, 64))
    with pytest.warns(UserWarning, match="left alone") as seen:
        new = compress.svd(net, rank=3)
    said = str(seen[0].message)
    for words in (
        "'0' (a convolution in 4 groups)",
        "'1' (LSTM)",
        "'2' (MultiheadAttention)",
        "'3' (shares its weights)",
    ):
        assert words in said
    assert [type(m) for m in new[:5]] == [type(m) for m in net[:5]] and new[5].rank == 3
    assert type(net[5]) is nn.Linear  # the original is only read
    with pytest.raises(ValueError, match="cannot treat '1'"):
        compress.svd(net, rank=3, layers=["1"])


def test_types_places_and_modes_are_kept():
    layer = nn.Linear(32, 16).to(torch.bfloat16).eval().requires_grad_(False)
    net = nn.Sequential(layer, nn.ReLU(), layer)  # one layer at two paths stays one
    new = compress.svd(net, rank=2)
    assert new[0] is new[2] and new[0].weight.dtype == torch.bfloat16
    assert not new[0].training and not any(p.requires_grad for p in new.parameters())


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: compress.svd(nn.Linear(8, 4), rank=5), "rank 5 is larger than the matrix, whose rank is at most 4"),
        (lambda: compress.svd(nn.Linear(8, 4)), "exactly one of"),
        (lambda: compress.svd(nn.Linear(8, 4), rank=2, energy=0.5), "exactly one of"),
        (lambda: compress.svd(nn.Linear(8, 4), rank=0), "whole numbers from 1 on"),
        (lambda: compress.svd(nn.Linear(8, 4), energy=1.5), "above 0 and up to 1"),
        (lambda: compress.svd(nn.Linear(8, 4), rank=2, flatten="rows"), "accepted are channel, spatial"),
        (lambda: compress.svd(nn.Sequential(nn.Linear(8, 4)), rank={"1": 2}), "no layer with a matrix at '1'"),
        (lambda: compress.svd(nn.Conv1d(8, 4, 3), rank=2, flatten="spatial"), "needs two axes"),
        (lambda: compress.break_even((4096,)), "shape of a weight"),
    ],
)
def test_bad_input_gets_a_sentence(call, text):
    with pytest.raises(ValueError, match=text):
        call()
