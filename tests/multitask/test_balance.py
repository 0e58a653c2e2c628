"""Balancing rules against torchjd, autograd of their definitions, closed forms and brute force."""

from __future__ import annotations

from itertools import permutations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchjd.aggregation import PCGrad as PeerPCGrad
from torchjd.scalarization import DWA, UW

from tlcore import multitask
from tlcore.multitask.gradients import task_gradients
from tlcore.multitask.rules import as_rule


def gradients(tasks: int, seed: int, size: int = 5) -> torch.Tensor:
    return torch.randn(tasks, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_pcgrad_of_two_tasks_is_torchjds_and_the_closed_form(seed: int) -> None:
    g = gradients(2, seed)
    ours = multitask.pcgrad(g)
    assert torch.allclose(ours, PeerPCGrad()(g), atol=1e-12)
    inner = g[0] @ g[1]
    if inner < 0:
        by_hand = g.sum(0) - inner / (g[1] @ g[1]) * g[1] - inner / (g[0] @ g[0]) * g[0]
        assert torch.allclose(ours, by_hand, atol=1e-12)
    else:
        assert torch.allclose(ours, g.sum(0))


@pytest.mark.parametrize("seed", range(12))
def test_pcgrad_of_three_tasks_follows_some_order(seed: int) -> None:
    """Every choice of orders, by brute force; the one that was drawn must be among them."""
    g = gradients(3, seed, size=2)

    def projected(i: int, order: tuple[int, ...]) -> torch.Tensor:
        new = g[i].clone()
        for j in order:
            if j != i and new @ g[j] < 0:
                new -= (new @ g[j]) / (g[j] @ g[j]) * g[j]
        return new

    orders = list(permutations(range(3)))
    options = [sum(projected(i, order) for i, order in enumerate(chosen)) for chosen in product(orders, repeat=3)]
    found = multitask.pcgrad(g, draws=torch.Generator().manual_seed(seed))
    assert min(float((found - option).norm()) for option in options) < 1e-12


def test_pcgrad_leaves_heads_alone() -> None:
    shared, head = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor([3.0]))
    losses = torch.stack([shared[0] * head[0], shared[1] - shared[0]])
    rule = multitask.PCGrad()
    rule.start(2)
    rule.backward(losses, [shared], [head])
    one, two = torch.tensor([3.0, 0.0]), torch.tensor([-1.0, 1.0])
    assert torch.allclose(shared.grad, PeerPCGrad()(torch.stack([one, two])))
    assert head.grad.item() == 1.0
    with pytest.raises(ValueError, match="shares no parameters"):
        rule.backward(head * torch.ones(2), [], [head])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0.01, 50), min_size=1, max_size=4))
def test_best_log_variance_is_where_the_closed_form_says(values: list[float]) -> None:
    """s = log(2 c L): there the gradient is zero, both sides are higher, and the weight is 1 / (2 L)."""
    losses = torch.tensor(values, dtype=torch.float64)
    for kind, factor in (("classification", 1.0), ("regression", 0.5)):
        factors = torch.full_like(losses, factor)
        best = (2 * factor * losses).log().requires_grad_()
        value = multitask.uncertainty_loss(losses, best, factors)
        (slope,) = torch.autograd.grad(value, best)
        assert slope.abs().max() < 1e-12
        for step in (-0.1, 0.1):
            assert multitask.uncertainty_loss(losses, best + step, factors) > value
        rule = multitask.Uncertainty(kind)
        rule.start(len(values))
        rule.log_variance.data = best.detach()
        assert torch.allclose(rule.weights(losses), 1 / (2 * losses))


def test_uncertainty_of_regression_is_torchjds() -> None:
    losses, peer, ours = torch.tensor([0.3, 4.0]), UW(2), multitask.Uncertainty("regression")
    ours.start(2)
    peer.log_var.data = ours.log_variance.data = torch.tensor([0.4, -0.7])
    w = nn.Parameter(torch.ones(2))
    ours.backward(losses * w, [w], [])
    mine = w.grad.clone()
    w.grad = None
    peer(losses * w).backward()
    assert torch.allclose(mine, w.grad)
    assert torch.allclose(ours.log_variance.grad, peer.log_var.grad)


