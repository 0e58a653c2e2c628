from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from tlcore import training, transfer, worlds, zoo
from tlcore.transfer.hierarchical import HierarchicalGLM

QUIET = {"progress": False, "arithmetic": training.Arithmetic(), "device": "cpu"}


# L2-SP


def small(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def test_l2_sp_by_hand():
    net = small()
    loss = transfer.L2SP(net, alpha=0.3, beta=0.2)
    out, y = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    head = net[4].weight.square().sum() + net[4].bias.square().sum()
    assert torch.allclose(loss(out, y), cross_entropy(out, y) + 0.1 * head)
    with torch.no_grad():
        net[0].weight += 0.5  # 36 weights
    assert loss.penalty().item() == pytest.approx(float(0.1 * head.detach()) + 0.15 * 36 * 0.25, rel=1e-5)
    assert loss.distance() == pytest.approx(3.0)
    with torch.no_grad():
        assert torch.equal(loss(out, y), cross_entropy(out, y))  # as in validation
    net[0].requires_grad_(False)
    assert loss.penalty().item() == pytest.approx(float(0.1 * head.detach()), rel=1e-5)


def test_l2_sp_ends_at_the_ridge_estimate_around_the_start():
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(30, 4, generator=draws, dtype=torch.float64)
    y = x @ torch.tensor([1.0, 2, 0, -1], dtype=torch.float64)[:, None]
    net = nn.Sequential(nn.Linear(4, 1, bias=False), nn.Linear(1, 1, bias=False)).double()
    with torch.no_grad():
        net[1].weight.fill_(1)
    net[1].requires_grad_(False)  # the head stays, so that the problem is convex
    start = net[0].weight.detach().clone()
    loss = transfer.L2SP(net, alpha=0.7, loss=mse_loss)
    optimizer = torch.optim.LBFGS(net[0].parameters(), max_iter=200, tolerance_grad=1e-12)

    def closure():
        optimizer.zero_grad()
        value = loss(net(x), y)
        value.backward()
        return value

    optimizer.step(closure)
    # 1/30 |y - X w|² + 0.35 |w - w0|²
    ridge = torch.linalg.solve(2 / 30 * x.T @ x + 0.7 * torch.eye(4), 2 / 30 * x.T @ y + 0.7 * start.T)
    assert torch.allclose(net[0].weight.T, ridge, atol=1e-6)


def test_l2_sp_keeps_a_fine_tuned_network_nearer_to_its_start():
    world = worlds.Shapes(shapes=("circle", "star"))
    far = []
    for alpha in (0.0, 10.0):
        torch.manual_seed(0)
        net = zoo.get_model("resnet20")
        loss = transfer.L2SP(net, alpha=alpha)
        transfer.fine_tune(net, world.sample(64), loss=loss, num_classes=2, epochs=3, lr=0.02, weight_decay=0, **QUIET)
        far.append(loss.distance())
    assert far[1] < 0.8 * far[0]


def test_l2_sp_refuses():
    with pytest.raises(ValueError, match="alpha=-1"):
        transfer.L2SP(small(), alpha=-1)
    net = small()
    loss = transfer.L2SP(net)
    net[0] = nn.Conv2d(1, 4, 5)
    with pytest.raises(ValueError, match=r"0.weight is \(4, 1, 5, 5\) and was \(4, 1, 3, 3\)"):
        loss.penalty()


# DELTA


def test_delta_by_hand():
    net, x, y = small(), torch.rand(6, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])
    shares = torch.tensor([0.7, 0.1, 0.1, 0.1])
    with transfer.DELTA(net, ["1", "neck"], alpha=0.4, beta=0, attention={"1": shares}) as loss:
        assert loss(net(x), y).item() == pytest.approx(cross_entropy(net(x), y).item())
        before = net[:2](x)
        with torch.no_grad():
            net[0].weight += 0.3
        out = net(x)
        now = net[:2](x)
        moved = (now - before).square().mean((2, 3))  # (6, 4)
        neck = (now.mean((2, 3)) - before.mean((2, 3))).square().sum(1).mean()
        expected = 0.2 * (4 * moved @ shares).mean() + 0.2 * neck
        assert loss.penalty().item() == pytest.approx(float(expected), rel=1e-4)
        assert loss(out, y).item() == pytest.approx(float(cross_entropy(out, y) + expected), rel=1e-4)
        loss.penalty().backward()
        assert net[0].weight.grad.abs().sum() > 0
        with torch.no_grad():
            assert torch.equal(loss(out, y), cross_entropy(out, y))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    with pytest.raises(ValueError, match="not watched any more"):
        loss.penalty()


