from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian
from torch.nn.functional import cross_entropy, mse_loss

from tests.compress.nets import NETS, made
from tlcore import training, worlds
from tlcore.compress.optimal_brain_damage import optimal_brain_damage
from tlcore.compress.pruning import prune
from tlcore.compress.saliency import saliency, weights_of
from tlcore.compress.units import inner_units

SMALL = ("mlp", "cnn", "residual")


def batch(kind: str) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    net, x = made(kind)
    return net, x, torch.arange(len(x)) % 3


def small_net() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Softplus(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 3)
    ).double()
    net[1].running_var.uniform_(0.5, 2)
    return net.eval(), torch.randn(7, 1, 6, 6, dtype=torch.float64), torch.arange(7) % 3


def oracle(net: nn.Module, x: torch.Tensor, y: torch.Tensor, loss=cross_entropy) -> dict[str, torch.Tensor]:
    """H_kk a_k² / 2 from the whole Hessian."""
    found = {}
    for name in weights_of(net)[0]:
        weight = dict(net.named_parameters())[name].detach()
        whole = hessian(lambda w, name=name: loss(functional_call(net, {name: w}, (x,)), y))(weight)
        found[name] = whole.reshape(weight.numel(), -1).diagonal().view_as(weight) * weight**2 / 2
    return found


def test_saliency_of_a_quadratic_is_the_loss_that_removal_costs():
    torch.manual_seed(0)
    x = torch.linalg.qr(torch.randn(20, 4, dtype=torch.float64)).Q * torch.tensor([1.0, 2, 3, 4])  # no interactions
    w = torch.tensor([[2.0, -1, 0.5, 3]], dtype=torch.float64)
    y = x @ w.T
    net = nn.Linear(4, 1, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(w)  # the minimum
    found = saliency(net, [(x, y)], loss=mse_loss, method="exact")["weight"][0]
    for k in range(4):
        cut = copy.deepcopy(net)
        with torch.no_grad():
            cut.weight[0, k] = 0
        assert found[k].item() == pytest.approx(mse_loss(cut(x), y).item(), rel=1e-9)
    whole = saliency(net, [(x, y)], loss=mse_loss, method="gauss_newton")["weight"][0]
    assert torch.allclose(whole, found)  # a linear network does not bend


def test_exact_is_the_diagonal_of_the_whole_hessian():
    net, x, y = small_net()
    expected = oracle(net, x, y)
    for batches in ([(x, y)], [(x[:5], y[:5]), (x[5:], y[5:])]):
        found = saliency(net, batches, method="exact")
        assert found.keys() == expected.keys() == {"0.weight", "5.weight"}
        for name in found:
            assert torch.allclose(found[name], expected[name], atol=1e-10)
    assert not any(m._forward_pre_hooks for m in net.modules()) and all(p.grad is None for p in net.parameters())


def test_hutchinson_and_fisher_tend_to_what_they_estimate():
    net, x, y = small_net()
    for method, exact, near in (("hutchinson", "exact", 0.3), ("fisher", "gauss_newton", 0.1)):
        truth = saliency(net, [(x, y)], method=exact)
        far = []
        for samples in (20, 1500):
            found = saliency(net, [(x, y)], method=method, samples=samples)
            error = sum((found[n] - truth[n]).abs().sum() for n in truth) / sum(t.abs().sum() for t in truth.values())
            far.append(error.item())
        assert far[1] < near and far[1] < far[0] / 3
    once, again = (saliency(net, [(x, y)], method="hutchinson", samples=3, seed=s)["5.weight"] for s in (1, 1))
    assert torch.equal(once, again)


def test_gauss_newton_by_the_jacobian():
    net, x, y = small_net()
    name, weight = "0.weight", net[0].weight.detach()
    jac = torch.func.jacrev(lambda w: functional_call(net, {name: w}, (x,)))(weight).reshape(len(x), 3, -1)
    p = net(x).softmax(1).detach()
    bend = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    expected = torch.einsum("nik,nij,njk->k", jac, bend, jac).view_as(weight) / len(x) * weight**2 / 2
    assert torch.allclose(saliency(net, [(x, y)], method="gauss_newton")[name], expected, atol=1e-12)


def test_backpropagated_second_derivatives():
    torch.manual_seed(0)
    x, y = torch.randn(9, 4, dtype=torch.float64), torch.arange(9) % 3
    head = nn.Sequential(nn.Linear(4, 3)).double()  # one layer: exact
    exact = saliency(head, [(x, y)], method="exact")
    assert torch.allclose(saliency(head, [(x, y)], method="backprop")["0.weight"], exact["0.weight"], atol=1e-12)
    # two layers and one output: nothing to leave out, so it is Gauss-Newton's
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Sequential(nn.Tanh(), nn.Linear(5, 1))).double().eval()
    options = {"loss": lambda out, y: mse_loss(out[:, 0], y.double())}
    one, other = (
        saliency(net, [(x[:4], y[:4]), (x[4:], y[4:])], method=m, **options) for m in ("backprop", "gauss_newton")
    )
    assert one.keys() == other.keys() == {"0.weight", "2.1.weight"}
    assert all(torch.allclose(one[n], other[n], atol=1e-12) for n in one)
    # the paper's sums in plain loops, through a convolution: h of a weight sums h_out a² over places
    net, x, y = small_net()
    found = saliency(net, [(x, y)], method="backprop")["0.weight"]
    p = net(x).softmax(1).detach()
    h = (p * (1 - p)) @ net[5].weight.detach().square() / len(x)  # (N, 12)
    maps = net[:3](x)
    at = nn.functional.max_pool2d(maps, 2, return_indices=True)[1].flatten(2)
    inner = torch.zeros(7, 3, 16, dtype=torch.float64).scatter_(2, at, h.view(7, 3, 4)).view(7, 3, 4, 4)
    slope = net[1].weight / (net[1].running_var + net[1].eps).sqrt()
    inner = inner * (torch.sigmoid(net[1](net[0](x))) * slope.view(1, 3, 1, 1)) ** 2
    for c, i, j in ((0, 0, 0), (1, 2, 1), (2, 1, 2)):
        second = (inner[:, c] * x[:, 0, i : i + 4, j : j + 4] ** 2).sum()
        expected = (second * net[0].weight[c, 0, i, j] ** 2 / 2).item()
        assert found[c, 0, i, j].item() == pytest.approx(expected, rel=1e-9)
    with pytest.raises(ValueError, match=r"'1' \(Softmax\) cannot be treated"):
        saliency(nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)).double(), [(x[:, 0, 0, :4], y)], method="backprop")
    net, x, y = batch("residual")
    with pytest.raises(ValueError, match="a Sequential is accepted, not Tail"):
        saliency(net, [(x, y)], method="backprop")


