"""Every backend trains what one-by-one training with torch's own optimizer trains."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tlcore import training, worlds
from tlcore.training.experiment import Job
from tlcore.training.processes import processes

EXPERIMENTS = [
    {"seed": s, "lr": lr, "momentum": m, "weight_decay": w, "data": d}
    for s, lr, m, w, d in (
        (0, 0.1, 0.9, 0.0, 0),
        (1, 0.05, 0.0, 0.01, 1),
        (2, 0.2, 0.5, 0.001, 0),
        (3, 0.1, 0.9, 0.0, 1),
    )
]


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)
    )


def vectors() -> list[worlds.Dataset]:
    world = worlds.Gaussian(features=12, distance=2)
    return [world.sample(150, seed=n) for n in range(2)]


def pictures() -> list[worlds.Dataset]:
    world = worlds.Shapes(shapes=("circle", "plus"), size=8)
    return [
        worlds.Dataset(d.inputs.mean(1, keepdim=True), d.targets, d.classes)
        for d in (world.sample(150, seed=n) for n in range(2))
    ]


def by_hand(make, data, plan, steps, size, dtype):
    """Plain PyTorch, written without the lab: the same draws in the same order."""
    torch.manual_seed(plan["seed"])
    net = make().to(dtype)
    one = data[plan["data"]]
    inputs = one.inputs.to(dtype)
    draws = torch.Generator().manual_seed(plan["seed"])
    epochs = [torch.randperm(len(one), generator=draws) for _ in range(steps * size // len(one) + 1)]
    rows = torch.cat(epochs)
    depth = {"0": 2, "2": 1, "4": 0}  # of the perceptron's layers, from the output
    groups = [
        {"params": [p], "lr": plan["lr"] / plan.get("factor", 1) ** depth.get(name.split(".")[0], 0)}
        for name, p in net.named_parameters()
    ]
    optimizer = torch.optim.SGD(groups, plan["lr"], momentum=plan["momentum"], weight_decay=plan["weight_decay"])
    for n in range(steps):
        batch = rows[n * size : (n + 1) * size]
        optimizer.zero_grad()
        cross_entropy(net(inputs[batch]), one.targets[batch]).backward()
        optimizer.step()
    return dict(net.named_parameters())


@pytest.mark.parametrize("backend", ["loop", "vmap", "processes"])
@pytest.mark.parametrize(("make", "data"), [(mlp, vectors), (cnn, pictures)])
def test_equals_one_by_one_training(backend, make, data):
    for dtype, steps, tolerance in ((torch.float32, 20, 1e-4), (torch.float64, 200, 1e-8)):
        if backend == "processes" and dtype == torch.float64:
            continue
        sets = data()
        found = training.Lab(make, backend=backend, dtype=dtype, device="cpu").run(
            EXPERIMENTS, sets, steps=steps, batch_size=20
        )
        assert found.backend == backend
        for plan, state in zip(EXPERIMENTS, found.states):
            wanted = by_hand(make, sets, plan, steps, 20, dtype)
            for name, tensor in wanted.items():
                assert (state[name] - tensor).abs().max() < tolerance, (plan, name)


def test_results_are_tidy_rows_in_order():
    plans = [{"seed": s, "lr": lr, "kind": "x"} for lr in (0.01, 0.2) for s in range(3)]
    world = worlds.Gaussian(features=12, distance=3)
    lab = training.Lab(mlp, device="cpu")
    found = lab.run(plans, world.sample(200), steps=40, batch_size=32, val=world.sample(400, seed=9))
    assert found.backend in ("loop", "vmap", "processes") and len(found) == 6
    assert [(r["seed"], r["lr"], r["kind"]) for r in found.rows] == [(p["seed"], p["lr"], "x") for p in plans]
    means = found.mean("val_accuracy", ["lr"])
    assert [m["count"] for m in means] == [3, 3] and means[1]["val_accuracy"] > 0.8
    assert "val_accuracy" in repr(found)
    with pytest.raises(ValueError, match="nearest: 'val_accuracy'"):
        found.column("accuracy")
    with pytest.raises(ValueError, match="mean\\('rate'\\)"):
        found.mean("val_accuracy", ["rate"])


def test_settings_that_only_some_have_stay_in_their_columns():
    data = vectors()
    found = training.Lab(mlp, backend="loop", device="cpu").run(
        [{"kind": "a"}, {"width": 3}, {"width": 4, "kind": "b"}], data, steps=1, batch_size=5
    )
    assert found.column("kind") == ["a", None, "b"] and found.column("width") == [None, 3, 4]
    lines = [line.split() for line in repr(found).splitlines()]
    assert len({len(line) for line in lines if "0.9" in line}) > 1  # an empty cell is empty, not filled by a neighbour
    assert [row["count"] for row in found.mean("train_loss", ["kind"])] == [1, 1, 1]


class PartlyFrozen(nn.Module):
    """One layer is frozen, and one takes no part."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head, self.spare = (
            nn.Linear(12, 16), nn.Linear(16, 16), nn.Linear(16, 2), nn.Linear(3, 3)
        )  # fmt: skip
        self.second.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))


