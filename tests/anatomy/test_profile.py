"""Profiles against published counts, torch's own counter, closed forms and the model's own state."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.flop_counter import FlopCounterMode

from tlcore import anatomy, plots

mpl.use("Agg")

# parameters, million multiply-adds, input side: measured elsewhere, see the lectures' table
PUBLISHED = {
    "alexnet": (61_100_840, 714.2, 224),
    "vgg11": (132_863_336, 7609.1, 224),
    "googlenet": (13_004_888, 1498.4, 224),
    "inception_v3": (27_161_264, 5713.2, 299),
    "resnet18": (11_689_512, 1814.1, 224),
    "resnet50": (25_557_032, 4089.2, 224),
    "resnext50_32x4d": (25_028_904, 4230.5, 224),
    "wide_resnet101_2": (126_886_696, 22753.1, 224),
    "densenet121": (7_978_856, 2834.2, 224),
    "mobilenet_v2": (3_504_872, 300.8, 224),
    "vit_b_16": (86_567_656, 17563.8, 224),
    "swin_t": (28_288_354, 4490.6, 224),
}


def build(name: str, **options: Any) -> nn.Module:
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        return getattr(torchvision.models, name)(weights=None, **extra, **options)  # type: ignore[no-any-return]


def counted(model: nn.Module, *inputs: torch.Tensor) -> int:
    """The oracle: torch's counter around an ordinary run, halved."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), inputs[0].device:
        copy.deepcopy(model).eval()(*inputs)
    torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_counts(name: str) -> None:
    params, million, side = PUBLISHED[name]
    model = build(name)
    cost = anatomy.profile(model, (3, side, side))
    assert cost.params == cost.trainable_params == params == sum(p.numel() for p in model.parameters())
    assert cost.macs == pytest.approx(million * 1e6, rel=5e-3)
    assert cost.macs == counted(model, torch.empty(1, 3, side, side, device="meta"))
    assert cost.bytes.parameters == 4 * params
    for depth in (1, 2, 9):
        assert cost.by(depth).total[3:] == cost.total[3:]


def test_real_weights_give_the_same_as_meta() -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None)
    cost = anatomy.profile(model, (3, 64, 64))
    assert cost == anatomy.profile(build("resnet18"), (3, 64, 64))
    assert cost.macs == counted(model, torch.zeros(1, 3, 64, 64))


def test_half_a_billion_parameters_take_no_memory() -> None:
    with torch.device("meta"):
        model = nn.Sequential(*(nn.Linear(7000, 7000, bias=False) for _ in range(10)))
    cost = anatomy.profile(model, (7000,))
    assert cost.params == cost.macs == 10 * 7000**2


def test_what_does_not_run_is_listed() -> None:
    cost = anatomy.profile(build("googlenet"), (3, 224, 224))
    idle = [row for row in cost if not row.ran]
    assert cost.params - sum(row.params for row in idle) == 6_624_904
    assert {row.name.partition(".")[0] for row in idle} == {"aux1", "aux2"}
    assert all(row.macs == row.activations == 0 and row.output_shape is None for row in idle)
    assert cost.by(1)["aux1"].ran is False
    assert "not run" in repr(cost)


def test_row_of_each_layer() -> None:
    cost = anatomy.profile(build("resnet18"), (3, 224, 224))
    assert cost[0] == anatomy.LayerProfile(
        "conv1", "Conv2d", (1, 64, 112, 112), 9408, 9408, 118_013_952, 802_816, anatomy.Bytes(37_632, 3_211_264), True
    )
    assert [row.name for row in cost][:4] == ["conv1", "bn1", "relu", "maxpool"]
    assert [row.name for row in cost].count("layer1.0.relu") == 2  # one row per call
    assert cost["layer1"].macs == 4 * 9 * 64 * 64 * 56 * 56
    assert cost["layer1"].output_shape == (1, 64, 56, 56)
    assert cost[-1].name == "fc" and len(cost) == len(list(cost))
    assert cost.bytes.total == cost.bytes.parameters + cost.bytes.activations


# -- attribution ---------------------------------------------------------------------------------------------


