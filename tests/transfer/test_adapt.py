from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from tlcore import shift, training, transfer, worlds, zoo
from tlcore.transfer.taps import tapped, taps, vectors

WORLD = worlds.Gaussian(features=6, distance=4)
METHODS = {"dan": transfer.dan, "deep_coral": transfer.deep_coral, "dann": transfer.dann}
QUIET: dict[str, Any] = {"progress": False, "arithmetic": training.Arithmetic(), "device": "cpu"}


def net(seed: int = 0, features: int = 6, classes: int = 2) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(features, 16), nn.ReLU(), nn.Linear(16, classes))


def moved(count: int = 512, seed: int = 1, by: float = 3.0) -> worlds.Dataset:
    """The same world through a sensor with an offset along the classes."""
    data = WORLD.sample(count, seed=seed)
    return worlds.Dataset(data.inputs + by * WORLD.direction, data.targets, data.classes, "moved")


# the distances


@given(st.integers(0, 1000), st.integers(2, 6), st.integers(2, 6))
@settings(max_examples=20, deadline=None)
def test_mk_mmd_is_its_definition(seed, n, m):
    draws = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(k, 3, generator=draws, dtype=torch.float64) for k in (n, m))
    pooled = torch.cat([x, y])
    pairs = [((a - b) ** 2).sum() for a, b in itertools.combinations(pooled, 2)]
    square = float(sum(pairs) / len(pairs))

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        far = float(((a - b) ** 2).sum())
        return sum(math.exp(-far / (2 * f * square)) for f in (0.25, 0.5, 1, 2, 4)) / 5

    expected = sum(kernel(a, b) for a, b in itertools.permutations(x, 2)) / (n * (n - 1))
    expected += sum(kernel(a, b) for a, b in itertools.permutations(y, 2)) / (m * (m - 1))
    expected -= 2 * sum(kernel(a, b) for a in x for b in y) / (n * m)
    assert float(transfer.mk_mmd(x, y)) == pytest.approx(expected, abs=1e-9)


def test_the_distances_are_those_that_shift_measures():
    draws = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 5, generator=draws), 1.5 * torch.randn(30, 5, generator=draws) + 1
    one = transfer.mk_mmd(x, y, factors=(1.0,), bandwidth=1.3)
    assert float(one) == pytest.approx(shift.mmd(x, y, bandwidth=1.3, permutations=0).statistic, abs=1e-5)
    assert float(transfer.coral_loss(x, y)) == pytest.approx(shift.coral_distance(x, y), rel=1e-4)


@pytest.mark.parametrize("loss", [transfer.mk_mmd, transfer.coral_loss])
def test_gradients_of_the_distances(loss):
    draws = torch.Generator().manual_seed(0)
    x, y = (torch.randn(5, 3, generator=draws, dtype=torch.float64, requires_grad=True) for _ in range(2))
    fixed = {"bandwidth": 1.0} if loss is transfer.mk_mmd else {}  # by default it moves, as a constant
    assert torch.autograd.gradcheck(lambda a, b: loss(a, b, **fixed), (x, y))


@pytest.mark.parametrize("loss", [transfer.mk_mmd, transfer.coral_loss])
def test_the_distances_keep_their_precision_under_autocast_and_refuse(loss):
    x, y = torch.randn(20, 8), torch.randn(20, 8) + 50
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(x, y)
    assert inside.dtype == torch.float32 and torch.equal(inside, loss(x, y))
    assert torch.isfinite(loss(x[:2] * 0, x[:2] * 0))
    with pytest.raises(ValueError, match=r"\(20, 8\) and \(20, 7\)"):
        loss(x, y[:, :7])
    with pytest.raises(ValueError, match="1 source and 20 target rows; at least 2"):
        loss(x[:1], y)


def test_factors_are_checked():
    with pytest.raises(ValueError, match="factors="):
        transfer.mk_mmd(torch.rand(3, 2), torch.rand(3, 2), factors=(1.0, 0.0))


# the adversary