def test_uncertainty_learns_the_closed_form() -> None:
    rule = multitask.Uncertainty(["classification", "regression"])
    rule.start(2)
    steps = torch.optim.SGD(rule.parameters(), 0.5)
    w = nn.Parameter(torch.tensor([0.5, 3.0]))
    for _ in range(80):
        steps.zero_grad()
        rule.backward(w * 1.0, [w], [])
        steps.step()
    assert torch.allclose(rule.log_variance.detach(), torch.tensor([1.0, 3.0]).log(), atol=1e-3)


def test_dynamic_average_is_torchjds_epoch_by_epoch() -> None:
    ours, peer = multitask.DynamicAverage(temperature=1.5), DWA(1.5)
    ours.start(3)
    draws = torch.Generator().manual_seed(0)
    for _ in range(5):
        epoch = torch.rand(4, 3, generator=draws) + 0.1
        for losses in epoch:
            assert torch.allclose((ours.weights(losses) * losses).sum(), peer(losses))
        peer.step()
        ours.epoch_over(epoch.mean(0))
    assert ours.weights(epoch[0]).sum().item() == pytest.approx(3.0)


@pytest.mark.parametrize("alpha", [0.0, 0.12, 1.5])
def test_gradnorm_follows_autograd_of_its_definition(alpha: float) -> None:
    """Gradient of sum |G_i - target_i| by the weights, through the norms of gradients, with the targets held fixed."""
    torch.manual_seed(1)
    x, layer = torch.randn(6, 4), nn.Parameter(torch.randn(3, 4))
    first = torch.tensor([2.0, 0.7])

    def losses() -> torch.Tensor:
        hidden = torch.tanh(x @ layer.T)
        return torch.stack([hidden.square().mean(), 3 * (hidden[:, 0] - 1).square().mean()])

    weights = torch.tensor([0.6, 1.4], requires_grad=True)
    norms = torch.stack([
        torch.autograd.grad(w * loss, layer, create_graph=True)[0].norm() for w, loss in zip(weights, losses())
    ])  # fmt: skip
    ratios = losses().detach() / first
    targets = (norms.mean() * (ratios / ratios.mean()) ** alpha).detach()
    (expected,) = torch.autograd.grad((norms - targets).abs().sum(), weights)

    plain = task_gradients(losses(), [layer]).norm(dim=1)
    found = multitask.gradnorm_targets(weights.detach() * plain, ratios, alpha)
    assert torch.allclose(found, targets, atol=1e-6)
    assert torch.allclose(multitask.gradnorm_slope(weights.detach(), plain, found), expected, atol=1e-5)


def test_gradnorm_makes_norms_equal_when_alpha_is_zero() -> None:
    rule, w = multitask.GradNorm(alpha=0, lr=0.01), nn.Parameter(torch.ones(1, 2))
    rule.start(2)
    for _ in range(400):
        w.grad = None
        rule.backward(torch.stack([w[0, 0], 3 * w[0, 1]]), [w], [])
    assert rule.current.tolist() == pytest.approx([1.5, 0.5], abs=0.03)
    assert (rule.current * torch.tensor([1.0, 3.0])).std() < 0.06
    rule.start(2)
    assert rule.current.tolist() == [1.0, 1.0]  # a new run knows nothing of the last one


def test_sum_weighs_as_told() -> None:
    rule, w = multitask.Sum([1, 0.5]), nn.Parameter(torch.ones(2))
    rule.start(2)
    rule.backward(w * torch.tensor([2.0, 6.0]), [w], [])
    assert w.grad.tolist() == [2.0, 3.0]
    with pytest.raises(ValueError, match="2 weights for 3 tasks"):
        rule.start(3)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: as_rule("pc-grad"), "nearest: 'pcgrad'"),
        (lambda: multitask.Uncertainty("regresion"), "nearest: 'regression'"),
        (lambda: multitask.Uncertainty(["regression"]).start(2), "1 kinds for 2 tasks"),
        (lambda: multitask.DynamicAverage(temperature=0), "above 0"),
        (lambda: multitask.GradNorm(alpha=-1), "from 0 on"),
        (lambda: multitask.Sum([0, 0]), "one of them above 0"),
        (lambda: task_gradients(torch.ones(2), []), "no shared parameters"),
    ],
)
def test_bad_rules(make, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()
    with pytest.raises(TypeError, match="Balance"):
        as_rule(3)  # type: ignore[arg-type]