class Functional(nn.Module):
    """Everything by function; the block inside multiplies too."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(6, 3, 3, 3))
        self.inner = Product()
        self.after = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(self.inner(F.conv2d(x, self.weight, stride=2)))


class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.Tanh()
        self.w = nn.Parameter(torch.rand(5, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = self.act(x.flatten(2).transpose(1, 2))  # (1, L, 6)
        scores = torch.bmm(rows, rows.transpose(1, 2))  # L · L · 6
        mixed = F.scaled_dot_product_attention(rows, rows, rows)  # 2 · L · L · 6
        return F.linear(scores.softmax(-1) @ mixed, self.w)  # L · L · 6 and L · 6 · 5


def test_functional_calls_belong_to_the_module_that_makes_them() -> None:
    cost = anatomy.profile(Functional(), (3, 11, 11))
    length = 25
    outer, inner, act, after = cost
    assert (outer.name, outer.macs, outer.params) == ("", 27 * 6 * length, 162)
    assert (inner.name, inner.macs, inner.params) == ("inner", 4 * 6 * length**2 + 30 * length, 30)
    assert (act.macs, after.macs) == (0, 0)
    assert outer.activations == 0  # what it returns is the output of a layer
    assert inner.activations == 5 * length
    assert cost.macs == counted(Functional(), torch.rand(1, 3, 11, 11))


class Call(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], unseen: bool) -> None:
        super().__init__()
        self.function, self.unseen = function, unseen

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.unseen:
            float(x.sum())  # has no answer on the meta device
        return self.function(x[0])


@pytest.mark.parametrize("unseen", [False, True])
@pytest.mark.parametrize(
    ("function", "macs"),
    [
        (lambda m: m @ m[0], 4 * 6),
        (lambda m: m[0] @ m[1], 6),
        (lambda m: torch.vdot(m[0], m[1]), 6),
        (lambda m: torch.addmv(m[:, 0], m, m[0]), 4 * 6),
        (lambda m: torch.addmm(m[:, :4], m, m.T), 4 * 6 * 4),
        (lambda m: torch.einsum("ij,kj->ik", m, m), 4 * 6 * 4),
        (lambda m: torch.baddbmm(m[None, :, :4], m[None], m.T[None]), 4 * 6 * 4),
        (lambda m: torch.addbmm(m[:, :4], m.expand(3, 4, 6), m.T.expand(3, 6, 4)), 3 * 4 * 6 * 4),
        (lambda m: F.conv1d(m[None], m.new_ones(8, 2, 3), groups=2), 8 * 2 * 3 * 4),
        (lambda m: F.conv_transpose1d(m[None], m.new_ones(4, 1, 3), stride=2, groups=2), 4 * 3 * 6),
        (lambda m: F.bilinear(m, m, m.new_ones(3, 6, 6)), 4 * 3 * 36),
        (lambda m: m.softmax(0).cumsum(1) * m + m, 0),
    ],
)
def test_every_kind_of_product_counts(function: Any, macs: int, unseen: bool) -> None:
    assert anatomy.profile(Call(function, unseen), (4, 6)).macs == macs


class Unseen(nn.Module):
    """Forces the run with real numbers."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> Any:
        return self.inner(x) if x.abs().sum().item() > 0 else x


@pytest.mark.parametrize("wrap", [nn.Sequential, Unseen])
def test_recurrent_and_attention_layers(wrap: Any) -> None:
    lstm = anatomy.profile(wrap(nn.LSTM(5, 7, 2, batch_first=True, bidirectional=True)), (4, 5))
    assert lstm.macs == 2 * 4 * 28 * (5 + 7) + 2 * 4 * 28 * (14 + 7)
    assert lstm[0].output_shape == (1, 4, 14)
    assert lstm[0].activations == 4 * 14 + 2 * 4 * 7  # with the last state and the last cell
    assert anatomy.profile(wrap(nn.GRU(5, 7)), (4, 5)).macs == 4 * 21 * (5 + 7)
    layer = anatomy.profile(wrap(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)), (6, 8))
    assert layer.macs == 6 * 8 * 8 * 4 + 2 * 6 * 6 * 8 + 2 * 6 * 8 * 16
    (attention,) = [row for row in layer if row.kind == "MultiheadAttention"]
    assert attention.params == 4 * 8 * 8 + 4 * 8
    assert all(row.ran for row in layer)


