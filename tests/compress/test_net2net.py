from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.compress.nets import NETS, made
from tlcore import training, worlds, zoo
from tlcore.compress.deeper import deeper
from tlcore.compress.net2net import net2net
from tlcore.compress.units import inner_units
from tlcore.compress.wider import wider

RELU = {"mlp": ["0"], "cnn": ["0", "9"], "residual": ["body.1.conv1", "body.2.conv1"], "wide": ["body.1.conv1"]}


@settings(max_examples=20, deadline=None)
@given(kind=st.sampled_from(list(NETS)), seed=st.integers(0, 99), factor=st.floats(1, 3))
def test_a_wider_net_computes_the_same(kind: str, seed: int, factor: float):
    net, x = made(kind, seed, torch.float32)
    done = net2net(net, wider=factor, seed=seed)
    assert torch.allclose(done.model(x), net(x), atol=1e-5)
    assert done.widths == {p: (u.count, round(u.count * factor)) for p, u in inner_units(net)[0].items()}
    for path, (_, now) in done.widths.items():
        assert len(done.model.get_submodule(path).weight) == now


@settings(max_examples=15, deadline=None)
@given(kind=st.sampled_from(list(RELU)), seed=st.integers(0, 99), norm=st.booleans(), wide=st.booleans())
def test_a_deeper_net_computes_the_same(kind: str, seed: int, norm: bool, wide: bool):
    net, x = made(kind, seed, torch.float32)
    done = net2net(net, wider=1.5 if wide else None, deeper=RELU[kind], data=x if norm else None)
    assert torch.allclose(done.model(x), net(x), atol=1e-5)
    layers = [sum(isinstance(m, (nn.Linear, nn.Conv2d)) for m in n.modules()) for n in (net, done.model)]
    assert layers[1] == layers[0] + len(RELU[kind])


def test_in_training_mode_too():
    net, x = made("residual", 3, torch.float32)
    path = "body.1.conv1"
    for new, near in (
        (wider(net, path, 9), 1e-5), (deeper(net, path), 1e-5),
        (deeper(net, path, data=x), None),  # batch statistics are not those of the data in evaluation mode
    ):  # fmt: skip
        expected = net.train()(x)
        got = new.train()(x)
        assert near is None or torch.allclose(got, expected, atol=near)
        net, x = made("residual", 3, torch.float32)
    torch.manual_seed(0)  # with statistics of these very data the undone normalisation is undone in training as well
    plain = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    data = torch.randn(500, 4)
    for _ in range(200):
        plain.train()(data)
    grown = deeper(plain.eval(), "0", data=data)
    assert torch.allclose(grown.train()(data), plain.train()(data), atol=5e-3)


def test_wider_is_algorithm_1():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    new = wider(net, "0", 8, seed=5)
    index = [next(k for k in range(3) if torch.equal(new[0].weight[j], net[0].weight[k])) for j in range(8)]
    assert index[:3] == [0, 1, 2]
    for j, k in enumerate(index):
        assert new[0].bias[j] == net[0].bias[k]
        assert torch.allclose(new[2].weight[:, j], net[2].weight[:, k] / index.count(k))
    assert torch.equal(wider(net, "0", 8, seed=5)[0].weight, new[0].weight)
    assert any(not torch.equal(wider(net, "0", 8, seed=s)[0].weight, new[0].weight) for s in range(6, 10))


def test_noise_breaks_the_symmetry():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    data = worlds.Gaussian(features=4, distance=3).sample(64)
    same = []
    for noise in (0.0, 0.05):
        new = wider(net, "0", 12, noise=noise)
        assert torch.equal(new[0].weight[:6], net[0].weight)
        assert torch.allclose(new(data.inputs), net(data.inputs), atol=0.5 if noise else 1e-6)
        training.fit(new, data, epochs=3, progress=False, device="cpu", weight_decay=0.0)
        rows = new[0].weight.detach()
        gaps = torch.cdist(rows, rows) + 99 * torch.eye(12)
        same.append(int((gaps.min(1).values < 1e-5).sum()))
    assert same[0] >= 6 and same[1] == 0


def test_resnet20_grows_and_trains():
    torch.manual_seed(0)
    net = zoo.get_model("resnet20").eval()
    x = torch.randn(8, 3, 32, 32)
    done = net2net(net, wider=1.5, deeper=["layer1.0.conv1", "layer3.1.conv1", "conv1"], data=x)
    assert torch.allclose(done.model(x), net(x), atol=1e-5)
    kinds = [type(m).__name__ for m in done.model.layer3[1].bn1]
    assert kinds == ["BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d"]
    assert done.model.layer3[1].bn1[2].out_channels == 96 and not done.model.training
    assert set(done.left_alone) == set(inner_units(net)[1])
    assert "layer3.1.conv1     64   96" in repr(done) and "<table" in done._repr_html_()
    done.model.train()(x).sum().backward()
    assert all(p.grad is not None for p in done.model.parameters())


def test_deeper_twice_and_with_another_kernel():
    net, x = made("cnn", 1, torch.float32)
    new = deeper(deeper(net, "0", kernel=5), "0", data=[(x, torch.zeros(5))])
    assert torch.allclose(new(x), net(x), atol=1e-5)
    assert sorted(m.kernel_size[0] for m in new.modules() if isinstance(m, nn.Conv2d)) == [3, 3, 3, 5]
    noisy = deeper(net, "0", noise=0.1)
    assert not torch.allclose(noisy(x), net(x), atol=1e-5)


def test_refusals():
    net, _ = made("cnn", 0, torch.float32)
    cases = [
        (lambda: wider(net, "11", 5), "'11' cannot be made wider .*output.*accepted are '0', '4', '9'"),
        (lambda: wider(net, "0", 5), "width=5.*from 6 on"),
        (lambda: wider(net, "1", 9), "no linear layer or convolution at '1'"),
        (lambda: wider(net, "0", 9, noise=-1), "noise=-1"),
        (lambda: deeper(net, "4"), "'4' is followed by PReLU"),
        (lambda: deeper(net, "11"), "'11' is followed by output"),
        (lambda: deeper(net, "0", kernel=2), "kernel=2.*odd"),
        (lambda: deeper(net, "9", kernel=3), "has no kernel"),
        (lambda: net2net(net, wider=0.5), "wider=0.5.*from 1 on"),
        (lambda: net2net(net, wider={"11": 9}), "'11' cannot be made wider"),
        (lambda: net2net(net, wider={"0": 3}), "'0' has 6 units; 3 is given"),
    ]
    for call, told in cases:
        with pytest.raises(ValueError, match=told):
            call()
    sigmoid = nn.Sequential(nn.Linear(2, 3), nn.Sigmoid(), nn.Linear(3, 2))
    with pytest.raises(ValueError, match="followed by Sigmoid; behind it an identity would not stay one"):
        deeper(sigmoid, "0")


def test_layers_whose_neighbours_mix_units_or_come_twice_are_refused():
    pooled = nn.Sequential(nn.Linear(6, 8), nn.MaxPool1d(3, stride=1, padding=1), nn.Linear(8, 2))
    with pytest.raises(ValueError, match="MaxPool1d"):
        wider(pooled, "0", 12)

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.c1, self.c2, self.c3 = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
            self.bn = nn.BatchNorm2d(4)

        def forward(self, x):
            return self.c3(torch.tanh(self.bn(self.c2(torch.relu(self.bn(self.c1(x)))))))

    with pytest.raises(ValueError, match="called more than once"):
        deeper(Twice(), "c1")