def test_delta_survives_a_new_head_and_automatic_arithmetic_and_is_blind_to_copies():
    world = worlds.Shapes(shapes=("circle", "star"))
    net = zoo.get_model("resnet20")
    with transfer.DELTA(net, ["layer3", "neck"], alpha=1.0) as loss:
        transfer.fine_tune(net, world.sample(24), loss=loss, num_classes=2, epochs=1, weight_decay=0, progress=False)
        x = torch.rand(2, 3, 32, 32)
        net(x)
        copy.deepcopy(net)(x + 1)
        assert torch.equal(loss.seen["images"], x)


def test_channels_that_matter_get_more_attention():
    torch.manual_seed(0)
    net = small()
    with torch.no_grad():
        net[4].weight[:, 1] = torch.tensor([8.0, -8, 0])  # channel 1 decides, channel 2 is not used
        net[4].weight[:, 2] = 0
    x = torch.rand(40, 1, 8, 8)
    data = worlds.Dataset(x, net(x).argmax(1), ("a", "b", "c"))
    shares = transfer.channel_attention(net, data, ["1"], temperature=0.2)["1"]
    assert int(shares.argmax()) == 1 and float(shares.sum()) == pytest.approx(1)
    plain = float(cross_entropy(net(x), data.targets))
    losses = []
    for channel in range(4):
        maps = net[1](net[0](x)).clone()
        maps[:, channel] = 0
        losses.append(float(cross_entropy(net[4](maps.mean((2, 3))), data.targets)) - plain)
    assert torch.allclose(shares, torch.softmax(torch.tensor(losses) / 0.2, 0), atol=1e-4)


def test_delta_refuses():
    for options, wanted in (
        ({"layers": ["9"]}, "no layer '9'"),
        ({"layers": ["logits"]}, "other logits"),
        ({"layers": ["1"], "alpha": -1}, "alpha=-1"),
        ({"layers": ["1"], "attention": {"0": torch.ones(4) / 4}}, "one of the layers"),
    ):
        with pytest.raises(ValueError, match=wanted):
            transfer.DELTA(small(), **options)
    with pytest.raises(ValueError, match="temperature=0"):
        transfer.channel_attention(
            small(), worlds.Dataset(torch.zeros(1, 1, 8, 8), torch.zeros(1).long()), ["1"], temperature=0
        )


# hierarchical models


def school(
    seed: int = 0, groups: int = 6, features: int = 2, spread: float = 0.7
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draws = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), draws.integers(4, 15, groups))
    w = np.array([1.0, -2.0, 0.5][: features + 1]) + spread * draws.normal(size=(groups, features + 1))
    x = draws.normal(size=(len(group), features))
    return x, (np.c_[np.ones(len(x)), x] * w[group]).sum(1) + draws.normal(size=len(x)), group


def test_complete_pooling_is_one_regression_and_no_pooling_is_one_for_each():
    x, y, group = school()
    one = HierarchicalGLM(tau=0).fit(x, y, group)
    pooled = LinearRegression().fit(x, y)
    assert np.allclose(one.coef_, pooled.coef_) and np.allclose(one.intercept_, pooled.intercept_)
    assert (one.own_share_ == 0).all()
    alone = HierarchicalGLM(tau=np.inf).fit(x, y, group)
    for g in range(6):
        own = LinearRegression().fit(x[group == g], y[group == g])
        assert np.allclose(alone.coef_[g], own.coef_) and alone.intercept_[g] == pytest.approx(own.intercept_)
    assert (alone.own_share_ == 1).all()
    left = y - alone.predict(x, group)
    assert alone.sigma_**2 == pytest.approx((left**2).sum() / (len(y) - 18), rel=1e-3)
    assert one.sigma_**2 == pytest.approx(((y - pooled.predict(x)) ** 2).sum() / (len(y) - 3), rel=1e-3)


