"""Fields compared with the support of the gradient: 20 nets by hand, 200 random graphs."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from tests.anatomy.oracle import positive, supports
from tlcore import anatomy


class Residual(nn.Module):
    """A block whose shortcut is misaligned: cropped on one side only."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3)
        self.far = nn.Conv2d(channels, channels, 3, dilation=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        near, far = self.conv(x), self.far(x)
        return torch.cat([near[:, :, 2:, :-2], far], 1) + x[:, :1, 4:, 4:].repeat(1, 4, 1, 1)


class Shuffle(nn.Module):
    """ShuffleNet's channel shuffle by view and transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 4, 3, groups=2, padding=1)
        self.second = nn.Conv2d(4, 4, 3, groups=2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        n, c, h, w = x.size()
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
        return self.second(x)


class UNet(nn.Module):
    """Down, up, and a skip that is joined by channels."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(1, 2, 3, padding=1)
        self.down = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(2, 2, 3, padding=1))
        self.up = nn.ConvTranspose2d(2, 2, 2, stride=2)
        self.leave = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.enter(x)
        return self.leave(torch.cat((skip, self.up(self.down(skip))), dim=1))


class Pyramid(nn.Module):
    """PSPNet's pooling branch: uneven adaptive pooling, resized back to where it came from."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.pool = nn.AdaptiveAvgPool2d(6)
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        corners = True if self.mode == "corners" else None
        mode = "bilinear" if self.mode == "corners" else self.mode
        y = F.interpolate(self.pool(x), size=x.shape[-2:], mode=mode, align_corners=corners)
        return self.conv(x) + y


class Twice(nn.Module):
    """One module called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, (3, 5), stride=(1, 2), padding=(0, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.conv(x))


class Functional(nn.Module):
    """Everything by function and method, weights as attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(2, 1, 3, 3))
        self.up = nn.Parameter(torch.rand(2, 1, 4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, (3, 1, 0, 2), mode="reflect")
        x = F.conv2d(x, self.weight, stride=2, dilation=2)
        x = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        x = F.conv_transpose2d(x, self.up, None, 2, padding=1)
        left, right = x.mul(2).permute(0, 1, 3, 2).permute(0, 1, 3, 2).unsqueeze(1).squeeze(1).chunk(2, dim=2)
        return left.add(right)[:, :, 1:, ::2]


class Causal(nn.Module):
    """A temporal convolutional net that reads its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(1, 1, 3, padding=2 * 2**i, dilation=2**i) for i in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(x)[:, :, : -2 * 2**i]
        return x