@given(st.floats(0, 3))
@settings(max_examples=10, deadline=None)
def test_the_reversed_gradient_is_minus_strength_times_the_gradient(strength):
    x = torch.randn(4, 3, requires_grad=True)
    (plain,) = torch.autograd.grad((x**3).sum(), x)
    (reversed_,) = torch.autograd.grad((transfer.reverse_gradient(x, strength) ** 3).sum(), x)
    assert torch.allclose(reversed_, -strength * plain)
    assert torch.equal(transfer.reverse_gradient(x, strength), x)


def test_the_adversary_goes_down_and_the_features_go_up():
    adversary = transfer.DomainAdversary(3)
    source, target = torch.randn(8, 3, requires_grad=True), torch.randn(6, 3, requires_grad=True)
    loss = adversary(source, target, strength=0.5)
    said = adversary.net(torch.cat([source, target]))[:, 0]
    plain = (
        binary_cross_entropy_with_logits(said[:8], torch.ones(8))
        + binary_cross_entropy_with_logits(said[8:], torch.zeros(6))
    ) / 2  # fmt: skip
    assert torch.allclose(loss, plain)
    mine = torch.autograd.grad(loss, [source, target, *adversary.parameters()])
    theirs = torch.autograd.grad(plain, [source, target, *adversary.parameters()])
    for n, (a, b) in enumerate(zip(mine, theirs)):
        assert torch.allclose(a, -0.5 * b if n < 2 else b, atol=1e-7)


def test_the_strength_is_the_papers():
    assert transfer.dann_strength(0) == 0
    assert transfer.dann_strength(0.3) == pytest.approx(2 / (1 + math.exp(-3)) - 1)
    assert transfer.inverse_decay(200)(100) == pytest.approx(1 / (1 + 5) ** 0.75)


def test_the_adversarys_weights_do_not_depend_on_earlier_draws_nor_change_later_ones():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one = transfer.DomainAdversary(4, seed=1)
    assert torch.equal(torch.rand(3), expected)
    two = transfer.DomainAdversary(4, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))


# taps


def test_taps_see_what_the_network_computes():
    resnet = zoo.get_model("resnet20").eval()
    x = torch.rand(2, 3, 32, 32)
    out, seen = tapped(resnet, taps(resnet, ["neck", "layer2", "logits"], "f"), x)
    assert torch.equal(out, resnet(x)) and torch.equal(seen["logits"], out)
    assert torch.allclose(resnet.fc(seen["neck"]), out)
    assert seen["layer2"].shape == (2, 32, 16, 16) and vectors(seen["layer2"]).shape == (2, 32)
    assert not any(m._forward_hooks for m in resnet.modules())
    with pytest.raises(ValueError, match="'layer2'"):
        taps(resnet, ["layre2"], "f")


# training


def by_hand(
    model: nn.Sequential,
    source: worlds.Dataset,
    target: torch.Tensor,
    distance: Callable[..., Any],
    steps: int,
    lr: float,
) -> None:
    """A few full-batch steps of plain SGD on the loss, written out."""
    for step in range(steps):
        a, b = model[1](model[0](source.inputs)), model[1](model[0](target))
        loss = cross_entropy(model[2](a), source.targets) + distance(a, b, step / steps)
        grads = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, g in zip(model.parameters(), grads):
                p -= lr * g


def test_the_steps_are_those_of_the_loss_written_out():
    source, target = WORLD.sample(32), moved(32).inputs
    ours, theirs = net(), net()
    transfer.dan(ours, source, target, layers=("neck",), weight=lambda p: 1 + p, epochs=4, lr=0.1, batch_size=32, momentum=0,
                 weight_decay=0, schedule="constant", **QUIET)  # fmt: skip
    by_hand(theirs, source, target, lambda a, b, p: (1 + p) * transfer.mk_mmd(a, b), 4, 0.1)
    for a, b in zip(ours.parameters(), theirs.parameters()):
        assert torch.allclose(a, b, atol=1e-5)