@pytest.mark.parametrize("tau", [1e-4, 1e4])
def test_the_limits_are_reached_and_not_only_set(tau):
    x, y, group = school()
    near = HierarchicalGLM(tau=tau, sigma=1.0).fit(x, y, group)
    there = HierarchicalGLM(tau=0 if tau < 1 else np.inf, sigma=1.0).fit(x, y, group)
    assert np.allclose(near.coef_, there.coef_, atol=1e-4)


def test_with_a_mean_of_0_it_is_ridge_in_each_group():
    x, y, group = school()
    model = HierarchicalGLM(tau=0.6, sigma=1.2, mean=[0, 0], fit_intercept=False).fit(x, y, group)
    for g in range(6):
        own = Ridge(1.2**2 / 0.6**2, fit_intercept=False).fit(x[group == g], y[group == g])
        assert np.allclose(model.coef_[g], own.coef_)


def test_it_is_the_joint_gaussian_posterior():
    """The same from one large covariance matrix of y, and from one large least-squares problem."""
    x, y, group = school()
    tau, sigma = np.array([0.5, 0.3, 0.9]), 1.1
    model = HierarchicalGLM(tau=tau, sigma=sigma).fit(x, y, group)
    z = np.c_[np.ones(len(x)), x]
    cov = sigma**2 * np.eye(len(y)) + (group[:, None] == group) * ((z * tau**2) @ z.T)
    inverse = np.linalg.inv(cov)
    mean = np.linalg.solve(z.T @ inverse @ z, z.T @ inverse @ y)
    assert np.allclose(np.r_[model.shared_intercept_, model.shared_coef_], mean)
    for g in range(6):
        across = tau[:, None] ** 2 * (z * (group == g)[:, None]).T
        own = mean + across @ inverse @ (y - z @ mean)
        assert np.allclose(np.r_[model.intercept_[g], model.coef_[g]], own)
        rows = z[group == g]
        left = np.linalg.inv(rows.T @ rows / sigma**2 + np.diag(1 / tau**2))
        assert np.allclose(model.own_share_[g], 1 - np.diag(left) / tau**2)


def test_the_likelihood_is_the_restricted_one_of_the_large_matrix():
    x, y, group = school()
    z = np.c_[np.ones(len(x)), x]
    parts = [(z[group == g], y[group == g]) for g in range(6)]

    def restricted(tau: np.ndarray, sigma: float) -> float:
        cov = sigma**2 * np.eye(len(y)) + (group[:, None] == group) * ((z * tau**2) @ z.T)
        inverse = np.linalg.inv(cov)
        left = y - z @ np.linalg.solve(z.T @ inverse @ z, z.T @ inverse @ y)
        terms = np.linalg.slogdet(cov)[1] + np.linalg.slogdet(z.T @ inverse @ z)[1] + left @ inverse @ left
        return -(terms + len(y) * np.log(2 * np.pi)) / 2

    for tau, sigma in ((np.array([0.5, 0.3, 0.9]), 1.1), (np.array([0, 1.0, 2.0]), 0.7)):
        assert HierarchicalGLM()._likelihood(parts, tau, sigma) == pytest.approx(restricted(tau, sigma))
    for kind, free in (("one", 1), ("each", 3)):
        model = HierarchicalGLM(tau=kind).fit(x, y, group)
        best = minimize(lambda v: -restricted(np.exp(np.broadcast_to(v[:-1], 3)), np.exp(v[-1])), np.zeros(free + 1), method="Nelder-Mead",
                        options={"maxiter": 4000, "xatol": 1e-6, "fatol": 1e-9})  # fmt: skip
        assert restricted(model.tau_, model.sigma_) >= -best.fun - 1e-4


