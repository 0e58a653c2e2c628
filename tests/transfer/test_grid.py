from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tlcore import training, transfer, worlds
from tlcore.transfer import evidence
from tlcore.transfer.grid import RATES, _Runs
from tlcore.transfer.rules import STRATEGIES
from tlcore.transfer.similarity import similarity_of
from tlcore.transfer.small import small_net, train_source

WORLD = worlds.Shapes(size=16, scale=(0.6, 0.9), shapes=("circle", "star", "L"))


@pytest.fixture(scope="module")
def source() -> nn.Sequential:
    return train_source(WORLD.sample(3000, seed=1), epochs=8)


@pytest.fixture(scope="module")
def target() -> transfer.Target:
    return transfer.Target(WORLD.sample(300, seed=3), WORLD.sample(200, seed=4))


@pytest.fixture(scope="module")
def trials(source: nn.Sequential, target: transfer.Target) -> list[transfer.Trial]:
    return transfer.grid({"same": source}, {"same": target}, (5, 20), (0, 1), steps=lambda n: 30)


def test_the_same_task_is_done_at_once_by_what_was_trained_on_it(trials: list[transfer.Trial]) -> None:
    assert [(t.per_class, t.seed) for t in trials] == [(5, 0), (5, 1), (20, 0), (20, 1)]
    for trial in trials:
        assert set(trial.accuracy) == set(STRATEGIES)
        assert min(trial.accuracy["frozen svm"], trial.accuracy["frozen softmax"]) > trial.accuracy["scratch"] + 0.1
        assert trial.similarity > (0.2 if trial.per_class == 5 else 0.5)  # fifteen labels say little
        assert trial.regret(trial.best) == 0


def test_same_seed_same_trials(source: nn.Sequential, target: transfer.Target, trials: list[transfer.Trial]) -> None:
    again = transfer.grid({"same": source}, {"same": target}, (5,), (0,), steps=lambda n: 30)
    assert again[0].accuracy["frozen svm"] == trials[0].accuracy["frozen svm"]
    for name, value in again[0].accuracy.items():
        assert value == pytest.approx(trials[0].accuracy[name], abs=0.02)


def test_top_is_the_network_with_its_lower_layers_frozen(source: nn.Sequential, target: transfer.Target) -> None:
    """Trained on maps made beforehand, or by hand with frozen layers: the same network."""
    drawn = [target.pool.subset(per_class=5, seed=1000)]
    runs = _Runs(drawn, [target.test], [0], 12, "cpu")
    found = runs.transferred(source, runs.neck(source))["top"][0]
    torch.manual_seed(0)
    body = copy.deepcopy(source[:-1])
    net = nn.Sequential(*body, nn.Linear(64, 3))
    training.freeze_to(net, 6)  # three convolutions with their normalisation and the head are 7 parts
    free = [p for block in (net[2], net[4]) for p in block.parameters()]
    for p in net[:2].parameters():
        p.requires_grad_(False)
    for p in free:
        p.requires_grad_(True)
    steps = torch.optim.SGD(free, RATES["top"], momentum=0.9)
    draws = torch.Generator().manual_seed(0)
    for _ in range(12):
        rows = torch.randperm(15, generator=draws)
        loss = nn.functional.cross_entropy(net(drawn[0].inputs[rows]), drawn[0].targets[rows])
        steps.zero_grad()
        loss.backward()
        steps.step()
    with torch.no_grad():
        right = (net(target.test.inputs).argmax(1) == target.test.targets).double().mean()
    assert found == pytest.approx(float(right), abs=0.011)


def test_bytes_are_shares_of_255(source: nn.Sequential, target: transfer.Target) -> None:
    as_bytes = transfer.Target(
        *(worlds.Dataset((d.inputs * 255).round().to(torch.uint8), d.targets, d.classes) for d in target)
    )
    found = transfer.grid({"same": source}, {"b": as_bytes, "f": target}, (5,), (0,), steps=lambda n: 5)
    for name, value in found[0].accuracy.items():
        assert value == pytest.approx(found[1].accuracy[name], abs=0.06)


def test_same_seed_same_source() -> None:
    one, two = (train_source(WORLD.sample(200, seed=1), epochs=1).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_sources_are_left_as_they_were(source: nn.Sequential, target: transfer.Target) -> None:
    before = copy.deepcopy(source.state_dict())
    transfer.grid({"same": source}, {"same": target}, (2,), (0,), steps=lambda n: 3)
    assert all(torch.equal(before[k], v) for k, v in source.state_dict().items())


def test_bad_input(source: nn.Sequential, target: transfer.Target) -> None:
    with pytest.raises(ValueError, match="2 images a class"):
        transfer.grid({"s": source}, {"t": target}, (1,), (0,))
    two = WORLD.but(shapes=("circle", "star"))
    other = transfer.Target(two.sample(40), two.sample(40))
    with pytest.raises(ValueError, match="same number of classes"):
        transfer.grid({"s": source}, {"t": target, "u": other}, (5,), (0,))
    with pytest.raises(ValueError, match="500"):
        transfer.grid({"s": source}, {"t": target}, (500,), (0,))
    with pytest.raises(TypeError, match="texts"):
        train_source(worlds.Dataset(["a", "b"], torch.tensor([0, 1]), ("a", "b")))


def test_similarity_by_hand() -> None:
    draws = np.random.default_rng(0)
    y = np.repeat([0, 1], 60)
    told, noise = np.c_[y + 0.01 * draws.normal(size=120)], draws.normal(size=(120, 4))
    assert similarity_of(told, noise, y) == 1.0  # no error is left
    assert similarity_of(noise, told, y) == 0.0  # worse than the inputs
    assert similarity_of(noise, noise, y) == 0.0
    half = np.where(np.arange(120) % 2 == 0, y, draws.integers(0, 2, 120))[:, None].astype(float)
    assert 0.2 < similarity_of(half, noise, y) < 0.8


def test_similarity_needs_two_of_each() -> None:
    with pytest.raises(ValueError, match="two examples of each"):
        similarity_of(np.zeros((3, 2)), np.zeros((3, 2)), [0, 0, 1])
    with pytest.raises(ValueError, match="1 classes"):
        similarity_of(np.zeros((3, 2)), np.zeros((3, 2)), [0, 0, 0])
    rare = np.r_[np.zeros(5000, int), 1, 1]
    assert 0 <= similarity_of(np.random.default_rng(0).normal(size=(5002, 2)), np.zeros((5002, 2)), rare) <= 1


def test_similarity_of_a_zoo_network_falls_with_the_task() -> None:
    from tlcore import zoo

    net = zoo.get_model("resnet20", weights="shapesx")
    world = worlds.Shapes(shapes=("crescent", "trapezoid", "L", "heart"))
    shape, texture = (transfer.similarity(net, w.sample(200, seed=5)) for w in (world, world.but(label="texture")))
    assert shape > 0.6 > 0.3 > texture


def test_evidence_goes_to_a_file_and_back(trials: list[transfer.Trial], tmp_path) -> None:
    path = tmp_path / "trials.json"
    evidence.write(trials, path)
    assert evidence.read(path) == trials
    assert [p.name for p in tmp_path.iterdir()] == ["trials.json"]


def test_small_net_draws_nothing_from_the_global_generator() -> None:
    torch.manual_seed(3)
    first = torch.rand(1)
    torch.manual_seed(3)
    small_net(4, seed=9)
    assert torch.equal(torch.rand(1), first)
    assert sum(p.numel() for p in small_net(4).parameters()) == 448 + 32 + 4640 + 64 + 18496 + 128 + 260