def test_danns_steps_are_the_papers_algorithm():
    """Algorithm 1: the features descend on the labels' loss and climb on the domains', the adversary descends."""
    source, target = WORLD.sample(32), moved(32).inputs
    ours, theirs, rate, steps = net(), net(), 0.1, 5
    transfer.dann(ours, source, target, strength=lambda p: 0.3 + p, epochs=steps, lr=rate, batch_size=32, momentum=0, weight_decay=0,
                  schedule="constant", hidden=7, seed=0, **QUIET)  # fmt: skip
    adversary = transfer.DomainAdversary(16, hidden=7, seed=0).net
    for step in range(steps):
        a, b = (theirs[1](theirs[0](x)) for x in (source.inputs, target))
        labels = cross_entropy(theirs[2](a), source.targets)
        said = adversary(torch.cat([a, b]))[:, 0]
        domains = binary_cross_entropy_with_logits(said, torch.tensor([1.0] * 32 + [0.0] * 32))
        below, above = list(theirs[0].parameters()), list(theirs[2].parameters())
        down = torch.autograd.grad(labels, below + above, retain_graph=True)
        up = torch.autograd.grad(domains, below + list(adversary.parameters()))
        with torch.no_grad():
            for n, p in enumerate(below):
                p -= rate * (down[n] - (0.3 + step / steps) * up[n])
            for p, g in zip(above + list(adversary.parameters()), down[len(below) :] + up[len(below) :]):
                p -= rate * g
    for a, b in zip(ours.parameters(), theirs.parameters()):
        assert torch.allclose(a, b, atol=1e-5)


def test_without_weight_it_is_training_on_the_source():
    source, target = WORLD.sample(256), moved(256).inputs
    ours, theirs = net(), net()
    transfer.adapt(ours, source, target, transfer.mk_mmd, weight=0.0, epochs=3, schedule="constant", **QUIET)
    training.fit(theirs, worlds.Loader(source, 64, drop_last=True), epochs=3, lr=0.01, schedule="constant", **QUIET)
    for a, b in zip(ours.parameters(), theirs.parameters()):
        assert torch.allclose(a, b, atol=1e-5)


def misled(count: int, seed: int, *, told: bool) -> worlds.Dataset:
    """One more feature: in the source it tells the class, in the target it is noise of another size."""
    data = WORLD.sample(count, seed=seed)
    noise = torch.randn(count, generator=torch.Generator().manual_seed(seed))
    extra = 2 * (2.0 * data.targets - 1) + noise if told else 5 * noise
    return worlds.Dataset(torch.cat([data.inputs, extra[:, None]], 1), data.targets, data.classes)


@pytest.mark.parametrize("name", ["dan", "dann"])
def test_what_the_domains_do_not_share_is_given_up(name):
    source, target, test = misled(512, 0, told=True), misled(512, 1, told=False), misled(2000, 2, told=False)
    plain, ours = net(features=7), net(features=7)
    options = {"epochs": 30, "lr": 0.05, **QUIET}
    transfer.adapt(plain, source, target.inputs, transfer.mk_mmd, weight=0.0, **options)
    METHODS[name](ours, source, target.inputs, **options)
    before, after = (training.evaluate(m, test, device="cpu")[1] for m in (plain, ours))
    assert before < 0.83 and after > before + 0.03, (before, after)


def test_deep_coral_brings_covariances_together():
    source = WORLD.sample(512)
    target = worlds.Dataset(source.inputs * 3, source.targets, source.classes)
    far = []
    for weight in (0.0, 100.0):
        model = net()
        transfer.deep_coral(model, source, target, weight=weight, epochs=20, lr=0.01, **QUIET)
        far.append(shift.coral_distance(model(source.inputs), model(target.inputs)))
    assert far[1] < 0.3 * far[0]


@pytest.mark.parametrize("name", METHODS)
def test_target_labels_are_never_read_and_seeds_repeat(name):
    source, target = WORLD.sample(128), moved(192)
    other = worlds.Dataset(target.inputs, 1 - target.targets, target.classes)
    nets = [net() for _ in range(4)]
    for model, side in zip(nets, (target, other, target.inputs, worlds.Loader(target, 64, seed=1, drop_last=True))):
        METHODS[name](model, source, side, epochs=2, **QUIET)
    for model in nets[1:]:
        assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), model.parameters()))