@pytest.mark.parametrize("kind", SMALL)
def test_saliency_of_units_is_that_of_gates(kind: str):
    """Oracle: a unit's gate times its readers' columns is the same function, differentiated twice by torch.func."""
    net, x, y = batch(kind)
    found = saliency(net, [(x, y)], of="units", method="exact")
    units, _ = inner_units(net)
    assert found.keys() == units.keys()
    for path, its in list(units.items())[:2]:
        weights = {f"{r.path}.weight": net.get_submodule(r.path).weight.detach() for r in its.readers}

        def value(gate, its=its, weights=weights):
            scaled = {}
            for reader, (name, weight) in zip(its.readers, weights.items()):
                each = gate.repeat_interleave(reader.repeat).view(1, -1, *[1] * (weight.ndim - 2))
                scaled[name] = weight * each
            return cross_entropy(functional_call(net, scaled, (x,)), y)

        whole = hessian(value)(torch.ones(its.count, dtype=torch.float64))
        assert torch.allclose(found[path], whole.diagonal() / 2, atol=1e-10)


def test_gauss_newton_of_units_row_by_row_is_the_general_one():
    from tlcore.compress.curvature import Problem, gauss_newton_diagonal
    from tlcore.compress.rewire import gated

    net, x, y = batch("residual")
    units, _ = inner_units(net)
    point = {p: torch.ones(its.count, dtype=torch.float64) for p, its in units.items()}
    held = dict(point)

    def outputs(at, some):
        held.update(at)
        return net(some)

    with gated(net, units, held):
        one, other = (
            gauss_newton_diagonal(Problem(point, outputs, row_wise=r), [(x, y)], chunk=2) for r in (True, False)
        )
    for path in units:
        assert torch.allclose(one[path], other[path], atol=1e-12) and one[path].min() >= 0


def test_a_dead_unit_has_no_saliency_and_a_needed_one_has():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    with torch.no_grad():
        net[0].bias[2] = -99
    x, y = torch.rand(64, 4), torch.arange(64) % 2
    found = saliency(net, [(x, y)], of="units")["0"]
    assert found[2] == 0 and found.max() > 0