def test_a_balanced_table_has_the_analysis_of_variances_closed_form():
    """Intercepts only, n rows in each group: sigma² = within, tau² = (between - within) / n (Searle et al. 1992)."""
    draws = np.random.default_rng(0)
    n, groups = 5, 20
    group = np.repeat(np.arange(groups), n)
    y = 2 * draws.normal(size=groups)[group] + draws.normal(size=n * groups)
    table = y.reshape(groups, n)
    within = table.var(1, ddof=1).mean()
    between = n * table.mean(1).var(ddof=1)
    model = HierarchicalGLM(fit_intercept=False).fit(np.ones((len(y), 1)), y, group)
    assert model.sigma_**2 == pytest.approx(within, rel=1e-3)
    assert model.tau_[0] ** 2 == pytest.approx((between - within) / n, rel=1e-3)
    share = model.tau_[0] ** 2 / (model.tau_[0] ** 2 + model.sigma_**2 / n)
    shrunk = y.mean() + share * (table.mean(1) - y.mean())
    assert np.allclose(model.coef_[:, 0], shrunk) and np.allclose(model.own_share_, share)


def test_groups_that_do_not_differ_are_pooled():
    draws = np.random.default_rng(1)
    group = np.repeat(np.arange(5), 30)
    x = draws.normal(size=(150, 1))
    y = x[:, 0] - 0.001 * np.tile([1, -1], 75)  # the residuals have the same mean in each group
    model = HierarchicalGLM().fit(x, y, group)
    assert (model.tau_ < 0.01).all() and np.allclose(model.coef_, 1, atol=0.01)


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_other_families_end_at_the_joint_mode(family):
    x, eta, group = school(3)
    draws = np.random.default_rng(0)
    y = (draws.random(len(eta)) < expit(eta)).astype(int) if family == "binomial" else draws.poisson(np.exp(eta / 3))
    tau = np.array([0.5, 0.3, 0.9])
    model = HierarchicalGLM(family, tau=tau).fit(x, y, group)
    z = np.c_[np.ones(len(x)), x]

    def density(v: np.ndarray) -> float:
        mean, own = v[:3], v[3:].reshape(6, 3)
        e = (z * own[group]).sum(1)
        fit = y * e - (np.logaddexp(0, e) if family == "binomial" else np.exp(e))
        return -(fit.sum() - (((own - mean) / tau) ** 2).sum() / 2)

    best = minimize(density, np.zeros(21), method="BFGS", options={"gtol": 1e-7})
    assert np.allclose(np.r_[model.shared_intercept_, model.shared_coef_], best.x[:3], atol=1e-3)
    assert np.allclose(np.c_[model.intercept_, model.coef_], best.x[3:].reshape(6, 3), atol=1e-3)


def test_logistic_limits_and_classes_by_name():
    x, eta, group = school(3)
    y = np.where(np.random.default_rng(0).random(len(eta)) < expit(eta), "yes", "no")
    one = HierarchicalGLM("binomial", tau=0).fit(x, y, group)
    plain = LogisticRegression(C=np.inf, max_iter=5000, tol=1e-9).fit(x, y)
    assert np.allclose(one.coef_, plain.coef_, atol=1e-3)
    assert set(one.predict(x, group)) <= {"yes", "no"} and np.allclose(one.predict_proba(x, group).sum(1), 1)
    ridge = HierarchicalGLM("binomial", tau=0.5, mean=[0, 0], fit_intercept=False).fit(x, y, group)
    for g in range(6):
        rows = group == g
        if len(set(y[rows])) == 2:
            own = LogisticRegression(C=0.25, fit_intercept=False, tol=1e-9, max_iter=5000).fit(x[rows], y[rows])
            assert np.allclose(ridge.coef_[g], own.coef_[0], atol=1e-3)


def test_laplace_is_near_the_integral_for_intercepts():
    """One coefficient a group: the likelihood of tau by numerical integration over it."""
    draws = np.random.default_rng(5)
    group = np.repeat(np.arange(30), 12)
    y = (draws.random(360) < expit(draws.normal(size=30)[group])).astype(int)
    model = HierarchicalGLM("binomial", fit_intercept=False, mean=[0]).fit(np.ones((360, 1)), y, group)
    wins = np.bincount(group, weights=y)
    nodes = np.linspace(-8, 8, 2001)

    def exact(tau: float) -> float:
        w = nodes * tau
        inside = np.exp(wins[:, None] * w - 12 * np.logaddexp(0, w) - nodes**2 / 2)
        return float(np.log(inside.sum(1)).sum())

    grid = np.linspace(0.3, 2, 171)
    best = grid[np.argmax([exact(t) for t in grid])]
    assert model.tau_[0] == pytest.approx(best, abs=0.1)