@pytest.mark.parametrize("backend", ["loop", "vmap", "processes"])
def test_frozen_layers_stay_and_unused_ones_too(backend):
    data = vectors()
    found = training.Lab(PartlyFrozen, backend=backend, device="cpu").run(EXPERIMENTS, data, steps=12, batch_size=20)
    for plan, state in zip(EXPERIMENTS, found.states):
        torch.manual_seed(plan["seed"])
        before = PartlyFrozen().state_dict()
        wanted = by_hand(PartlyFrozen, data, plan, 12, 20, torch.float32)
        for name, tensor in wanted.items():
            assert (state[name] - tensor).abs().max() < 1e-4, (plan, name)
            kept = name.startswith(("second", "spare"))
            assert torch.equal(state[name], before[name]) == kept, name


@pytest.mark.parametrize("backend", ["loop", "vmap"])
def test_lower_layers_may_learn_more_slowly(backend):
    plans = [dict(plan, factor=factor) for plan, factor in zip(EXPERIMENTS, (3.0, 1.0, 2.6, 10.0))]
    data = vectors()
    found = training.Lab(mlp, backend=backend, device="cpu").run(plans, data, steps=15, batch_size=20)
    for plan, state in zip(plans, found.states):
        for name, tensor in by_hand(mlp, data, plan, 15, 20, torch.float32).items():
            assert (state[name] - tensor).abs().max() < 1e-4, (plan, name)


def test_stacks_inside_processes_train_the_same():
    data = vectors()
    plans = [dict(plan, seed=n) for n, plan in enumerate(EXPERIMENTS * 4)]
    job_of = training.Lab(mlp, backend="loop", device="cpu")
    alone = job_of.run(plans, data, steps=10, batch_size=20)
    placed = [job_of._placed(one) for one in data]
    job = Job(mlp, cross_entropy, torch.device("cpu"), torch.float32, placed, None, 10, 20)
    found = processes(job, [plan | {"factor": 1.0} for plan in plans], size=3)
    for state, (row, other) in zip(alone.states, found, strict=True):
        assert all((state[name] - other[name]).abs().max() < 1e-4 for name in state) and row["train_accuracy"] > 0.5


def test_weights_come_back_from_processes_in_every_type():
    lab = training.Lab(mlp, backend="processes", device="cpu", dtype=torch.bfloat16)
    found = lab.run(EXPERIMENTS, vectors(), steps=3, batch_size=20)
    assert found.states[0]["0.weight"].dtype == torch.bfloat16


def test_weights_come_back_from_processes_in_every_layout():
    def make():
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(36, 2)).to(memory_format=torch.channels_last)

    images = worlds.Dataset(torch.randn(20, 3, 5, 5), torch.randint(2, (20,)), ("a", "b"))
    found = [
        training.Lab(make, backend=how, device="cpu").run([{"seed": 0}], images, steps=2, batch_size=4).states[0]
        for how in ("processes", "loop")
    ]
    assert all(torch.allclose(found[0][name], tensor, atol=1e-6) for name, tensor in found[1].items())


def test_tokens_stay_integers():
    data = worlds.Dataset(
        torch.randint(30, (60, 5), generator=torch.Generator().manual_seed(0)), torch.arange(60) % 2, ("a", "b")
    )
    make = lambda: nn.Sequential(nn.Embedding(30, 4), nn.Flatten(), nn.Linear(20, 2))  # noqa: E731
    for backend in ("loop", "vmap"):
        found = training.Lab(make, backend=backend, device="cpu").run([{}, {"seed": 1}], data, steps=60, batch_size=20)
        assert min(found.column("train_accuracy")) > 0.9


def test_chunks_change_nothing():
    data = vectors()
    whole, parts = (
        training.Lab(mlp, backend="vmap", chunk=c, device="cpu").run(EXPERIMENTS, data, steps=15, batch_size=20)
        for c in (9, 3)
    )
    for a, b in zip(whole.states, parts.states):
        assert all((a[k] - b[k]).abs().max() < 1e-5 for k in a)


