from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.compress.nets import NETS, Tail, made
from tlcore import anatomy, training, worlds, zoo
from tlcore.compress.masks import masked
from tlcore.compress.pruning import magnitude_pruning, prune, random_pruning
from tlcore.compress.rewire import gated, remove_units
from tlcore.compress.units import inner_units

CPU = {"device": "cpu"}


@settings(max_examples=25, deadline=None)
@given(kind=st.sampled_from(list(NETS)), seed=st.integers(0, 99))
def test_a_net_without_units_is_the_net_whose_readers_take_them_for_zero(kind: str, seed: int):
    net, x = made(kind, seed)
    units, _ = inner_units(net)
    draws = torch.Generator().manual_seed(seed)
    chosen = {p: torch.randperm(u.count, generator=draws)[: seed % u.count] for p, u in units.items()}
    gates = {p: torch.ones(u.count, dtype=x.dtype) for p, u in units.items()}
    for path, gone in chosen.items():
        gates[path][gone] = 0
    small = remove_units(net, chosen)
    with gated(net, units, gates):
        expected = net(x)
    assert torch.allclose(small(x), expected, atol=1e-10)
    assert all(small.get_submodule(p).weight.shape[0] == u.count - len(chosen[p]) for p, u in units.items())


def test_units_of_a_cifar_resnet_are_the_inner_channels_of_its_blocks():
    net = zoo.get_model("resnet20")
    units, alone = inner_units(net)
    assert list(units) == [f"layer{s}.{b}.conv1" for s in (1, 2, 3) for b in range(3)]
    assert alone["conv1"] == "Conv2d: its units are added to others" and "output" in alone["fc"]
    half = prune(net, [(torch.rand(4, 3, 32, 32), torch.arange(4))], sparsity=0.5, of="units", scope="layer", **CPU)
    before, after = (anatomy.profile(n, (3, 32, 32)) for n in (net, half.model))
    # half of the inner channels: half of all multiplications but those of the first layer and the head
    inner = before.macs - 32 * 32 * 27 * 16 - 640
    assert after.macs == before.macs - inner // 2
    assert half.rounds[-1].parameters == sum(p.numel() for p in half.model.parameters()) < 0.52 * 269722
    half.model.train()(torch.rand(4, 3, 32, 32)).sum().backward()  # it still trains
    assert half.left_alone == alone and "its units are added to others): conv1, layer1.0.conv2" in repr(half)


def test_what_cannot_be_treated_is_named():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
            self.b.weight = self.a.weight

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(torch.relu(self.b(torch.relu(self.a(x)))))

    cases = {
        "groups": (nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, groups=2), nn.Conv2d(4, 1, 1)), "0", "in 2 groups"),
        "norm": (nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 1)), "0", "LayerNorm mixes"),
        "softmax": (nn.Sequential(nn.Linear(4, 4), nn.Softmax(1), nn.Linear(4, 1)), "0", "Softmax mixes"),
        "twice": (nn.Sequential(*[nn.Linear(4, 4)] * 2, nn.Linear(4, 1)), "0", "called 2 times"),
        "transposed": (nn.Sequential(nn.ConvTranspose2d(4, 4, 2), nn.Conv2d(4, 1, 1)), "0", "transposed"),
        "tied": (Tied(), "a", "shares its weights"),
        "map": (nn.Sequential(nn.Conv2d(4, 4, 1), nn.Linear(4, 2)), "0", "another order"),
        "sequence": (nn.Sequential(nn.Linear(4, 4), nn.Flatten(), nn.Linear(8, 2)), "0", "another order"),
    }  # fmt: skip
    for net, path, told in cases.values():
        units, alone = inner_units(net)
        assert path not in units and told in alone[path], alone
        with pytest.raises(ValueError, match=told):
            remove_units(net, {path: [0]})


def test_equal_sparsity_for_every_criterion_and_kind():
    net, x = made("cnn", dtype=torch.float32)
    data = [(x, torch.arange(len(x)) % 3)]
    for of in ("weights", "units"):
        gone = {c: prune(net, data, sparsity=0.5, criterion=c, of=of, **CPU) for c in ("obd", "magnitude", "random")}
        assert len({round(done.sparsity, 6) for done in gone.values()}) == 1
        assert gone["obd"].sparsity == pytest.approx(0.5, abs=0.04)
    assert len({str(done.kept) for done in gone.values()}) == 3  # and each takes others


def test_sparsity_at_both_ends():
    net, x = made("cnn", dtype=torch.float32)
    data = [(x, torch.arange(len(x)) % 3)]
    assert torch.equal(magnitude_pruning(net, data, sparsity=0, **CPU).model(x), net(x))
    assert torch.allclose(magnitude_pruning(net, data, sparsity=0, of="units", **CPU).model(x), net(x))
    all_gone = random_pruning(net, data, sparsity=1, rounds=2, **CPU)
    assert all_gone.sparsity == 1 and all((all_gone.model(x) == all_gone.model(x)[:1]).flatten())
    least = random_pruning(net, data, sparsity=1.0, of="units", **CPU)
    assert [len(k) for k in least.kept.values()] == [1, 1, 1] and least.model(x).shape == (5, 3)