def test_a_group_with_few_rows_and_one_never_seen_are_helped_by_the_others():
    errors = []
    for seed in range(5):
        draws = np.random.default_rng(seed)
        w = np.array([2.0, -1, 1]) + 0.4 * draws.normal(size=(11, 3))
        group = np.repeat(np.arange(10), [40] * 9 + [4])
        x = draws.normal(size=(364, 3))
        y = (x * w[group]).sum(1) + draws.normal(size=364)
        new = draws.normal(size=(500, 3))
        found = []
        for tau in ("one", 0.0, np.inf):
            model = HierarchicalGLM(tau=tau, fit_intercept=False).fit(x, y, group)
            found.append(((model.predict(new, np.full(500, 9)) - new @ w[9]) ** 2).mean())
        model = HierarchicalGLM(fit_intercept=False).fit(x, y, group)
        assert np.allclose(model.predict(new, np.full(500, 99)), new @ model.shared_coef_)
        errors.append(found)
    partial, complete, none = np.mean(errors, 0)
    assert partial < complete and partial < none


@given(st.integers(0, 500))
@settings(max_examples=10, deadline=None)
def test_every_coefficient_lies_between_its_own_and_the_mean(seed):
    draws = np.random.default_rng(seed)
    group = np.repeat(np.arange(4), draws.integers(1, 9, 4))
    y = draws.normal(size=len(group)) + group
    model = HierarchicalGLM(tau=0.8, sigma=1.0, fit_intercept=False).fit(np.ones((len(y), 1)), y, group)
    own = np.array([y[group == g].mean() for g in range(4)])
    between = (model.coef_[:, 0] - own) * (model.coef_[:, 0] - model.shared_coef_[0])
    assert (between <= 1e-9).all() and ((model.own_share_ > 0) & (model.own_share_ < 1)).all()


def test_hierarchical_models_refuse():
    x, y, group = school()
    for model, data, wanted in (
        (HierarchicalGLM("gauss"), (x, y, group), "nearest: 'gaussian'"),
        (HierarchicalGLM(), (x, y, group % 2), "there are 2 groups; at least 3"),
        (HierarchicalGLM(tau="some"), (x, y, group), "'one', 'each'"),
        (HierarchicalGLM(tau=-1), (x, y, group), "tau=-1"),
        (HierarchicalGLM(tau=[1, 1]), (x, y, group), r"3 \(the intercept's first\)"),
        (HierarchicalGLM(sigma=0), (x, y, group), "sigma=0"),
        (HierarchicalGLM("poisson", sigma=1), (x, abs(y).round(), group), "'gaussian' only"),
        (HierarchicalGLM(mean=[1]), (x, y, group), r"\(3,\), one number"),
        (
            HierarchicalGLM(tau=np.inf),
            (x[:6], y[:6], np.array([0, 0, 0, 1, 1, 2])),
            "a group has 1 rows for 3 coefficients",
        ),
        (HierarchicalGLM(), (x[:3], y[:3], [0, 1, 2]), "3 rows for 3 coefficients; at least 4"),
        (HierarchicalGLM("binomial"), (x, group, group), "6 classes; two are"),
        (HierarchicalGLM("poisson"), (x, y, group), "no counts"),
        (HierarchicalGLM(), (x, y, None), "groups is None"),
        (HierarchicalGLM(), (x, None, group), "y is None"),
    ):
        with pytest.raises(ValueError, match=wanted):
            model.fit(*data)
    with pytest.raises(ValueError, match="only 'binomial'"):
        HierarchicalGLM().fit(x, y, group).predict_proba(x, group)
    with pytest.raises(ValueError, match="rows of X have 1 numbers"):
        HierarchicalGLM().fit(x, y, group).predict(x[:, :1], group)
    parted = (x[:, 0] > 0).astype(int)
    with pytest.warns(UserWarning, match="do not settle"):
        HierarchicalGLM("binomial", tau=np.inf).fit(x[:, :1], parted, np.arange(len(x)) % 2)