def seq(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


C, T = nn.Conv2d, nn.ConvTranspose2d
NETS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "plain": (seq(C(1, 2, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1), C(2, 2, 3, padding=1)), (1, 96, 96)),
    "non-square": (
        seq(C(1, 1, (1, 7), padding="same"), C(1, 1, (5, 2), (3, 1), padding="valid")),
        (1, 64, 64),
    ),
    "same, even kernel": (
        seq(C(1, 1, 4, padding="same"), C(1, 1, (2, 6), padding="same", dilation=3)),
        (1, 64, 64),
    ),
    "dilated": (seq(C(1, 1, 3, dilation=4), nn.AvgPool2d(2), C(1, 1, 3, dilation=(2, 3))), (1, 96, 96)),
    "transposed": (seq(C(1, 1, 3, 2), T(1, 1, 5, 3, 2, output_padding=1), C(1, 1, 3)), (1, 40, 40)),
    "transposed with gaps": (seq(C(1, 1, 3), T(1, 1, 2, 4, padding=1), C(1, 1, 2)), (1, 32, 32)),
    "transposed, dilated": (seq(T(1, 1, 3, 2, padding=2, dilation=3), C(1, 1, 3, 2)), (1, 40, 40)),
    "1-D": (seq(nn.Conv1d(1, 2, 9, 4), nn.MaxPool1d(2, ceil_mode=True), nn.Conv1d(2, 1, 3)), (1, 300)),
    "3-D": (seq(nn.Conv3d(1, 1, (3, 1, 2), (2, 1, 1)), nn.AvgPool3d(2), nn.Conv3d(1, 1, 2)), (1, 24, 24, 24)),
    "grouped, shuffled": (Shuffle(), (4, 40, 40)),
    "misaligned": (seq(C(1, 2, 3, 2), Residual()), (1, 60, 60)),
    "u-net": (UNet(), (1, 48, 48)),
    "twice": (Twice(), (1, 60, 90)),
    "functional": (Functional(), (1, 60, 70)),
    "causal": (Causal(), (1, 80)),
    "pixel shuffle": (
        seq(C(1, 4, 3), nn.PixelShuffle(2), C(1, 1, 3), nn.PixelUnshuffle(2), C(4, 1, 3)),
        (1, 40, 40),
    ),
    "pads": (seq(nn.ZeroPad2d((5, 0, 2, 1)), C(1, 1, 3), nn.ReflectionPad2d(2), C(1, 1, 4, 2)), (1, 60, 60)),
    "cropped by padding": (seq(nn.ConstantPad2d((-3, 1, -2, 0), 0.0), C(1, 1, 3, 2)), (1, 40, 40)),
    "adaptive, uneven": (seq(C(1, 1, 3), nn.AdaptiveAvgPool2d((7, 12)), C(1, 1, 2)), (1, 52, 50)),
    "nearest x2.5": (seq(C(1, 1, 3), nn.Upsample(scale_factor=2.5), C(1, 1, 3)), (1, 40, 40)),
    "nearest down": (seq(nn.Upsample(scale_factor=0.4), C(1, 1, 3)), (1, 100, 100)),
    "nearest-exact": (seq(nn.Upsample(size=(30, 50), mode="nearest-exact"), C(1, 1, 2)), (1, 42, 40)),
    "bilinear x2": (
        seq(C(1, 1, 3, 2), nn.Upsample(scale_factor=2, mode="bilinear"), C(1, 1, 3)),
        (1, 60, 60),
    ),
    "bilinear /3": (seq(nn.Upsample(scale_factor=1 / 3, mode="bilinear"), C(1, 1, 3)), (1, 90, 90)),
    "bilinear corners": (seq(nn.UpsamplingBilinear2d(size=(59, 41)), C(1, 1, 2)), (1, 30, 31)),
    "bicubic": (seq(nn.Upsample(scale_factor=2, mode="bicubic")), (1, 40, 40)),
    "linear 1-D": (
        seq(nn.Conv1d(1, 1, 3), nn.Upsample(scale_factor=3, mode="linear"), nn.Conv1d(1, 1, 2)),
        (1, 60),
    ),
    "area": (seq(C(1, 1, 3), nn.Upsample(size=(20, 33), mode="area")), (1, 52, 48)),
    "lp pool": (seq(C(1, 1, 3), nn.LPPool2d(2, (3, 2), (2, 3))), (1, 50, 50)),
    "pyramid nearest": (Pyramid("nearest"), (1, 40, 44)),
    "pyramid bilinear": (Pyramid("bilinear"), (1, 40, 44)),
    "pyramid corners": (Pyramid("corners"), (1, 36, 42)),
}
OF = {
    "adaptive, uneven": "2",
    "area": "1",
    "pyramid nearest": "add",
    "pyramid bilinear": "add",
    "pyramid corners": "add",
}


