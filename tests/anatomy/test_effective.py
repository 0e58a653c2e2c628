"""The effective receptive field and the pictures."""

from __future__ import annotations

import matplotlib as mpl
import pytest
import torch
from torch import nn

from tlcore import anatomy

mpl.use("Agg")


def deep(layers: int = 8, rank: int = 2) -> nn.Module:
    torch.manual_seed(1)
    conv = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[rank]
    parts: list[nn.Module] = []
    for i in range(layers):
        layer = conv(1 if i == 0 else 8, 8, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(layer.weight)
        parts += [layer, nn.ReLU(inplace=True)]
    return nn.Sequential(*parts)


def test_map_lies_in_the_theoretical_field_and_is_narrower() -> None:
    seen = anatomy.effective_receptive_field(deep(), input_size=(1, 33, 33), samples=12)
    assert seen.theoretical.size == (17, 17)
    assert seen.map.shape == (33, 33)
    assert float(seen.map.sum()) == pytest.approx(1)
    assert seen.share_within(17) == pytest.approx(1)
    assert seen.share_within(9) > 2 * 81 / 289
    assert seen.extent(0.95) < 17
    assert seen.ratio() < 1
    assert seen.width() ** 2 == pytest.approx(seen.area())


def test_same_seed_same_map() -> None:
    one, two, other = (
        anatomy.effective_receptive_field(deep(), input_size=(1, 21, 21), samples=3, seed=s).map for s in (5, 5, 6)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_uniform_kernels_give_the_binomial_shape() -> None:
    """Luo et al. 2016, section 2.1: n equal layers give the n-fold convolution of one kernel."""
    net = nn.Sequential(*(nn.Conv1d(1, 1, 3, padding=1, bias=False) for _ in range(4)))
    for parameter in net.parameters():
        nn.init.constant_(parameter, 1 / 3)
    seen = anatomy.effective_receptive_field(net, input_size=(1, 31), samples=2)
    kernel = torch.ones(1)
    for _ in range(4):
        kernel = nn.functional.conv1d(kernel[None, None], torch.ones(1, 1, 3) / 3, padding=2)[0, 0]
    torch.testing.assert_close(seen.map[11:20].float(), kernel)


def test_between_two_layers_and_position() -> None:
    seen = anatomy.effective_receptive_field(deep(), of="14", wrt="7", input_size=(1, 25, 25), position=(3, 20))
    assert seen.theoretical.size == (9, 9)
    assert seen.theoretical.wrt == "7"
    outside = seen.map.clone()
    (top, bottom), (left, right) = seen.theoretical.interval((3, 20))
    outside[max(top, 0) : bottom + 1, left : right + 1] = 0
    assert float(outside.sum()) == 0
    square = anatomy.effective_receptive_field(deep(), input_size=(1, 25, 25), reduce="square", samples=2)
    assert square.share_within(5) > 0.3


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_pictures(rank: int) -> None:
    seen = anatomy.effective_receptive_field(deep(3, rank), input_size=(1, *(15,) * rank), samples=2)
    ax = seen.plot()
    assert len(ax.get_legend().get_texts()) >= 2
    assert anatomy.draw_effective(seen, ax=ax) is ax
    growth = seen.theoretical.plot()
    assert growth.get_xlabel()


def test_size_of_the_box_is_checked() -> None:
    seen = anatomy.effective_receptive_field(deep(2), input_size=(1, 9, 9), samples=1)
    with pytest.raises(ValueError, match="give a positive int, or 2 of them"):
        seen.share_within((3, 3, 3))
    with pytest.raises(ValueError, match="at most 1"):
        seen.extent(2)