CONVS = {1: (nn.Conv1d, nn.ConvTranspose1d), 2: (nn.Conv2d, nn.ConvTranspose2d), 3: (nn.Conv3d, nn.ConvTranspose3d)}


@st.composite
def stack(draw: st.DrawFn) -> tuple[tuple[int, ...], list[nn.Module]]:
    """A random chain of convolutions, norms, activations and a linear layer over the last axis."""
    rank = draw(st.sampled_from([1, 2, 3]))
    size, channels = {1: 40, 2: 16, 3: 9}[rank], 4
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 4))):
        out, groups = draw(st.sampled_from([4, 8])), draw(st.sampled_from([1, 2, 4]))
        kernel, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
        kind, bias = CONVS[rank][draw(st.integers(0, 1))], draw(st.booleans())
        dilation = draw(st.integers(1, 2))
        layers.append(kind(channels, out, kernel, stride, 1, dilation=dilation, groups=groups, bias=bias))
        layers.append(draw(st.sampled_from([nn.ReLU(inplace=True), nn.Sigmoid(), nn.Identity()])))
        channels = out
    return (4, *(size,) * rank), layers


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(stack())
def test_random_stacks(drawn: tuple[tuple[int, ...], list[nn.Module]]) -> None:
    size, layers = drawn
    x = torch.rand(1, *size)
    expected = []
    for layer in layers:
        y = layer(x.clone()).detach()
        macs = 0
        if hasattr(layer, "kernel_size"):
            places = x if layer.transposed else y  # each place of the smaller side uses each weight once
            macs = math.prod(places.shape[2:]) * layer.weight.numel()
        expected.append((tuple(y.shape), sum(p.numel() for p in layer.parameters()), macs, y.numel()))
        x = y
    cost = anatomy.profile(nn.Sequential(*layers), size)
    assert [(row.output_shape, row.params, row.macs, row.activations) for row in cost] == expected
    unseen = anatomy.profile(nn.Sequential(Unseen(nn.Sequential(*layers))), size)
    assert [row[2:] for row in unseen] == [row[2:] for row in cost]


# -- parameters ----------------------------------------------------------------------------------------------


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.body, self.decode = nn.Embedding(50, 8), nn.Linear(8, 8), nn.Linear(8, 50, bias=False)
        self.decode.weight = self.embed.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decode(self.body(self.body(self.embed(x))))


def test_shared_parameters_count_once() -> None:
    cost = anatomy.profile(Shared(), (5,))  # the embedding gets indices
    assert [(row.name, row.params, row.macs) for row in cost] == [
        ("embed", 400, 0),
        ("body", 72, 5 * 64),
        ("body", 0, 5 * 64),
        ("decode", 0, 5 * 400),
    ]