@pytest.mark.parametrize("name", METHODS)
def test_any_zoo_net_and_layer_with_automatic_arithmetic(name):
    world = worlds.Shapes(shapes=("circle", "star"))
    source, target = world.sample(24), world.but(noise=0.2).sample(40, seed=1)
    images = worlds.Dataset((source.inputs * 255).byte(), source.targets, source.classes)
    model = transfer.replace_head(zoo.get_model("resnet20"), 2)
    history = METHODS[name](
        model, images, worlds.Dataset((target.inputs * 255).byte(), target.targets, target.classes),
        layers=("layer3", "neck"), epochs=2, batch_size=8, val=source, progress=False,
    )  # fmt: skip
    assert history.last.epoch == 2 and history.last.val_accuracy is not None
    assert history.settings["method"] == name and history.settings["layers"] == ("layer3", "neck")
    assert not model.training and not any(m._forward_hooks for m in model.modules()) and not model.fc._forward_pre_hooks


def test_batches_of_ones_own_and_sides_of_different_length():
    source = worlds.Loader(worlds.Shapes(shapes=("circle", "star")).sample(40), 10, augment=("flip",))
    seen = []
    target = [(torch.rand(10, 3, 32, 32), None) for _ in range(7)]
    model = transfer.replace_head(zoo.get_model("resnet20"), 2)
    history = transfer.adapt(
        model,
        source,
        target,
        lambda a, b: seen.append((len(a), len(b))) or (a.mean() - b.mean()) ** 2,
        epochs=2,
        **QUIET,
    )
    assert len(seen) == 14 and set(seen) == {(10, 10)} and history.last.epoch == 2


def test_copies_of_the_network_are_left_alone():
    model = net()
    twin = copy.deepcopy(model)
    transfer.dann(model, WORLD.sample(64), moved(64), epochs=1, **QUIET)
    assert all(torch.equal(a, b) for a, b in zip(twin.parameters(), net().parameters()))


# bad input


def test_what_cannot_be_is_told_in_a_sentence():
    source, target = WORLD.sample(100), moved(100)

    def refuses(
        wanted: str, s: Any = source, t: Any = target, m: nn.Module | None = None, error: type = ValueError, **more: Any
    ) -> None:
        for function in METHODS.values():
            with pytest.raises(error, match=wanted):
                function(m or net(), s, t, **{"epochs": 1, **QUIET, **more})

    refuses(r"source inputs are \(6,\), the target's \(5,\); one shape", t=target.inputs[:, :5])
    renamed = worlds.Dataset(target.inputs, target.targets, ("minus", "zero"))
    refuses("only source has the class 'plus'", t=renamed)
    refuses("only val has the class 'zero'|only source has the class 'plus'", val=renamed)
    refuses("target has 20 inputs; at least 64 are needed", t=target[:20])
    refuses("source has 20 inputs; at least 64 are needed", s=source[:20])
    refuses("has 2 classes; .* transfer.replace_head", m=net(classes=3))
    refuses("no layer 'nek'; nearest: 'neck'", layers=("nek",))
    refuses("source is a tensor without labels", s=source.inputs, error=TypeError)
    refuses(r"float32; class numbers \(N,\) are needed", s=worlds.Dataset(source.inputs, source.inputs[:, 0]))
    ones = source[source.targets == 1]
    refuses(
        "class 'minus' has no example in source",
        s=worlds.Dataset(ones.inputs.repeat(2, 1), ones.targets.repeat(2), ones.classes),
    )
    refuses("inputs that are no finite numbers", t=target.inputs * float("nan"), batch_size=100)
    with pytest.raises(ValueError, match="weight=-1"):
        transfer.dan(net(), source, target, weight=-1.0, epochs=1, **QUIET)
    once = _Once([(target.inputs[:50], None)])
    with pytest.raises(ValueError, match="can be iterated again"):
        transfer.dan(net(), [(source.inputs[:50], source.targets[:50])] * 3, once, epochs=1, **QUIET)


class _Once:
    """Batches that say how many they are and can be had twice: once to look, once to train."""

    def __init__(self, batches: Any) -> None:
        self.batches = list(batches)
        self.left = 2

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Any:
        self.left -= 1
        return iter(self.batches if self.left >= 0 else [])
