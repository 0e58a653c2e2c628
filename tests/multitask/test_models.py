"""Sharing, hard and soft: what goes where, and what reaches what."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tlcore import anatomy, multitask, zoo
from tlcore.multitask.neck import headless


def trunk() -> nn.Sequential:
    return nn.Sequential(nn.Sequential(nn.Linear(6, 8), nn.ReLU()), nn.Sequential(nn.Linear(8, 5), nn.Tanh()))


@pytest.mark.parametrize("name", ["resnet20", "lenet5", "mobilenet_v1", "densenet121"])
def test_the_heads_stand_at_the_neck(name: str) -> None:
    """With the old last layer as its head, the network says what it said before."""
    torch.manual_seed(0)
    net = zoo.get_model(name, num_classes=7).eval()
    _, width = headless(net)
    path, last = next((p, m) for p, m in reversed(list(net.named_modules())) if isinstance(m, nn.Linear))
    assert width == last.in_features
    model = multitask.MultiTaskModel(net, {"old": last, "new": 3}).eval()
    side = {"resnet20": 32, "lenet5": 28}.get(name, 64)
    x = torch.randn(2, net.in_channels, side, side)
    with torch.no_grad():
        made = model(x)
        assert torch.equal(made["old"], net(x))
        assert torch.equal(made["new"], model.heads["new"](model.features(x)))
    assert isinstance(net.get_submodule(path), nn.Linear)  # the network given is not touched
    assert isinstance(anatomy.resolve(net, "neck"), str)


def test_what_cannot_be_cut() -> None:
    with pytest.raises(ValueError, match=r"comes after it.*at='output'"):
        multitask.MultiTaskModel(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2), nn.LogSoftmax(1)), {"a": 2})
    with pytest.raises(ValueError, match="nothing to share"):
        multitask.MultiTaskModel(nn.Linear(4, 2), {"a": 2})
    with pytest.raises(ValueError, match="no linear layer"):
        multitask.MultiTaskModel(nn.Sequential(nn.Conv2d(3, 4, 3)), {"a": 2})
    with pytest.raises(ValueError, match="no network 'resnet21'"):
        multitask.MultiTaskModel("resnet21", {"a": 2})
    for heads in ({}, {"a": 0}, {"a": 2.0}):
        with pytest.raises(ValueError, match="heads="):
            multitask.MultiTaskModel(trunk(), heads, at="output")
    with pytest.raises(ValueError, match="width="):
        multitask.MultiTaskModel(nn.Flatten(), {"a": 2}, at="output")
    assert multitask.MultiTaskModel(nn.Flatten(), {"a": 2}, at="output", width=6)(torch.zeros(1, 2, 3))["a"].shape == (
        1,
        2,
    )
    model = multitask.MultiTaskModel(trunk(), {"left": 2, "right": 3}, at="output")
    with pytest.raises(ValueError, match="nearest: 'left'"):
        model(torch.zeros(1, 6), ["lefd"])


KINDS = {
    "hard": lambda: multitask.MultiTaskModel(trunk(), {"a": 3, "b": 2}, at="output"),
    "soft": lambda: multitask.SoftSharing(trunk, {"a": 3, "b": 2}),
    "stitch": lambda: multitask.CrossStitch(trunk, {"a": 3, "b": 2}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_loss_reaches_what_the_model_says_it_does(kind: str) -> None:
    torch.manual_seed(0)
    model = KINDS[kind]().double()
    x, z = torch.randn(4, 6).double(), torch.randn(3, 6).double()
    both = model.each({"a": x, "b": z})
    assert torch.allclose(both["a"], model(x)["a"]) and torch.allclose(both["b"], model(z, ["b"])["b"])
    reached = {}
    for task in model.tasks:
        model.zero_grad(set_to_none=True)
        model(x)[task].square().sum().backward()
        reached[task] = {id(p) for p in model.parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    shared = {id(p) for p in model.shared_parameters()}
    own = {task: {id(p) for p in model.own_parameters(task)} for task in model.tasks}
    assert reached["a"] & reached["b"] <= shared and not reached["a"] & own["b"]
    assert shared | own["a"] | own["b"] == {id(p) for p in model.parameters()}
    assert kind == "soft" or reached["a"] & reached["b"] == reached["a"] - own["a"]


def test_soft_penalty_is_half_the_squared_distance() -> None:
    torch.manual_seed(0)
    model = multitask.SoftSharing(trunk, {"a": 3, "b": 2, "c": 2}, strength=0.4)
    flat = {task: nn.utils.parameters_to_vector(net.parameters()) for task, net in model.trunks.items()}
    distance = sum((flat[i] - flat[j]).square().sum() for i, j in (("a", "b"), ("a", "c"), ("b", "c")))
    assert model.penalty().item() == pytest.approx(0.2 * distance.item(), rel=1e-5)
    model.penalty().backward()
    weight = model.trunks["a"][0][0].weight
    others = [model.trunks[t][0][0].weight for t in "bc"]
    assert torch.allclose(weight.grad, 0.4 * (2 * weight - others[0] - others[1]), atol=1e-6)
    assert multitask.SoftSharing(trunk, {"a": 3, "b": 2}, strength=0).penalty() is None


def test_a_strong_penalty_makes_one_network_of_two() -> None:
    torch.manual_seed(0)
    model = multitask.SoftSharing(trunk, {"a": 3, "b": 2}, strength=1.0)
    steps = torch.optim.SGD(model.parameters(), 0.2)
    for _ in range(60):
        steps.zero_grad()
        model.penalty().backward()
        steps.step()
    assert model.penalty() < 1e-8


def test_cross_stitch_by_hand() -> None:
    torch.manual_seed(0)
    model, x = multitask.CrossStitch(trunk, {"a": 3, "b": 2}, own=0.7), torch.randn(4, 6)
    a, b = (net for net in model.trunks.values())
    with torch.no_grad():
        model.units[1].alpha.copy_(torch.rand_like(model.units[1].alpha))
        one, two = a[0](x), b[0](x)
        one, two = 0.7 * one + 0.3 * two, 0.7 * two + 0.3 * one
        one, two = a[1](one), b[1](two)
        alpha = model.units[1].alpha
        expected = model.heads["b"](alpha[1, 0] * one + alpha[1, 1] * two)
        assert torch.allclose(model(x)["b"], expected, atol=1e-6)
        alone = multitask.CrossStitch(trunk, {"a": 3, "b": 2}, own=1.0)
        assert torch.allclose(alone(x)["a"], alone.heads["a"](alone.trunks["a"](x)))
    with pytest.raises(TypeError, match="stages"):
        multitask.CrossStitch(lambda: nn.Linear(6, 3), {"a": 3, "b": 2})
    with pytest.raises(ValueError, match=r"stage 1 \(ReLU\) has no weights"):
        multitask.CrossStitch(lambda: nn.Sequential(nn.Linear(6, 3), nn.ReLU()), {"a": 3, "b": 2})
    with pytest.raises(ValueError, match="from 0 on"):
        multitask.SoftSharing(trunk, {"a": 3}, strength=-1)
    with pytest.raises(TypeError, match="function that builds"):
        multitask.SoftSharing(trunk(), {"a": 3})  # type: ignore[arg-type]