def test_a_stopped_run_goes_on(tmp_path):
    journal, data = tmp_path / "runs" / "lab.jsonl", vectors()
    calls = []

    def make():
        calls.append(1)
        return mlp()

    lab = training.Lab(make, backend="loop", device="cpu")
    first = lab.run(EXPERIMENTS[:2], data, steps=10, batch_size=20, journal=journal)
    journal.write_text(journal.read_text() + '{"key": "half a li')
    calls.clear()
    again = lab.run(EXPERIMENTS, data, steps=10, batch_size=20, journal=journal)
    assert len(calls) == 2 + 1  # two networks, and one to know the journal by
    assert again.rows[:2] == first.rows
    other = lab.run(EXPERIMENTS[:1], data, steps=11, batch_size=20, journal=journal)
    assert other.rows[0]["train_loss"] != first.rows[0]["train_loss"]
    third = lab.run(EXPERIMENTS, data, steps=10, batch_size=20, journal=journal)
    assert third.backend == "journal" and third.rows == again.rows
    broken = [line for line in journal.read_text().splitlines() if not line.endswith("}")]
    assert broken == ['{"key": "half a li'] and json.loads(journal.read_text().splitlines()[-1])


def test_a_journal_knows_targets_checks_loss_and_first_weights(tmp_path):
    data = worlds.Gaussian(features=12, distance=2).sample(60)
    other = worlds.Dataset(data.inputs, 1 - data.targets, data.classes)
    smooth, smoother = (nn.CrossEntropyLoss(label_smoothing=n) for n in (0.3, 0.6))

    def small() -> nn.Module:
        net = mlp()
        with torch.no_grad():
            net[0].weight.mul_(0.1)
        return net

    def run(make=mlp, train=data, val=None, **more):
        lab = training.Lab(make, backend="loop", device="cpu", **more)
        return lab.run([{}], train, steps=3, batch_size=20, val=val, journal=tmp_path / "lab.jsonl")

    assert run().backend == "loop" and run().backend == "journal"
    for options in (
        {"train": other},
        {"val": data},
        {"val": other},
        {"make": small},
        {"loss": smooth},
        {"loss": smoother},
    ):
        assert run(**options).backend == "loop", options
        assert run(**options).backend == "journal", options


def test_one_by_one_every_experiment_is_written_at_once(tmp_path):
    journal = tmp_path / "lab.jsonl"

    def make() -> nn.Module:
        if torch.initial_seed() == 2 and journal.is_file():
            assert len(journal.read_text().splitlines()) == 2
        return mlp()

    training.Lab(make, backend="loop", device="cpu").run(
        [{"seed": n} for n in range(3)], vectors(), steps=2, batch_size=5, journal=journal
    )
    assert len(journal.read_text().splitlines()) == 3


def test_what_cannot_be_stacked_is_said_or_left_to_others():
    normed = lambda: nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))  # noqa: E731
    with pytest.raises(ValueError, match="keeps statistics"):
        training.Lab(normed, backend="vmap", device="cpu").run(EXPERIMENTS, vectors(), steps=2, batch_size=20)
    found = training.Lab(normed, device="cpu").run(EXPERIMENTS, vectors(), steps=5, batch_size=20)
    assert found.backend != "vmap"
    sizes = [worlds.Gaussian(features=12).sample(n) for n in (50, 60)]
    with pytest.raises(ValueError, match="datasets of one size"):
        training.Lab(mlp, backend="vmap", device="cpu").run(EXPERIMENTS, sizes, steps=2, batch_size=20)


class Undecided(nn.Linear):
    """Looks at its numbers to decide what to do: it can be stacked, and fails in the first step."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x if float(x.sum()) > 0 else -x)


def test_what_fails_only_in_a_step_is_left_to_others():
    found = training.Lab(lambda: Undecided(12, 2), device="cpu").run(EXPERIMENTS, vectors(), steps=5, batch_size=20)
    assert found.backend != "vmap" and len(found) == len(EXPERIMENTS)


def test_bad_plans_get_a_sentence():
    lab = training.Lab(mlp, device="cpu")
    for plans, text in (
        ([{"data": 5}], "there are 2 datasets"),
        ([{"lr": 0}], "lr above 0"),
        ([{"lr": float("nan")}], "lr above 0"),
        ([], "at least one experiment"),
    ):
        with pytest.raises(ValueError, match=text):
            lab.run(plans, vectors(), steps=1, batch_size=5)
    with pytest.raises(ValueError, match="from 1 on"):
        lab.run([{}], vectors(), steps=0, batch_size=5)
    with pytest.raises(ValueError, match="accepted are 'auto'"):
        training.Lab(mlp, backend="gpu")
    with pytest.raises(ValueError, match="chunk=0"):
        training.Lab(mlp, chunk=0)
    with pytest.raises(ValueError, match="3 datasets for 2"):
        lab.run([{}], vectors(), val=[*vectors(), vectors()[0]], steps=1, batch_size=5)


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    training.Lab(mlp, backend="vmap", device="cpu").run(EXPERIMENTS, vectors(), steps=3, batch_size=20)
    assert torch.equal(torch.rand(3), wanted)
