"""Published numbers, names, options, errors and side effects of `receptive_field`."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from tlcore import anatomy

SIZES = {
    "resnet18": 435, "resnet34": 899, "resnet50": 427, "resnet101": 971, "resnet152": 1451,
    "googlenet": 379, "inception_v3": 1311, "mobilenet_v2": 491, "vgg16": 212, "alexnet": 195,
    "densenet121": 2071, "densenet169": 3351, "densenet201": 3863, "densenet161": 2967,
}  # fmt: skip


def build(name: str) -> nn.Module:
    extra = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        return getattr(torchvision.models, name)(weights=None, **extra)  # type: ignore[no-any-return]


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1))


@pytest.mark.parametrize("name", SIZES)
def test_known_size_within_a_second(name: str) -> None:
    model = build(name)
    anatomy.receptive_field(small())
    times = []
    for _ in range(3):
        start = time.perf_counter()
        field = anatomy.receptive_field(model)
        times.append(time.perf_counter() - start)
        if times[-1] < 1:
            break
    assert field.size == (SIZES[name],) * 2
    assert min(times) < 1


@pytest.mark.parametrize(("name", "size"), [("vgg16", 181), ("resnet50", 423), ("googlenet", 335)])
def test_only_convolutions_contribute(name: str, size: int) -> None:
    field = anatomy.receptive_field(build(name), contributors="conv")
    assert field.size == (size, size)
    assert field.stride == (32, 32)


def test_default_node_is_the_last_before_the_head() -> None:
    assert anatomy.receptive_field(build("resnet50")).of == "layer4"
    assert anatomy.receptive_field(build("vgg16")).of == "features"
    assert anatomy.receptive_field(build("vgg16"), input_size=(3, 448, 448)).of == "features"


class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2, self.f = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5), nn.Linear(400, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(self.c2(F.max_pool2d(self.c1(x), 2).relu()), 2)
        return self.f(x.view(-1, 400))


def test_flattening_net_needs_no_size_before_its_head() -> None:
    assert anatomy.receptive_field(LeNet()).size == (16, 16)
    head = anatomy.receptive_field(LeNet(), of="f", input_size=(1, 32, 32))
    assert head.size == (32, 32)
    assert head.global_ops == ("f",)


def test_names() -> None:
    model = build("resnet18")
    by_path = anatomy.receptive_field(model, of="layer3", wrt="layer2")
    node = anatomy.resolve(model, "layer3")
    assert anatomy.receptive_field(model, of=node, wrt=anatomy.resolve(model, "layer2")).size == by_path.size
    assert anatomy.resolve(model, "neck") == "flatten"
    assert anatomy.resolve(model, "input") == "x"
    for state in by_path.table(every=True):  # every name we print is one we understand
        anatomy.resolve(model, state.name)


def test_shared_module_means_its_last_call() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(1, 1, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(self.body(x))

    assert anatomy.receptive_field(Shared(), of="body").size == (5, 5)
    assert anatomy.receptive_field(Shared(), of="body_0").size == (3, 3)


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.fc(x.mean((2, 3), keepdim=True)).sigmoid()


def test_global_operations_are_named() -> None:
    field = anatomy.receptive_field(nn.Sequential(nn.Conv2d(3, 4, 3), Gate(), nn.Conv2d(4, 4, 3)))
    assert field.size == (5, 5)
    assert field.global_ops == ("1",)
    assert "and the whole input through '1'" in repr(field)
    norms = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.BatchNorm2d(4))
    assert anatomy.receptive_field(norms).global_ops == ("1", "2")
    assert anatomy.receptive_field(build("mobilenet_v3_small")).global_ops[0] == "features.1.block.1"


def test_channel_norm_is_local() -> None:
    assert anatomy.receptive_field(build("convnext_tiny")).global_ops == ()


def test_only_global_paths() -> None:
    with pytest.raises(ValueError, match=r"sees all of 'input' through 'avgpool'; give input_size"):
        anatomy.receptive_field(build("resnet18"), of="fc")
    assert anatomy.receptive_field(build("resnet18"), of="fc", input_size=(3, 200, 224)).size == (200, 224)


def test_interval_center_padding() -> None:
    field = anatomy.receptive_field(small(), input_size=(3, 32, 40))
    assert field.interval((0, 2)) == ((-5, 5), (3, 13))
    assert field.center((0, 2)) == (0.0, 8.0)
    assert field.padding_share((0, 2)) == pytest.approx(5 / 11)
    assert field.padding_share((3, 3)) == 0.0
    with pytest.raises(ValueError, match="call receptive_field"):
        anatomy.receptive_field(small()).padding_share((0, 0))
    with pytest.raises(ValueError, match=r"accepted: 0 … 7"):
        field.interval((8, 0))
    with pytest.raises(ValueError, match="give 2 int"):
        field.interval(3)


def test_fractional_stride() -> None:
    field = anatomy.receptive_field(nn.Sequential(nn.Conv1d(1, 1, 3), nn.ConvTranspose1d(1, 1, 4, 2)))
    assert field.stride == (Fraction(1, 2),)
    assert field.size == (4,)


def test_edges_name_the_path() -> None:
    class Lopsided(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv1d(1, 1, 3), nn.Conv1d(1, 1, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.left(x)[:, :, :-4], self.right(x)[:, :, 2:]], 1)

    ((low, high),) = anatomy.receptive_field(Lopsided()).edges
    assert low == ("input", "left", "getitem", "cat")
    assert high == ("input", "right", "getitem_1", "cat")


def test_table() -> None:
    table = anatomy.receptive_field(small(), input_size=(3, 32, 32)).table()
    assert [row.name for row in table] == ["0", "3"]
    assert table[1] == anatomy.LayerRow("3", "max pool", (3, 3), (2, 2), (11, 11), (4, 4), (-5, -5), (8, 8, 8))
    assert "max pool" in repr(table)
    assert table._repr_html_().count("<tr>") == 3
    assert "<table>" in anatomy.receptive_field(small())._repr_html_()
    assert len(anatomy.receptive_field(small()).table(every=True)) == 4


class Branching(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def odd() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 3, 3), Branching(), nn.Conv2d(3, 3, 3))


def test_leaf_rules() -> None:
    field = anatomy.receptive_field
    assert field(odd(), leaf_rules={Branching: "pointwise"}).size == (5, 5)
    window = anatomy.Window(kernel=(5, 1), stride=2, padding=2)
    assert field(odd(), leaf_rules={"1": window}).size == (11, 7)
    assert field(odd(), of="2", leaf_rules={Branching: "global"}, input_size=(3, 20, 21)).global_ops == ("1",)


def test_size_matters_only_where_it_does() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 3), nn.AdaptiveAvgPool2d(4))
    assert anatomy.receptive_field(net).of == "0"
    with pytest.raises(ValueError, match=r"what '1' sees depends on the size of the input; give input_size"):
        anatomy.receptive_field(net, of="1")
    assert anatomy.receptive_field(net, of="1", input_size=(1, 12, 12)).size == (5, 5)
    assert anatomy.receptive_field(net, of="1", input_size=(12, 13)).size == (5, 6)


def test_graph_module_and_text() -> None:
    traced = torch.fx.symbolic_trace(torchvision.models.resnet18(weights=None))
    assert anatomy.receptive_field(traced, of="layer3").size == (211, 211)
    text = nn.Sequential(nn.Embedding(10, 8), Turn(), nn.Conv1d(8, 4, 3, dilation=2))
    assert anatomy.receptive_field(text).size == (5,)


class Turn(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


RF = anatomy.receptive_field
EFFECTIVE = anatomy.effective_receptive_field
ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: RF(build("resnet18"), of="layer5"),
        ValueError,
        r"no node named 'layer5'; nearest: 'layer4', 'layer4\.1'",
    ),
    (lambda: RF(small(), of=3), TypeError, r"of=3\): give a name \(str\), not int"),
    (lambda: RF("net"), TypeError, "give an nn.Module, not str"),
    (lambda: RF(small(), contributors="pool"), ValueError, "accepted are 'all' and 'conv'"),
    (lambda: RF(small(), input_size=32), TypeError, r"input_size=32\): give \(C, H, W\)"),
    (lambda: RF(small(), input_size=(3, 0, 32)), ValueError, "at least 1"),
    (lambda: RF(small(), input_size=(3, 2.0, 32)), TypeError, "must be an int"),
    (lambda: RF(small(), input_size=(1, 3, 32, 32)), ValueError, "2 spatial axes"),
    (lambda: RF(small(), input_size=(1, 32, 32)), ValueError, "'0' cannot work on it"),
    (lambda: RF(small(), of="0", wrt="3"), ValueError, "no path from '3' to '0'"),
    (lambda: RF(nn.Linear(3, 2)), ValueError, "no layer tells how many spatial axes"),
    (lambda: RF(odd()), ValueError, r"cannot trace module '1' \(Branching\).*leaf_rules=\{Branching"),
    (lambda: RF(odd(), leaf_rules={Branching: "x"}), ValueError, "'x' for .* is not a rule"),
    (
        lambda: RF(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Unfold(3))),
        ValueError,
        r"module '1' \(Unfold\).*leaf_rules",
    ),
    (lambda: anatomy.resolve(nn.Sequential(nn.Conv2d(1, 1, 3)), "neck"), ValueError, "has no linear layer"),
    (lambda: anatomy.Window(kernel=0), ValueError, "must be at least 1"),
    (lambda: EFFECTIVE(small(), input_size=(3, 32, 32), samples=0), ValueError, "samples=0"),
    (lambda: EFFECTIVE(build("resnet18"), input_size=(3, 32, 32)), ValueError, "meta device"),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS)
def test_error_sentences(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_model_is_untouched() -> None:
    model = torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=True).train()
    seen: list[torch.Tensor] = []
    model.conv1.register_forward_hook(lambda *given: seen.append(given[2]))
    model.inception3a.eval()
    before = copy.deepcopy(model.state_dict())
    modes = [m.training for m in model.modules()]
    random_state = torch.get_rng_state()
    anatomy.receptive_field(model)
    anatomy.effective_receptive_field(model, input_size=(3, 96, 96), samples=1)
    assert modes == [m.training for m in model.modules()]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not seen
    assert torch.equal(random_state, torch.get_rng_state())
    assert not list(model.graph.nodes) if hasattr(model, "graph") else True