def test_magnitude_takes_the_smallest_of_the_network_or_of_each_layer():
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 2], [3, -4]]))
        net[1].weight.copy_(torch.tensor([[10.0, -20], [30, 40]]))
    data = [(torch.ones(1, 2), torch.tensor([0]))]
    whole = magnitude_pruning(net, data, sparsity=0.5, **CPU).masks
    assert [int(m.sum()) for m in whole.values()] == [0, 4]
    each = magnitude_pruning(net, data, sparsity=0.5, scope="layer", **CPU).masks
    assert [m.tolist() for m in each.values()] == [[[False, False], [True, True]]] * 2
    unit = magnitude_pruning(net, data, sparsity=0.5, of="units", **CPU)
    assert unit.kept["0"].tolist() == [1] and unit.model[0].weight.tolist() == [[3, -4]]
    assert unit.model[1].weight.tolist() == [[-20], [40]]


def test_a_criterion_of_ones_own():
    net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    data = [(torch.ones(1, 2), torch.tensor([0]))]
    done = prune(net, data, sparsity=0.5, of="units", criterion=lambda m, b: {"0": torch.tensor([3.0, 0, 2, 1])}, **CPU)
    assert done.kept["0"].tolist() == [0, 2]
    with pytest.raises(ValueError, match=r"scores of shape \(3,\) for '0'; a tensor \(4,\)"):
        prune(net, data, sparsity=0.5, of="units", criterion=lambda m, b: {"0": torch.ones(3)}, **CPU)
    with pytest.raises(ValueError, match="no numbers"):
        prune(net, data, sparsity=0.5, of="units", criterion=lambda m, b: {"0": torch.full((4,), torch.nan)}, **CPU)


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW])
def test_masks_hold_through_training_with_any_optimizer(make: type[torch.optim.Optimizer]):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    masks = {n: torch.rand(p.shape) > 0.5 for n, p in net.named_parameters() if p.ndim > 1}
    data = worlds.Gaussian(features=4, distance=4).sample(64)
    was = copy.deepcopy(net.state_dict())
    with masked(net, masks):
        training.fit(
            net,
            data,
            epochs=2,
            optimizer=lambda ps: make(ps, lr=0.05, weight_decay=0.1),
            progress=False,
            ema=0.5,
            **CPU,
        )
    for name, mask in masks.items():
        weight = net.get_parameter(name)
        assert (weight[~mask] == 0).all() and (weight[mask] != was[name][mask]).all()
    with pytest.raises(ValueError, match="equal shapes"), masked(net, {"0.weight": torch.ones(2, 2, dtype=torch.bool)}):
        pass
    training.fit(net, data, epochs=1, lr=0.5, progress=False, **CPU)
    assert (net[0].weight[~masks["0.weight"]] != 0).any()  # the hooks are gone


def test_units_prune_and_recover_on_images():
    train, val = worlds.Shapes(shapes=("circle", "star"), size=16).sample(160).split(0.7)
    torch.manual_seed(0)
    net = Tail(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()), 8)
    net.fc = nn.Linear(8, 2)
    done = prune(net, train, val, sparsity=0.5, of="units", rounds=2, epochs=1, progress=False, **CPU)
    assert [r.round for r in done.rounds] == [0, 1, 2]
    assert sum(len(k) for k in done.kept.values()) == 8 and done.rounds[0].accuracy is not None
    assert done.model.body[0].out_channels == done.model.body[1].num_features == done.model.body[3].in_channels


def test_refusals():
    net, x = made("cnn", dtype=torch.float32)
    data = [(x, torch.arange(len(x)) % 3)]
    for wrong, told in [
        ({"sparsity": -0.1}, "sparsity=-0.1.*nearest: 0"), ({"sparsity": float("nan")}, "sparsity=nan"),
        ({"sparsity": 0.5, "criterion": "magnitud"}, "nearest: 'magnitude'"), ({"sparsity": 0.5, "rounds": 0}, "rounds=0"),
        ({"sparsity": 0.5, "scope": "global"}, "scope='global'"), ({"sparsity": 0.5, "layers": ["nope"]}, "'nope'"),
        ({"sparsity": 0.5, "of": "units", "layers": ["11"]}, "network's output"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=told):
            prune(net, data, **wrong, **CPU)
    with pytest.raises(ValueError, match=r"none that could go .*LSTM has no weights"):
        prune(nn.Sequential(nn.LSTM(4, 3)), data, sparsity=0.5, **CPU)
    with pytest.raises(ValueError, match="lose all its 6 units"):
        remove_units(net, {"0": range(6)})
    with pytest.raises(ValueError, match="no unit 6; from 0 to 5"):
        remove_units(net, {"0": [6]})