class Lends(nn.Module):
    """Uses parameters of modules that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.some = nn.ParameterList([torch.rand(4, 4), torch.rand(4, 4)])
        self.first, self.linear, self.idle = nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 4)
        self.idle.register_buffer("unlearnt", torch.ones(100))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(self.first(x) @ self.some[0] @ self.some[1], self.linear.weight, self.linear.bias)


def test_parameters_that_another_module_uses() -> None:
    rows = [(row.name, row.params, row.macs, row.ran) for row in anatomy.profile(Lends(), (4,))]
    assert rows == [
        ("", 0, 48, True),
        ("first", 0, 0, True),
        ("some", 32, 0, True),
        ("linear", 20, 0, True),
        ("idle", 20, 0, False),
    ]


def test_parametrised_layers_are_one_row() -> None:
    net = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), parametrizations.orthogonal(nn.Linear(6, 6)))
    first, second = anatomy.profile(net, (3, 8, 8))
    assert (first.kind, first.params, first.macs) == ("Conv2d", 3 * 4 * 9 + 4 + 4, 3 * 4 * 9 * 36)
    assert second.params == 42 and second.macs > 6 * 6 * 24  # making the weight multiplies matrices too


def test_frozen_parameters() -> None:
    model = build("resnet18").requires_grad_(False)
    model.fc.requires_grad_(True)
    cost = anatomy.profile(model, (3, 64, 64))
    assert (cost.params, cost.trainable_params) == (11_689_512, 513_000)
    assert cost["fc"].trainable_params == 513_000
    assert "trainable" in repr(cost) and "trainable" not in repr(anatomy.profile(build("resnet18"), (3, 64, 64)))


def test_bytes() -> None:
    model = nn.Linear(4, 8)
    assert anatomy.profile(model, (4,)).bytes == (160, 32)
    assert anatomy.profile(model, (4,), dtype_bytes=2).bytes == (80, 16)
    assert anatomy.profile(nn.Linear(4, 8, dtype=torch.float16), (4,)).bytes == (80, 16)
    assert anatomy.profile(nn.Linear(4, 8, dtype=torch.float64), (4,)).bytes.total == 384


# -- inputs --------------------------------------------------------------------------------------------------


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 1), nn.Linear(5, 4)

    def forward(self, image: torch.Tensor, vector: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return self.left(image).mean((2, 3)) + self.right(vector) * scale


def test_forms_of_input_size() -> None:
    conv = nn.Conv2d(3, 4, 3)
    one = anatomy.profile(conv, (3, 10, 12))
    assert one.macs == 27 * 4 * 80
    for same in ([3, 10, 12], (64, 3, 10, 12), (10, 12), torch.Size((3, 10, 12)), torch.rand(1, 3, 10, 12)):
        assert anatomy.profile(conv, same) == one
    assert anatomy.profile(conv, torch.rand(7, 3, 10, 12)).macs == 7 * one.macs
    assert anatomy.profile(Two(), ((3, 4, 4), (5,))).macs == 12 * 16 + 20
    assert anatomy.profile(Two(), (torch.rand(2, 3, 4, 4), torch.rand(2, 5))).macs == 2 * (12 * 16 + 20)
    assert anatomy.profile(nn.Conv1d(2, 4, 3), (2, 9)).macs == anatomy.profile(nn.Conv1d(2, 4, 3), (8, 2, 9)).macs
    assert anatomy.profile(nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 2)), (6,)).macs == 6 * 8
    assert anatomy.profile(nn.ReLU(), (3, 5)).activations == 15


PROFILE = anatomy.profile
ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: PROFILE("net", (3, 8, 8)), TypeError, r"profile\(model=…\): give an nn.Module, not str"),
    (lambda: PROFILE(nn.Conv2d(3, 4, 3), 32), TypeError, r"input_size=32\): give \(C, H, W\)"),
    (lambda: PROFILE(nn.Conv2d(3, 4, 3), ()), TypeError, r"input_size=\(\)\): give \(C, H, W\)"),
    (lambda: PROFILE(nn.Conv2d(3, 4, 3), (3, 8.0, 8)), TypeError, "must be an int"),
    (lambda: PROFILE(nn.Conv2d(3, 4, 3), (3, 0, 8)), ValueError, "at least 1"),
    (lambda: PROFILE(nn.Conv2d(3, 4, 3), (1, 1, 3, 8, 8)), ValueError, r"2 spatial axes, so give \(C, H, W\)"),
    (lambda: PROFILE(nn.Conv2d(3, 4, 3), (1, 8, 8)), ValueError, r"input_size=\(1, 8, 8\)\): 'Conv2d' cannot work"),
    (lambda: PROFILE(build("resnet18"), (4, 64, 64)), ValueError, "'conv1' cannot work on it"),
    (lambda: PROFILE(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(9, 2)), (3, 8, 8)), ValueError, "'1' cannot work"),
    (
        lambda: PROFILE(Two(), ((3, 4, 4),)),
        ValueError,
        r"takes 2 inputs \('image', 'vector'\); give one tuple for each",
    ),
    (lambda: PROFILE(nn.Linear(4, 2), (4,), dtype_bytes=0), ValueError, r"dtype_bytes=0\): must be an int of at least"),
    (lambda: PROFILE(nn.LazyLinear(3), (4,)), ValueError, "run it once"),
    (lambda: PROFILE(build("resnet18"), (3, 64, 64))["layer5"], ValueError, "nearest: 'layer4'"),
    (lambda: PROFILE(nn.Linear(4, 2), (4,)).by(0), ValueError, r"by\(depth=0\): must be an int of at least 1"),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS)
def test_error_sentences(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


# -- side effects, tables, pictures --------------------------------------------------------------------------


class Noisy(nn.Module):
    """Draws random numbers in every mode, counts its calls, and cannot run on the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.norm = 0, nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        x = self.norm(x + torch.rand(1) + random.random() + np.random.rand())
        return x if x.sum().item() > 0 else -x


