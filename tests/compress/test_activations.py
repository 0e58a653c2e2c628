from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy, relu

from tests.compress.nets import made
from tlcore import training, worlds, zoo
from tlcore.compress.activations import ActivationL1, activity, prune_silent
from tlcore.compress.units import inner_units

PLAIN = {"device": "cpu", "arithmetic": training.Arithmetic(), "progress": False}


def test_penalty_by_hand():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x, y = torch.randn(6, 3), torch.arange(6) % 2
    with ActivationL1(net, weight=0.3) as loss:
        with pytest.raises(ValueError, match="has not run yet"):
            loss.penalty()
        out = net(x)
        inner = relu(x @ net[0].weight.T + net[0].bias)
        expected = cross_entropy(out, y) + 0.3 * inner.abs().mean(0).sum()
        assert torch.allclose(loss(out, y), expected)
        with torch.no_grad():
            assert torch.equal(loss(out, y), cross_entropy(out, y))  # as in validation
        gradient = torch.autograd.grad(loss(net(x), y), net[0].weight)[0]
        assert torch.allclose(gradient, torch.autograd.grad(expected, net[0].weight)[0])
        copy.deepcopy(net)(100 * x)  # a copy keeps the hook and is not listened to
        assert torch.allclose(loss.penalty(), 0.3 * inner.mean(0).sum())
    assert not any(m._forward_pre_hooks for m in net.modules())


def test_penalty_on_maps_is_a_mean_over_places_flattened_or_not():
    net, x = made("cnn")
    layers = {"0": net[:4], "4": net[:8], "9": net[:11]}
    with ActivationL1(net, weight=1.0) as loss:
        net(x)
        found = {path: value.item() for path, value in loss.seen.items()}
    for path, part in layers.items():
        inner = part(x).abs()  # (N, C) or (N, C, H, W)
        assert found[path] == pytest.approx(inner.transpose(0, 1).flatten(1).mean(1).sum().item())


def test_training_with_the_penalty_silences_units_and_they_go():
    data = worlds.Gaussian(features=6, distance=4).sample(256)
    silent = []
    for weight in (0.0, 0.05):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 2))
        with ActivationL1(net, weight=weight) as loss:
            training.fit(net, data, epochs=15, lr=0.1, batch_size=32, loss=loss, **PLAIN)
        done = prune_silent(net, data)
        silent.append(32 - done.model[0].out_features)
        with torch.no_grad():
            assert torch.allclose(done.model(data.inputs), net(data.inputs), atol=1e-6)
        assert done.sparsity == pytest.approx(silent[-1] / 32)
        assert training.evaluate(done.model, data)[1] > 0.9
    assert silent[1] > silent[0] + 5


@settings(max_examples=15, deadline=None)
@given(kind=st.sampled_from(["mlp", "cnn", "residual", "mobile"]), seed=st.integers(0, 50))
def test_the_function_is_preserved_on_the_data(kind: str, seed: int):
    net, x = made(kind, seed)
    units, _ = inner_units(net)
    path = list(units)[seed % len(units)]
    with torch.no_grad():  # silence some, by what comes last before the readers
        last = net.get_submodule((*units[path].followers, path)[0] if units[path].followers else path)
        if kind != "mlp" or path == "0":
            last.bias[: len(last.bias) // 2] = -1e3
            last.weight[: len(last.bias) // 2] = 0.1
    done = prune_silent(net, x)
    assert torch.allclose(done.model(x), net(x), atol=1e-9)
    most = activity(net, x)
    for name, kept in done.kept.items():
        gone = set(range(units[name].count)) - set(kept.tolist())
        assert all(most[name][n] == 0 for n in gone)
        assert len(kept) == max(1, int((most[name] > 0).sum()))


def test_a_resnet_with_a_silent_channel():
    torch.manual_seed(0)
    net = zoo.get_model("resnet20").eval()
    with torch.no_grad():
        net.layer2[1].bn1.bias[3:7] = -50
    x = torch.randn(4, 3, 32, 32)
    done = prune_silent(net, x)
    assert done.model.layer2[1].conv1.out_channels <= 28
    assert torch.allclose(done.model(x), net(x), atol=1e-4) and not net.training


def test_tolerance_and_refusals():
    net = nn.Sequential(nn.Linear(1, 3, bias=False), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[0.01], [1.0], [-1.0]]))
    data = torch.ones(2, 1)
    assert prune_silent(net, data).kept["0"].tolist() == [0, 1]
    assert prune_silent(net, data, tolerance=0.1).kept["0"].tolist() == [1]
    assert prune_silent(net, data, tolerance=5).kept["0"].tolist() == [1]  # the most active stays
    with pytest.raises(ValueError, match="tolerance=-1"):
        prune_silent(net, data, tolerance=-1)
    with pytest.raises(ValueError, match=r"weight=-0\.5"):
        ActivationL1(net, weight=-0.5)
    with pytest.raises(ValueError, match=r"there are none \(2: Linear: its units are the network's output\)"):
        ActivationL1(net, layers=["2"])
    with pytest.raises(ValueError, match="there are none"):
        ActivationL1(nn.Linear(2, 2))


def test_a_unit_is_silent_only_if_no_reader_hears_it():
    class Fork(nn.Module):
        def __init__(self):
            super().__init__()
            self.h, self.drop = nn.Conv2d(3, 6, 3), nn.Dropout(0.1)
            self.a, self.b = nn.Conv2d(6, 2, 1), nn.Conv2d(6, 2, 1)

        def forward(self, x):
            h = self.h(x)
            return self.a(torch.relu(h)) + self.b(self.drop(h))

    torch.manual_seed(0)
    net, x = Fork().eval(), torch.rand(16, 3, 5, 5)
    with torch.no_grad():
        net.h.bias[:3] = -9  # silent behind the ReLU, and not without it
    done = prune_silent(net, x)
    assert torch.allclose(done.model(x), net(x), atol=1e-6) and done.model.h.out_channels == 6