def compare(model: nn.Module, size: tuple[int, ...], of: str | None = None, count: int = 7) -> anatomy.ReceptiveField:
    """Both answers for neighbouring positions in the middle must agree."""
    field = anatomy.receptive_field(model, of=of, input_size=size)
    extent = field._found.of_extent or {}
    middle = tuple(extent[axis] // 2 for axis in field._found.axes)
    places = [tuple(min(m + i, extent[a] - 1) for a, m in zip(field._found.axes, middle)) for i in range(count)]
    for place, box in zip(places, supports(positive(model), size, places, of=of), strict=True):
        if box is None:
            with pytest.raises(ValueError, match="reads nothing"):
                field.interval(place)
        else:
            assert field.interval(place) == box, place
            assert all(high - low + 1 <= size for (low, high), size in zip(box, field.size, strict=True))
    return field


@pytest.mark.parametrize("name", NETS)
def test_field_is_the_support_of_the_gradient(name: str) -> None:
    torch.manual_seed(0)
    model, size = NETS[name]
    compare(model, size, OF.get(name))


@pytest.mark.parametrize(
    ("name", "of", "size"),
    [
        ("squeezenet1_1", None, 260),
        ("vgg11", None, 192),
        ("alexnet", None, 256),
        ("resnet18", "layer3", 320),
        ("resnet50", "layer2", 160),
        ("googlenet", "inception4a", 320),
        ("mobilenet_v2", "features.10", 320),
        ("shufflenet_v2_x0_5", "stage3", 420),
        ("densenet121", "features.denseblock2.denselayer6", 260),
        ("inception_v3", "Mixed_5d", 330),
    ],
)
def test_torchvision_nets_agree_with_their_gradient(name: str, of: str | None, size: int) -> None:
    import torchvision

    torch.manual_seed(0)
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    compare(getattr(torchvision.models, name)(weights=None, **extra), (3, size, size), of, count=1)


# -- random graphs -------------------------------------------------------------------------------------------


class Join(nn.Module):
    """Two branches that start at different places, added or concatenated and mixed back to two channels."""

    def __init__(self, rank: int, left: nn.Module, right: nn.Module, skip: int, cat: bool) -> None:
        super().__init__()
        self.rank, self.left, self.right, self.skip, self.cat = rank, left, right, skip, cat
        self.mix = CONV[rank](4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = self.left(x), self.right(x)
        for dim in range(2, self.rank + 2):
            length = (left.size(dim) + right.size(dim) - abs(left.size(dim) - right.size(dim))) // 2 - self.skip
            left, right = left.narrow(dim, self.skip, length), right.narrow(dim, 0, length)
        return self.mix(torch.cat((left, right), 1)) + left if self.cat else left + right


CONV = {1: nn.Conv1d, 2: nn.Conv2d}
UP = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}
POOL = {1: nn.AvgPool1d, 2: nn.AvgPool2d}
LINEAR = {1: "linear", 2: "bilinear"}


@st.composite
def layer(draw: st.DrawFn, rank: int, steps: bool) -> nn.Module:
    """One random layer with two channels in and out; with `steps` it may change the resolution."""
    kinds = ["conv", "pool", "pad", "crop"] + (["stride", "up", "upsample"] if steps else [])
    kind = draw(st.sampled_from(kinds))
    numbers = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(rank))  # noqa: E731
    if kind == "conv":
        kernel = numbers(1, 4)
        padding = draw(st.sampled_from(["same", "valid", 0, 1]))
        return CONV[rank](2, 2, kernel, padding=padding, dilation=numbers(1, 3), groups=draw(st.sampled_from([1, 2])))
    if kind == "pool":
        kernel = draw(st.integers(2, 3))
        return POOL[rank](kernel, 1, draw(st.integers(0, 1)))
    if kind in ("pad", "crop"):
        low = 0 if kind == "pad" else -2
        pads = tuple(draw(st.integers(low, low + 2)) for _ in range(2 * rank))
        return (nn.ConstantPad1d if rank == 1 else nn.ConstantPad2d)(pads, 0.0)
    if kind == "stride":
        if draw(st.booleans()):
            return POOL[rank](draw(st.integers(2, 3)), draw(st.integers(2, 3)), ceil_mode=draw(st.booleans()))
        return CONV[rank](2, 2, numbers(1, 4), numbers(1, 3), draw(st.integers(0, 2)))
    if kind == "up":
        stride = numbers(1, 3)
        return UP[rank](2, 2, numbers(1, 4), stride, padding=draw(st.integers(0, 1)))
    mode = draw(st.sampled_from(["nearest", LINEAR[rank]]))
    return nn.Upsample(scale_factor=draw(st.sampled_from([2.0, 1.5, 3.0, 0.5])), mode=mode)


@st.composite
def graph(draw: st.DrawFn) -> tuple[int, nn.Module]:
    """A random chain of layers and forks."""
    rank = draw(st.sampled_from([1, 2]))
    parts: list[nn.Module] = [CONV[rank](2, 2, 1)]
    changes = 0
    for _ in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            sides = [nn.Sequential(*draw(st.lists(layer(rank, False), max_size=2))) for _ in range(2)]
            parts.append(Join(rank, sides[0], sides[1], draw(st.integers(0, 3)), draw(st.booleans())))
        else:
            parts.append(draw(layer(rank, changes < 3)))
            changes += 1
    return rank, nn.Sequential(*parts)


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(graph())
def test_random_graphs(drawn: tuple[int, nn.Module]) -> None:
    rank, model = drawn
    size = (2, 360) if rank == 1 else (2, 150, 162)
    last = str(len(model) - 1)  # type: ignore[arg-type]
    field = compare(model, size, last, count=4)
    try:
        free = anatomy.receptive_field(model, of=last)
    except ValueError as error:
        assert "input_size" in str(error)  # noqa: PT017
    else:
        assert (free.size, free.stride, free.offset) == (field.size, field.stride, field.offset)
