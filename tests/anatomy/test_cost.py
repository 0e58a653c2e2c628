"""Closed forms against the lectures' numbers, sums by hand, and profiles of the same layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tlcore import anatomy
from tlcore.anatomy import Cost, conv_cost, factorised_cost, separable_cost


def measured(net: nn.Module, size: tuple[int, ...]) -> Cost:
    cost = anatomy.profile(net, size)
    return Cost(cost.params, cost.macs)


@pytest.mark.parametrize(
    ("side", "standard", "separable"), [(12, 2_764_800, 121_392), (8, 1_228_800, 53_952)], ids=["same", "valid"]
)
def test_the_lecture_s_separable_convolution(side: int, standard: int, separable: int) -> None:
    """5 x 5 x 3 x 256 on 12 x 12: the lecture mixes two paddings; the ratio is the same for both."""
    whole = conv_cost(3, 256, 5, height=side, width=side)
    apart = separable_cost(3, 256, 5, height=side, width=side)
    assert (whole.macs, apart.macs) == (standard, separable)
    assert whole.macs / apart.macs == pytest.approx(22.8, abs=0.05)
    assert apart.macs / whole.macs == pytest.approx(1 / 256 + 1 / 25)
    padding = (5 - 1) // 2 if side == 12 else 0
    assert measured(nn.Conv2d(3, 256, 5, padding=padding, bias=False), (3, 12, 12)) == whole
    layers = nn.Conv2d(3, 3, 5, padding=padding, groups=3, bias=False), nn.Conv2d(3, 256, 1, bias=False)
    assert measured(nn.Sequential(*layers), (3, 12, 12)) == apart


class Branches(nn.ModuleList):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self], 1)


def branch(*convs: tuple[int, int, int]) -> nn.Sequential:
    return nn.Sequential(*(nn.Conv2d(i, o, k, padding=k // 2, bias=False) for i, o, k in convs))


def test_inception_3a() -> None:
    """Szegedy et al. 2015, table 1: 1 x 1 reductions before the large windows."""
    naive = [[(192, 64, 1)], [(192, 128, 3)], [(192, 32, 5)]]
    reduced = [[(192, 64, 1)], [(192, 96, 1), (96, 128, 3)], [(192, 16, 1), (16, 32, 5)], [(192, 32, 1)]]
    for branches, params, million in ((naive, 387_072, 303.5), (reduced, 163_328, 128.05)):
        parts = [conv_cost(*conv, height=28, width=28) for convs in branches for conv in convs]
        closed = Cost(0, 0).plus(*parts)
        assert closed.params == params
        assert closed.macs == params * 28 * 28 == pytest.approx(million * 1e6, rel=5e-4)
        assert measured(Branches([branch(*convs) for convs in branches]), (192, 28, 28)) == closed


def test_factorised() -> None:
    """Szegedy et al. 2016: 5 x 5 as two 3 x 3 saves 28 %, 7 x 7 as 7 x 1 and 1 x 7 costs 2 / 7."""
    size = {"height": 17, "width": 17}
    whole = conv_cost(64, 64, 5, **size)
    assert factorised_cost(64, 64, 5, **size, into="3x3").macs / whole.macs == pytest.approx(18 / 25)
    assert factorised_cost(96, 96, 7, **size).macs / conv_cost(96, 96, 7, **size).macs == pytest.approx(2 / 7)
    through = factorised_cost(64, 96, 7, **size, into="3x3", hidden=80, bias=True)
    assert through.params == 9 * (64 * 80 + 80 * 80 + 80 * 96) + 80 + 80 + 96
    assert factorised_cost(8, 16, 3, **size, hidden=4).params == 3 * 8 * 4 + 3 * 4 * 16


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    groups=st.integers(1, 3),
    wide=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    step=st.integers(1, 3),
    padding=st.integers(0, 2),
    bias=st.booleans(),
)
def test_conv_cost_is_what_torch_measures(
    groups: int, wide: tuple[int, int], kernel: tuple[int, int], step: int, padding: int, bias: bool
) -> None:
    channels = groups * wide[0], groups * wide[1]
    net = nn.Conv2d(*channels, kernel, step, padding, groups=groups, bias=bias)
    height, width = net(torch.zeros(1, channels[0], 9, 11)).shape[2:]
    closed = conv_cost(*channels, kernel, height=height, width=width, groups=groups, bias=bias)
    assert closed == measured(net, (channels[0], 9, 11))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    channels=st.tuples(*[st.integers(1, 6)] * 3), kernel=st.integers(1, 7), side=st.integers(1, 9), bias=st.booleans()
)
def test_every_form_is_what_its_layers_measure(
    channels: tuple[int, int, int], kernel: int, side: int, bias: bool
) -> None:
    table = anatomy.compare_costs(*channels[:2], kernel, height=side, width=side + 1, reduced=channels[2], bias=bias)
    assert len(table) == (6 if kernel >= 5 and kernel % 2 else 5)
    for row in table:
        assert row.closed == row.measured
        assert row.saving == pytest.approx(table[0].closed.macs / row.closed.macs)


def test_resnet_s_blocks() -> None:
    """The bottleneck at 256 channels costs about what the plain pair costs at 64 (He et al. 2016, figure 5)."""
    narrow = anatomy.bottleneck_cost(256, 64, 256, height=56, width=56)
    pair = anatomy.plain_pair_cost(64, 64, height=56, width=56)
    assert narrow.params == 256 * 64 + 9 * 64 * 64 + 64 * 256
    assert 0.9 < narrow.macs / pair.macs < 1
    with torch.device("meta"):
        import torchvision

        block = torchvision.models.resnet50(weights=None).layer1[1]
    assert anatomy.profile(block, (256, 56, 56)).macs == narrow.macs


def test_comparison_as_table() -> None:
    table = anatomy.compare_costs(64, 64, 5, height=28, width=28, reduced=16)
    assert [row.name for row in table] == [
        "5x5", "depthwise 5x5, 1x1", "5x1, 1x5", "3x3, 3x3", "1x1 to 16, 5x5, 1x1", "5x5, 5x5"
    ]  # fmt: skip
    assert "102,400" in repr(table) and table._repr_html_().count("<tr>") == 7
    assert table[5].saving == pytest.approx(0.5)


SIZE = {"height": 4, "width": 4}
ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: conv_cost(0, 4, 3, **SIZE), ValueError, r"conv_cost\(in_channels=0\): must be at least 1"),
    (lambda: conv_cost(3, 4, 3.0, **SIZE), TypeError, r"kernel=3\.0\): give an int"),
    (lambda: conv_cost(3, 4, (3, 0), **SIZE), ValueError, r"kernel=0\): must be at least 1"),
    (lambda: conv_cost(8, 12, 3, **SIZE, groups=3), ValueError, r"groups=3\): must divide 8 and 12 .* nearest: [24]"),
    (lambda: factorised_cost(3, 4, 4, **SIZE, into="3x3"), ValueError, r"must be odd and at least 3; nearest: 5"),
    (lambda: factorised_cost(3, 4, 3, **SIZE, into="1x1"), ValueError, "accepted are 'nx1' and '3x3'"),
    (lambda: anatomy.compare_costs(3, 4, (3, 3), **SIZE), TypeError, "give an int"),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS)
def test_error_sentences(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