@pytest.mark.parametrize("unseen", [False, True])
def test_model_is_untouched(unseen: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5), *([Noisy()] if unseen else []))
    model.train()[1].eval()
    fired: list[int] = []
    model[0].register_forward_hook(lambda *_: fired.append(1))
    model[0].weight.grad = torch.ones_like(model[0].weight)
    model[1].weight.requires_grad_(False)
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    anatomy.profile(model, (3, 8, 8))
    assert modes == [m.training for m in model.modules()]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert model[0].weight.grad.eq(1).all() and model[1].weight.grad is None
    assert not fired and len(model[0]._forward_hooks) == 1 and not model[1]._forward_hooks
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), np.random.get_state()[1].tolist())
    assert not unseen or model[3].calls == 0
    assert torch.is_grad_enabled() and torch.backends.mha.get_fastpath_enabled()


def test_tables_are_laid_out_once() -> None:
    field = anatomy.receptive_field(nn.Sequential(nn.Conv2d(3, 8, (1, 3)), nn.MaxPool2d(2)))
    assert repr(field.table()) == (
        "name  kind      kernel  stride  size  jump  offset\n"
        "--------------------------------------------------\n"
        "0     conv         1x3       1   1x3     1       0\n"
        "1     max pool       2       2   2x4     2       0"
    )
    left, right = '<{0} style="text-align:left">{1}</{0}>', '<{0} style="text-align:right">{1}</{0}>'
    head, body = ["name", "kind", "kernel", "stride", "size", "jump", "offset"], ["1x3", "1", "1x3", "1", "0"]
    assert (
        field.table()
        ._repr_html_()
        .startswith(
            "<table><thead><tr>"
            + "".join([left, left, *[right] * 5][i].format("th", name) for i, name in enumerate(head))
            + "</tr></thead><tbody><tr>"
            + left.format("td", "0")
            + left.format("td", "conv")
            + "".join(right.format("td", value) for value in body)
            + "</tr><tr>"
        )
    )
    small = plots.table([["a<b", 9, None], ["c", 10, 2.5]], ["name", "number", "other"])
    assert repr(small) == "name  number  other\na<b        9  –\nc         10  2.5"
    assert small._repr_html_() == (
        '<table><thead><tr><th style="text-align:left">name</th><th style="text-align:right">number</th>'
        '<th style="text-align:left">other</th></tr></thead><tbody><tr><td style="text-align:left">a&lt;b</td>'
        '<td style="text-align:right">9</td><td style="text-align:left">–</td></tr><tr><td style="text-align:left">c'
        '</td><td style="text-align:right">10</td><td style="text-align:left">2.5</td></tr></tbody></table>'
    )


def test_profile_as_table_and_picture() -> None:
    cost = anatomy.profile(build("resnet18"), (3, 64, 64))
    lines = repr(cost).splitlines()
    assert len(lines) == len(cost) + 5 and lines[-3].startswith("total")
    assert "multiply-adds of convolutions" in lines[-2] and "1x3x64x64, batch 1" in lines[-2]
    html = cost._repr_html_()
    assert html.count("<tr>") == len(cost) + 2 and "<caption" in html
    ax = cost.by(1).plot()
    assert "11.7M parameters" in ax.get_title()
    heights = [bar.get_height() for bar in ax.patches]
    assert sum(heights) == pytest.approx(2)
    assert cost.plot(ax=ax) is ax
