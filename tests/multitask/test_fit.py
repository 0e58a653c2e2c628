"""The loop against a few lines of plain torch, batches against counting, and everything it must refuse."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from tlcore import multitask, worlds
from tlcore.multitask.batches import TaskBatches
from tlcore.worlds import Dataset

PLAIN = {"device": "cpu", "progress": False}
XOR = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])


def trunk() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh())


def common(count: int = 40, seed: int = 0) -> dict[str, Dataset]:
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(seed))
    first = Dataset(x, (x[:, 0] > 0).long(), ("no", "yes"))
    return {"sign": first, "value": Dataset(x, x[:, 1] * x[:, 2])}


def model(**heads: int) -> multitask.MultiTaskModel:
    return multitask.MultiTaskModel(trunk(), heads or {"sign": 2, "value": 1}, at="output")


def test_sum_is_ordinary_training_on_the_sum_of_the_losses() -> None:
    ours, peer, data = model(), model(), common()
    history = multitask.fit(ours, data, data, epochs=3, lr=0.1, batch_size=16, seed=4, **PLAIN)
    steps = torch.optim.SGD(peer.parameters(), 0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    loader = worlds.Loader(Dataset(data["sign"].inputs, torch.arange(40)), 16, seed=4)
    count, total = 0, 3 * 3
    for _ in range(3):
        for x, rows in loader:
            steps.param_groups[0]["lr"] = 0.1 * 0.5 * (1 + math.cos(math.pi * count / total))
            steps.zero_grad()
            out = peer(x)
            loss = cross_entropy(out["sign"], data["sign"].targets[rows])
            (loss + mse_loss(out["value"][:, 0], data["value"].targets[rows])).backward()
            steps.step()
            count += 1
    for p, q in zip(ours.parameters(), peer.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-6)
    assert history.settings["common_inputs"] and history["value"].last.val_accuracy is None
    with torch.no_grad():
        right = (ours(data["sign"].inputs)["sign"].argmax(1) == data["sign"].targets).float().mean()
    assert history["sign"].last.val_accuracy == pytest.approx(float(right))


@pytest.mark.parametrize("rule", multitask.RULES)
@pytest.mark.parametrize("kind", ["common", "own"])
def test_every_rule_learns_both_tasks_and_repeats(rule: str, kind: str) -> None:
    tasks = common(200)
    if kind == "own":
        tasks = {"sign": common(200, 1)["sign"], "value": common(120, 2)["value"]}
    runs = []
    for _ in range(2):
        net = model()
        history = multitask.fit(net, tasks, rule=rule, epochs=12, lr=0.1, batch_size=20, clip=5, seed=1, **PLAIN)
        runs.append(torch.cat([p.flatten() for p in net.parameters()]))
    assert torch.equal(*runs)
    sign, value = (history[task].column("train_loss") for task in ("sign", "value"))
    assert sign[-1] < 0.5 * sign[0] and value[-1] < value[0]
    assert len(history.weights) == 12 and "weight" in repr(history)
    if rule in ("uncertainty", "gradnorm", "dwa"):
        assert history.weights[-1] != history.weights[0]
    else:
        assert history.weights[-1] == {"sign": 1.0, "value": 1.0}


@pytest.mark.parametrize("make", [
    lambda: multitask.SoftSharing(trunk, {"sign": 2, "value": 1}, strength=0.01),
    lambda: multitask.CrossStitch(lambda: nn.Sequential(trunk()), {"sign": 2, "value": 1}),
])  # fmt: skip
def test_soft_sharing_trains_too(make) -> None:
    history = multitask.fit(make(), common(200), epochs=10, lr=0.1, batch_size=20, **PLAIN)
    assert history["sign"].last.train_accuracy > 0.9


def test_tasks_of_different_sizes() -> None:
    """Equal: the small task is seen again and again; proportional: each row about once an epoch."""
    big, small = common(90)["sign"], common(30, 3)["sign"]
    for sampling, sizes, small_rows in (("equal", {10}, 90), ("proportional", {15, 5}, 30)):
        batches = TaskBatches({"a": big, "b": small}, 10, sampling=sampling, seed=2)
        seen = {"a": [], "b": []}
        for batch in batches:
            assert {len(y) for _, y in batch.values()} == sizes
            for task, (x, y) in batch.items():
                assert torch.equal((x[:, 0] > 0).long(), y)  # rows and labels stay together
                seen[task] += [tuple(row) for row in x.tolist()]
        assert sorted(seen["a"]) == sorted(map(tuple, big.inputs.tolist()))
        assert len(seen["b"]) == small_rows and set(seen["b"]) == set(map(tuple, small.inputs.tolist()))


def test_bytes_and_missing_options() -> None:
    x = torch.randint(256, (30, 4), dtype=torch.uint8)
    data = {"sign": Dataset(x, (x[:, 0] > 127).long(), ("no", "yes"))}
    history = multitask.fit(model(sign=2), data, epochs=30, batch_size=10, optimizer=torch.optim.Adam, **PLAIN)
    assert history["sign"].last.train_loss < history["sign"].epochs[0].train_loss
    mine = {"value": lambda out, y: (out[:, 0] - y).abs().mean()}
    found = multitask.evaluate(model(value=1), {"value": common()["value"]}, losses=mine)
    assert found["value"][0] > 0


def other(**changes):
    return common() | changes


@pytest.mark.parametrize(
    ("tasks", "error", "told"),
    [
        ({}, ValueError, "no task"),
        (other(value=Dataset(torch.zeros(0, 4), torch.zeros(0))), ValueError, "'value' is empty"),
        (other(value=Dataset(torch.zeros(5, 3, 8), torch.zeros(5))), ValueError, r"no common input.*\(4,\).*\(3, 8\)"),
        (other(valeu=common()["value"]), ValueError, "no head for 'valeu'; nearest: 'value'"),
        (other(value=Dataset(["a", "b"], torch.zeros(2))), TypeError, "texts"),
        (other(value=XOR), TypeError, "'value' is a Tensor"),
        (XOR, TypeError, "dict from tasks"),
        (other(sign=Dataset(torch.zeros(6, 4), torch.arange(6), tuple("abcdef"))), ValueError, "6 classes.*'sign': 6"),
        (other(value=Dataset(torch.zeros(3, 4), torch.full((3,), math.nan))), ValueError, "loss of 'value' is nan"),
    ],
)  # fmt: skip
def test_tasks_that_are_refused(tasks, error, told) -> None:
    with pytest.raises(error, match=told):
        multitask.fit(model(), tasks, epochs=1, **PLAIN)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"epochs": 0}, "from 1 on"),
        ({"schedule": "cosin"}, "nearest: 'cosine'"),
        ({"sampling": "fair"}, "'equal' and 'proportional'"),
        ({"clip": -1}, "above 0"),
        ({"rule": "pcgard"}, "nearest: 'pcgrad'"),
        ({"losses": {"singn": mse_loss}}, "nearest: 'sign'"),
    ],
)
def test_options_that_are_refused(options, told) -> None:
    with pytest.raises(ValueError, match=told):
        multitask.fit(model(), common(), **({"epochs": 1} | PLAIN | options))
    with pytest.raises(ValueError, match="shares no parameters"):
        multitask.fit(multitask.SoftSharing(trunk, {"sign": 2, "value": 1}), common(), rule="pcgrad", epochs=1, **PLAIN)


def test_an_optimizer_of_ones_own_sets_the_rate_of_the_uncertainties():
    seen = {}

    def made(parameters):
        seen["optimizer"] = torch.optim.Adam(parameters, lr=1e-3)
        return seen["optimizer"]

    x = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
    tasks = {"a": Dataset(x, (x[:, 0] > 0).long(), ("n", "y")), "b": Dataset(x, (x[:, 1] > 0).long(), ("n", "y"))}
    model = multitask.MultiTaskModel(nn.Linear(3, 4), {"a": 2, "b": 2}, at="output")
    multitask.fit(model, tasks, rule="uncertainty", epochs=1, optimizer=made, progress=False, device="cpu")
    groups = seen["optimizer"].param_groups
    assert len(groups) == 2 and {group["initial_lr"] for group in groups} == {1e-3}


def test_a_regression_head_of_the_wrong_width_is_refused():
    x = torch.randn(32, 3, generator=torch.Generator().manual_seed(0))
    model = multitask.MultiTaskModel(nn.Linear(3, 4), {"value": 2}, at="output")
    for size in (2, 32):  # torch would broadcast the first
        with pytest.raises(ValueError, match="as many outputs as a target has numbers"):
            multitask.fit(
                model, {"value": Dataset(x, x[:, 0])}, epochs=1, batch_size=size, progress=False, device="cpu"
            )


@pytest.mark.parametrize("name", ["type", "a.b", 0, ""])
def test_names_that_tasks_cannot_have(name):
    with pytest.raises(ValueError, match="a task cannot be called"):
        multitask.MultiTaskModel(nn.Linear(3, 4), {name: 2}, at="output")
    with pytest.raises(ValueError, match="a task cannot be called"):
        multitask.SoftSharing(lambda: nn.Linear(3, 4), {name: 2}, width=4)
