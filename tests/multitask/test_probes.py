"""Who helps whom: probes against closed forms, and the lectures' conditions where the answer is known."""

from __future__ import annotations

from statistics import mean

import pytest
import torch
from scipy.stats import ttest_rel
from torch import nn

from tlcore import anatomy, multitask
from tlcore.multitask.conditions import PARTNERS, similarity_tasks
from tlcore.multitask.trunks import network_macs
from tlcore.worlds import Dataset


class Line(nn.Module):
    """w . x: what can be worked out by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.1, -0.05, 0.02]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.w)[:, None]


def line(*tasks: str) -> multitask.MultiTaskModel:
    return multitask.MultiTaskModel(Line(), dict.fromkeys(tasks, nn.Identity()), at="output")


X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
DATA = {"up": Dataset(X, X[:, 0]), "down": Dataset(X, -X[:, 0]), "off": Dataset(X, X[:, 1])}


def slope(y: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return 2 * X.T @ (X @ w - y) / len(X)


def test_conflict_by_hand() -> None:
    model = line(*DATA).train()
    found = multitask.gradient_conflict(model, DATA)
    rows = torch.stack([slope(data.targets, model.trunk.w.detach()) for data in DATA.values()])
    for i, a in enumerate(DATA):
        assert found.norms[a] == pytest.approx(float(rows[i].norm()), rel=1e-5)
        for j, b in enumerate(DATA):
            one, two = rows[i].norm(), rows[j].norm()
            assert found.cosine[a, b] == pytest.approx(float(rows[i] @ rows[j] / (one * two)), abs=1e-5)
            assert found.magnitude[a, b] == pytest.approx(float(2 * one * two / (one**2 + two**2)), abs=1e-5)
    assert set(found.conflicts) == {
        (a, b) for i, a in enumerate(DATA) for j, b in enumerate(DATA) if i < j and float(rows[i] @ rows[j]) < 0
    }
    assert found.conflicts and model.training and model.trunk.w.grad is None and "cosine" in repr(found)


def test_lookahead_by_hand() -> None:
    model, lr = line(*DATA), 0.05
    before = model.trunk.w.detach().clone()
    found = multitask.lookahead_affinity(model, DATA, lr=lr, batch_size=20)
    for a, data in DATA.items():
        stepped = before - lr * slope(data.targets, before)
        for b, other in DATA.items():
            losses = [float((X @ w - other.targets).square().mean()) for w in (stepped, before)]
            assert found[a, b] == pytest.approx(1 - losses[0] / losses[1], abs=1e-4)
    assert torch.equal(model.trunk.w, before)
    assert found["up", "up"] > 0 > found["down", "up"]
    with pytest.raises(ValueError, match="nearest: 'up'"):
        found["upp", "up"]


def test_probes_refuse() -> None:
    soft = multitask.SoftSharing(Line, {"up": nn.Identity(), "down": nn.Identity()})
    data = {task: DATA[task] for task in ("up", "down")}
    for probe in (multitask.gradient_conflict, multitask.lookahead_affinity):
        with pytest.raises(ValueError, match="shares no parameters"):
            probe(soft, data)
        with pytest.raises(ValueError, match="no task"):
            probe(line("up"), {})
    with pytest.raises(ValueError, match="above 0"):
        multitask.lookahead_affinity(line(*DATA), DATA, lr=0)


def test_transfer_matrix_sees_a_helper_and_a_stranger() -> None:
    """B is A's task with many labels of its own; noise is nobody's task."""
    draws = torch.Generator().manual_seed(1)

    def part(count: int, noise: bool = False) -> Dataset:
        x = torch.randn(count, 10, generator=draws)
        y = torch.randint(2, (count,), generator=draws) if noise else (x[:, 0] * x[:, 1] > 0).long()
        return Dataset(x, y, ("no", "yes"))

    train = {"few": part(60), "many": part(1500), "noise": part(60, noise=True)}
    val = {"few": part(600), "many": part(600), "noise": part(600, noise=True)}

    def make(tasks):
        net = nn.Sequential(nn.Linear(10, 24), nn.ReLU(), nn.Linear(24, 6), nn.ReLU())
        return multitask.MultiTaskModel(net, dict.fromkeys(tasks, 2), at="output")

    found = multitask.transfer_matrix(
        make, {t: train[t] for t in ("few", "many")}, val, seeds=range(3), epochs=8, lr=0.1, device="cpu"
    )
    assert found.pairs["many", "few"].verdict == "gains"
    assert found.difference["many", "few"] > 0.05 > found.difference["few", "many"]
    assert found.difference.values.isnan().sum() == 2 and "together" in repr(found)
    again = multitask.transfer_matrix(
        make, {t: train[t] for t in ("few", "many")}, val, seeds=range(1), epochs=8, lr=0.1, device="cpu"
    )
    assert again.pairs["many", "few"].ours[0] == found.pairs["many", "few"].ours[0]
    with pytest.raises(ValueError, match="two tasks"):
        multitask.transfer_matrix(make, {"few": train["few"]}, val, epochs=1)
    with pytest.raises(ValueError, match="no data for task 'many'"):
        multitask.transfer_matrix(make, train, {"few": val["few"]}, epochs=1)


def test_paired_is_the_paired_t_test() -> None:
    draws = torch.Generator().manual_seed(0)
    for size in (2, 5, 9):
        a, b = (tuple(torch.rand(size, generator=draws).tolist()) for _ in range(2))
        found, peer = multitask.Paired(a, b), ttest_rel(a, b)
        low, high = peer.confidence_interval(0.95)
        assert found.interval == pytest.approx((low, high)) and found.difference == pytest.approx(mean(a) - mean(b))
        assert (found.verdict == "tie") == (peer.pvalue > 0.05)
    assert multitask.Paired((0.9,), (0.1,)).verdict == "tie"  # one seed proves nothing
    with pytest.raises(ValueError, match="one of each"):
        multitask.Paired((1.0,), ())


@pytest.mark.parametrize("width", [2, 6.5, 12])
def test_equal_cost_is_what_profile_counts(width: float) -> None:
    counted = anatomy.profile(multitask.small_trunk(width), (3, 16, 16)).macs
    assert network_macs(width, 9, 16) == counted + 9 * round(4 * width)
    alone, share = multitask.equal_cost_width(width, [4, 5], 16)
    both = sum(anatomy.profile(multitask.small_trunk(alone), (3, 16, 16)).macs + k * round(4 * alone) for k in (4, 5))
    assert share == pytest.approx(both / network_macs(width, 9, 16)) and 0.8 < share < 1.25


def test_similar_teachers_help_and_strange_ones_do_not() -> None:
    """The knob whose truth is known: at cosine 1 both tasks are one, at 0 they share nothing."""
    found = multitask.teacher_map(rhos=(0.0, 1.0), seeds=range(4), steps=300, device="cpu")
    cells = found.cells()
    assert cells[1.0, "A"].verdict == "gains" and cells[0.0, "A"].verdict != "gains"
    assert cells[1.0, "A"].difference > cells[0.0, "A"].difference + 0.01
    assert "rho" in repr(found)
    for bad in ({"hidden": 3}, {"seeds": ()}, {"rhos": (1.5,)}):
        with pytest.raises(ValueError, match=r"even number|one seed|from 0 to 1"):
            multitask.teacher_map(**bad)


TINY = multitask.Setup(size=8, width=4, images=40, test=60, steps=6, batch_size=20)


def test_knobs_compare_like_with_like() -> None:
    for partner in PARTNERS:
        tasks = similarity_tasks(partner, 0, TINY)
        assert [len(train) for train, _ in tasks.values()] == [40, 40]
        assert all(len(train.classes) == 6 for train, _ in tasks.values())
        assert not torch.equal(tasks["shape"][0].inputs, tasks["partner"][0].inputs)
    one, two = (multitask.trial("similarity", p, 0, TINY)[0] for p in PARTNERS[:2])
    assert (one.alone, one.alone_wide) == (two.alone, two.alone_wide)  # alone, a partner makes no difference
    few = multitask.trial("imbalance", 0.25, 0, TINY)
    assert [t.task for t in few] == ["few", "many"]
    assert all(0.7 < t.cost < 1.3 for t in [one, *few])
    assert multitask.trial("width", 4, 1, TINY) == multitask.trial("width", 4, 1, TINY)


def test_maps_draw_and_refuse() -> None:
    found = multitask.condition_map("width", values=(2, 4), seeds=(0, 1), setup=TINY)
    assert len(found.cells()) == len(found.cells("same trunk")) == 8
    assert len(found.plot().containers) == 4
    for call in (
        lambda: multitask.condition_map("widht"),
        lambda: multitask.condition_map("similarity", values=["colors"], setup=TINY),
        lambda: multitask.condition_map("imbalance", values=[0.7], setup=TINY),
        lambda: multitask.condition_map("width", seeds=()),
        lambda: multitask.ConditionMap([]),
        lambda: found.cells("same cost"),
    ):
        with pytest.raises(ValueError, match=r"nearest|up to one half|one seed|one knob|accepted"):
            call()


def test_a_large_partner_does_not_help_by_longer_training() -> None:
    """Coin tosses teach nothing, though with them an epoch has many more steps."""

    def part(count: int, seed: int, *, noise: bool = False) -> Dataset:
        draws = torch.Generator().manual_seed(seed)
        x = torch.randn(count, 10, generator=draws)
        y = torch.randint(2, (count,), generator=draws) if noise else (x[:, 0] + x[:, 1] > 0).long()
        return Dataset(x, y, ("no", "yes"))

    train = {"few": part(60, 1), "noise": part(1500, 2, noise=True)}
    val = {"few": part(600, 3), "noise": part(600, 4, noise=True)}

    def make(tasks):
        trunk = nn.Sequential(nn.Linear(10, 64), nn.ReLU())
        return multitask.MultiTaskModel(trunk, dict.fromkeys(tasks, 2), at="output")

    found = multitask.transfer_matrix(make, train, val, seeds=range(4), epochs=3, lr=0.01, device="cpu")
    assert abs(found.pairs["noise", "few"].difference) < 0.05
    assert mean(found.alone["few"]) > 0.7  # it has learned as long as with the other
    with pytest.raises(ValueError, match="from 1 on"):
        multitask.transfer_matrix(make, train, val, epochs=0)
    with pytest.raises(ValueError, match="is empty"):
        multitask.transfer_matrix(make, train | {"few": part(0, 1)}, val, epochs=1)


@pytest.mark.parametrize("probe", [multitask.gradient_conflict, multitask.lookahead_affinity])
def test_probes_leave_modes_and_frozen_layers_alone(probe) -> None:
    trunk = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    model = multitask.MultiTaskModel(trunk, {"up": 1, "down": 1}, at="output").train()
    model.trunk[0].requires_grad_(False)
    model.trunk[1].eval()
    options = {"lr": 0.1} if probe is multitask.lookahead_affinity else {}
    probe(model, {task: DATA[task] for task in ("up", "down")}, **options)
    assert model.training and not model.trunk[1].training and model.trunk[3].training