def trained(seed: int = 0) -> tuple[nn.Module, worlds.Dataset, worlds.Dataset]:
    train, val = worlds.Gaussian(features=8, distance=3).sample(800, seed=seed).split(0.5)
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 2))
    with torch.no_grad():
        net[0].weight[:, 0] *= 5  # sizes that say little: a large weight on what tells little
    training.fit(net, train, epochs=6, lr=0.05, progress=False, arithmetic=training.Arithmetic(), device="cpu")
    return net, train, val


def test_obd_raises_the_loss_less_than_magnitude_and_chance():
    rises = dict.fromkeys(("obd", "magnitude", "random"), 0.0)
    for seed in range(3):
        net, train, _ = trained(seed)
        before = training.evaluate(net, train)[0]
        for name in rises:
            done = prune(net, train, train, sparsity=0.6, criterion=name, seed=seed, rows=None, device="cpu")
            assert done.sparsity == pytest.approx(0.6, abs=0.002)
            rises[name] += done.rounds[-1].loss_cut - before
    assert rises["obd"] < rises["magnitude"] < rises["random"]


def test_rounds_with_recovery_keep_what_is_gone_at_zero():
    net, train, val = trained()
    was = copy.deepcopy(net.state_dict())
    done = optimal_brain_damage(net, train, val, sparsity=0.8, rounds=2, epochs=2, lr=0.05, device="cpu")
    assert all(torch.equal(t, was[n]) for n, t in net.state_dict().items())  # the original is left as it was
    weights = dict(done.model.named_parameters())
    for name, mask in done.masks.items():
        assert (weights[name][~mask] == 0).all() and (weights[name][mask] != 0).all()
    assert sum(int(m.sum()) for m in done.masks.values()) == round(0.2 * (8 * 24 + 48))
    assert [round(r.sparsity, 2) for r in done.rounds] == [0.0, 0.55, 0.8]
    assert done.rounds[-1].accuracy == pytest.approx(training.evaluate(done.model, val, device="cpu")[1])
    assert "55." in repr(done) and "<table" in done._repr_html_()
    again = optimal_brain_damage(net, train, val, sparsity=0.8, rounds=2, epochs=2, lr=0.05, device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(done.masks.values(), again.masks.values()))


def test_refusals():
    net, x, y = batch("mlp")
    with pytest.raises(ValueError, match=r"method='hesian'.*nearest"):
        saliency(net, [(x, y)], method="hesian")
    with pytest.raises(ValueError, match="of='neuron'"):
        saliency(net, [(x, y)], of="neuron")
    with pytest.raises(ValueError, match="cross-entropy only"):
        saliency(net, [(x, x[:, :3])], method="fisher", loss=mse_loss)
    with pytest.raises(ValueError, match="no linear layer or convolution at '1'"):
        saliency(net, [(x, y)], layers=["1"])
    with pytest.raises(ValueError, match=r"'5' cannot be removed .*output"):
        saliency(net, [(x, y)], of="units", layers=["5"])
    with pytest.raises(ValueError, match="no rows"):
        saliency(net, [])
    with pytest.raises(ValueError, match=r"sparsity=1.5.*from 0 to 1.*nearest: 1"):
        optimal_brain_damage(net, [(x, y)], sparsity=1.5)
    assert set(SMALL) <= set(NETS)


def test_damping_is_the_curvature_of_a_quadratic_penalty():
    net, x, y = small_net()
    found = saliency(net, [(x, y)], method="exact", damping=0.3)
    for name, weight in ((name, dict(net.named_parameters())[name].detach()) for name in found):

        def penalised(w: torch.Tensor, name: str = name) -> torch.Tensor:
            return cross_entropy(functional_call(net, {name: w}, (x,)), y) + 0.3 * w.square().sum() / 2

        curved = hessian(penalised)(weight).reshape(weight.numel(), -1).diagonal().view_as(weight)
        assert torch.allclose(found[name], curved * weight**2 / 2)
    units = [saliency(net, [(x, y)], of="units", damping=d)["0"] for d in (0.0, 0.3)]
    assert torch.allclose(units[1] - units[0], torch.full_like(units[0], 0.15))
    much = optimal_brain_damage(net, [(x, y)], sparsity=0.5, damping=1e9)
    size = prune(net, [(x, y)], sparsity=0.5, criterion="magnitude")
    assert all(torch.equal(much.masks[name], size.masks[name]) for name in size.masks)
    with pytest.raises(ValueError, match="from 0 on"):
        saliency(net, [(x, y)], damping=-1)
