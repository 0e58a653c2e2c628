"""Fine-tuning does to the weights what the plan says: checked against loops in plain torch, and bit by bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tlcore import training, transfer, worlds, zoo
from tlcore.training import Arithmetic
from tlcore.transfer import Phase

PLAIN = {"arithmetic": Arithmetic(), "device": "cpu", "progress": False}


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(),
        nn.Linear(8, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2),
    )  # fmt: skip


def data(count: int = 60, seed: int = 0) -> worlds.Dataset:
    return worlds.Gaussian(features=6, distance=2).sample(count, seed=seed)


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(one: dict, other: dict, *starts: str) -> list[bool]:
    return [torch.equal(one[name], other[name]) for name in one if name.startswith(starts)]


@pytest.mark.parametrize(
    ("plan", "frozen"),
    [
        ("head_only", ("0.", "1.", "3.", "4.")),
        (transfer.bottom_frozen(1), ("0.", "1.")),
        (transfer.top(2), ("0.", "1.")),
        (transfer.bottom_frozen(0), ()),
        ([Phase(-1), Phase(1)], ("0.", "1.")),
    ],
)
def test_frozen_weights_and_statistics_stay_bit_by_bit(plan, frozen):
    model = net()
    before = state(model)
    transfer.fine_tune(model, data(), plan=plan, epochs=2, lr=0.1, **PLAIN)
    after = state(model)
    assert all(same(before, after, *frozen)) if frozen else True
    free = tuple(start for start in ("0.", "1.", "3.", "4.", "6.") if start not in frozen)
    assert not any(same(before, after, *free))  # running means, variances and counts of free ones have moved too


def by_hand(model: nn.Module, batches: list, phases: list, momentum: float, decay: float) -> None:
    """Plain torch: one SGD over all parameters with Nesterov momentum; phases are (free layers, rates, epochs)."""
    layers = [("0", "1"), ("3", "4"), ("6",)]
    groups = []
    for names in layers:
        parameters = [p for name in names for p in model.get_submodule(name).parameters()]
        groups.append({"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay})
        groups.append({"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0})
    optimizer = torch.optim.SGD(groups, lr=0.0, momentum=momentum, nesterov=True)
    for frozen, rates, epochs in phases:
        model.train()
        for number, names in enumerate(layers):
            for name in names:
                module = model.get_submodule(name)
                for p in module.parameters():
                    p.requires_grad_(number >= frozen)
                if isinstance(module, nn.BatchNorm1d):
                    module.train(number >= frozen)
            for group in optimizer.param_groups[2 * number : 2 * number + 2]:
                group["lr"] = rates[number]
        for _ in range(epochs):
            for x, y in batches:
                optimizer.zero_grad()
                cross_entropy(model(x), y).backward()
                optimizer.step()


def test_discriminative_rates_equal_parameter_groups_by_hand():
    mine, theirs = net(), net()
    batches = list(data(50).batches(10))  # 5 steps
    transfer.fine_tune(
        mine,
        batches,
        plan=transfer.discriminative(4),
        epochs=1,
        lr=0.2,
        schedule="constant",
        weight_decay=0.01,
        **PLAIN,
    )
    by_hand(theirs, batches, [(0, [0.2 / 16, 0.2 / 4, 0.2], 1)], 0.9, 0.01)
    for a, b in zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("plan", "phases"),
    [
        (transfer.procedure(2, lr=0.5), [(2, [0, 0, 0.1], 2), (0, [0.05, 0.05, 0.05], 3)]),
        (transfer.gradual(factor=2), [(2, [0, 0, 0.1], 1), (1, [0, 0.05, 0.1], 1), (0, [0.025, 0.05, 0.1], 3)]),
        ([Phase(0, 2), Phase(-1, 3)], [(0, [0.1] * 3, 2), (2, [0, 0, 0.1], 3)]),  # frozen again: momentum moves nothing
    ],
)
def test_momentum_survives_unfreezing(plan, phases):
    mine, theirs, forgetful = net(), net(), net()
    batches = list(data(40).batches(10))
    transfer.fine_tune(mine, batches, plan=plan, epochs=5, lr=0.1, schedule="constant", weight_decay=0.01, **PLAIN)
    by_hand(theirs, batches, phases, 0.9, 0.01)
    for a, b in zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    for phase in phases:
        by_hand(forgetful, batches, [phase], 0.9, 0.01)
    assert not torch.allclose(mine[6].weight, forgetful[6].weight, atol=1e-4)


def test_adam_keeps_its_moments_too():
    made = []

    def adam(groups):
        made.append(torch.optim.AdamW(groups))
        return made[-1]

    model, train = net(), data(64)
    transfer.fine_tune(model, train, plan="procedure", epochs=4, lr=0.01, optimizer=adam, batch_size=16, **PLAIN)
    assert len(made) == 1
    steps = {name: int(made[0].state[p]["step"]) for name, p in model.named_parameters()}
    assert steps["6.weight"] == 16 and steps["0.weight"] == 8


def test_gradual_with_all_groups_from_the_start_equals_full():
    one, other = net(), net()
    transfer.fine_tune(one, data(), plan=transfer.gradual(first=3), epochs=3, **PLAIN)
    transfer.fine_tune(other, data(), plan="full", epochs=3, **PLAIN)
    assert all(same(state(one), state(other), ""))


def test_two_phases_of_the_same_kind_are_one():
    one, other = net(), net()
    options = PLAIN | {"schedule": "constant"}
    transfer.fine_tune(one, data(), plan=[Phase(0, 2), Phase(0, 1)], epochs=3, **options)
    transfer.fine_tune(other, data(), plan="full", epochs=3, **options)
    assert all(same(state(one), state(other), ""))  # the order of the images goes on as well


def test_each_phase_has_its_schedule():
    rates = []

    class Watched(torch.optim.SGD):
        def step(self, *args, **kwargs):
            rates.append([round(g["lr"], 6) for g in self.param_groups][::2])
            return super().step(*args, **kwargs)

    plan = [Phase(-1, 1, schedule="constant"), Phase(0, 2, lr=0.1, factor=10, schedule="stlr")]
    transfer.fine_tune(
        net(), data(40), plan=plan, epochs=3, lr=1.0, batch_size=2, optimizer=lambda g: Watched(g, lr=1.0), **PLAIN
    )
    assert {rate[-1] for rate in rates[:20]} == {1.0}
    expected = [0.1 * training.stlr(40)(t) for t in range(40)]
    assert [rate[-1] for rate in rates[20:]] == pytest.approx(expected, abs=2e-6)
    assert [rate[0] for rate in rates[20:]] == pytest.approx([rate / 100 for rate in expected], abs=2e-6)


def overfitting(**options):
    """A small training set with wrong labels, learned by heart: the validation loss falls, then rises."""
    torch.manual_seed(0)
    model, train = nn.Sequential(nn.Linear(6, 256), nn.ReLU(), nn.Linear(256, 2)), data(30)
    targets = torch.where(torch.arange(30) % 4 == 0, 1 - train.targets, train.targets)
    weights = {0: state(model)}
    done = transfer.fine_tune(
        model, worlds.Dataset(train.inputs, targets, train.classes), data(500, seed=1), lr=0.03, weight_decay=0,
        schedule="constant", each_epoch=lambda epoch: weights.update({epoch.epoch: state(model)}), **PLAIN | options,
    )  # fmt: skip
    return model, done, weights


@pytest.mark.parametrize("plan", ["full", [Phase(0, 3), Phase(0)]])
@pytest.mark.parametrize("back", [1, 2, 4, 50])
def test_overfit_and_step_back_some_epochs(plan, back):
    model, done, weights = overfitting(epochs=30, step_back=back, plan=plan)
    losses = done.history.column("val_loss")
    best = losses.index(min(losses)) + 1
    assert len(losses) == 30 and 3 < best < 30
    assert done.kept == max(0, best + 1 - back)
    assert all(same(state(model), weights[done.kept], ""))
    assert f"rose after epoch {best}: back to epoch {done.kept}" in repr(done)


def test_without_a_rise_there_is_no_step_back():
    model, done, weights = overfitting(epochs=2, step_back=3)
    assert done.kept == 2 and "did not rise" in done.history.stopped and all(same(state(model), weights[2], ""))


def test_early_stopping_keeps_the_best_epoch_of_all_phases():
    model, done, weights = overfitting(epochs=60, patience=3, plan=[Phase(0, 30), Phase(0, 30, lr=10.0)])
    losses = done.history.column("val_loss")
    assert len(losses) < 60 and "phase 1 stopped" in done.history.stopped
    assert done.kept == losses.index(min(losses)) + 1 == done.best.epoch <= done.ends[0]
    assert all(same(state(model), weights[done.kept], ""))
    assert training.evaluate(model, data(500, seed=1), device="cpu")[0] == pytest.approx(min(losses), abs=1e-5)


def test_the_outcome_tells_the_story():
    seen = []
    done = transfer.fine_tune(
        net(), data(), data(seed=1), "gradual", epochs=4, each_epoch=lambda epoch: seen.append(epoch.epoch), **PLAIN
    )
    assert seen == done.history.column("epoch") == [1, 2, 3, 4]
    assert done.ends == (1, 2, 4) and done.kept == 4
    assert [row[-3:] for row in done.groups.rows] == [
        ["frozen", "frozen", "0.01"], ["frozen", "0.01", "0.01"], ["0.01", "0.01", "0.01"],
    ]  # fmt: skip
    assert "Weights of epoch 4 of 4 kept, validation loss" in repr(done) and "<table>" in done._repr_html_()
    ax = done.plot(what="accuracy")
    assert [round(line.get_xdata()[0], 1) for line in ax.lines if line.get_linestyle() == ":"] == [1.5, 2.5]
    assert done.history.settings["plan"] == "gradual(epochs=1, first=1, factor=1)"


def test_the_table_is_printed_when_progress_is_shown(capsys):
    transfer.fine_tune(net(), data(), plan="head_only", epochs=1, **PLAIN | {"progress": True})
    assert "frozen" in capsys.readouterr().out
    transfer.fine_tune(net(), data(), plan="head_only", epochs=1, **PLAIN)
    assert not capsys.readouterr().out


def test_the_same_seed_gives_the_same_bits():
    def run(seed):
        model = net()
        transfer.fine_tune(model, data(), plan="procedure", epochs=2, num_classes=2, seed=seed, **PLAIN)
        return state(model)

    assert all(same(run(1), run(1), "")) and not all(same(run(1), run(2), "6."))


def test_one_image_per_class_and_a_batch_of_one_left_over():
    shapes = worlds.Shapes(shapes=("circle", "star", "square"))
    few = shapes.sample(60).subset(per_class=1)
    model = zoo.get_model("resnet20", num_classes=3)
    done = transfer.fine_tune(model, few, few, "head_only", epochs=2, **PLAIN)
    assert done.history.last.val_accuracy is not None
    done = transfer.fine_tune(net(), data(33), epochs=2, batch_size=32, **PLAIN)  # batch normalisation of one row fails
    assert len(done.history.epochs) == 2


def test_any_batches_and_any_loss():
    batches = [(torch.randn(8, 6), torch.randn(8, 2)) for _ in range(3)]
    done = transfer.fine_tune(net(), batches, batches, "procedure", epochs=2, loss=nn.functional.mse_loss, **PLAIN)
    assert done.history.last.val_accuracy is None and done.kept == 2


def test_a_loader_with_its_own_normalisation():
    loader = worlds.Loader(data(), 20, mean=[0.1] * 6, std=2.0)
    assert transfer.fine_tune(net(), loader, epochs=1, **PLAIN | {"arithmetic": "auto"}).kept == 1


def shapes(*names: str, count: int = 24) -> worlds.Dataset:
    return worlds.Shapes(shapes=names).sample(count)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"plan": "heads_only"}, "nearest: 'head_only'"),
        ({"plan": "top"}, r"transfer.top\(2\)"),
        ({"plan": transfer.bottom_frozen(3)}, "everything would be frozen; from 0 to 2 can be frozen"),
        ({"plan": transfer.bottom_frozen(9)}, "there are not so many"),
        ({"plan": transfer.top(4)}, "from 1 to 3 trained"),
        ({"plan": [Phase(3)]}, "everything would be frozen"),
        ({"plan": []}, "no phase"),
        ({"plan": "gradual", "epochs": 2}, "3 phases for the 3 groups.*take 2 epochs.*from 3 on"),
        ({"plan": [Phase(0, 2)], "epochs": 5}, "exactly 2"),
        ({"patience": 2}, "only with validation data"),
        ({"step_back": 0}, "only with validation data"),
        ({"lr": 0}, "above 0"),
        ({"groups": "stage"}, "nearest: 'stages'"),
        ({"num_classes": 3}, "train has 2 classes"),
        ({"num_classes": 2.0}, "whole number"),
        ({"schedule": "cos"}, "accepted are constant, cosine"),
    ],
)
def test_bad_options_get_a_sentence_and_nothing_is_changed(options, text):
    model = net()
    before = state(model)
    with pytest.raises(ValueError, match=text):
        transfer.fine_tune(model, data(), **{"epochs": 3} | PLAIN | options)
    assert all(same(before, state(model), ""))


def test_bad_data_gets_a_sentence():
    model = net()
    full = data()
    with pytest.raises(ValueError, match=f"class '{full.classes[1]}' has no example in train"):
        transfer.fine_tune(model, full[full.targets == 0], epochs=1, **PLAIN)
    other = worlds.Dataset(full.inputs, full.targets, full.classes[::-1])
    with pytest.raises(ValueError, match="the same in the same order"):
        transfer.fine_tune(model, full, other, epochs=1, **PLAIN)
    with pytest.raises(ValueError, match="empty"):
        transfer.fine_tune(model, full[:0], epochs=1, **PLAIN)
    with pytest.raises(ValueError, match="10 outputs and the data has 2 classes; give num_classes=2"):
        transfer.fine_tune(zoo.get_model("resnet20"), shapes("circle", "star"), epochs=1, **PLAIN)
    with pytest.raises(ValueError, match="2 outputs and the data has 6 classes"):
        transfer.fine_tune(model, [(torch.randn(4, 6), torch.tensor([0, 1, 5, 2]))], epochs=1, **PLAIN)
    with pytest.raises(ValueError, match="no batch"):
        transfer.fine_tune(model, [], epochs=1, **PLAIN)
    with pytest.raises(TypeError, match=r"list of transfer\.Phase"):
        transfer.fine_tune(model, full, plan=[1], epochs=1, **PLAIN)
    with pytest.raises(ValueError, match="images of shape"):
        transfer.fine_tune(zoo.get_model("lenet5"), shapes("circle", "star"), num_classes=2, epochs=1, **PLAIN)


def test_no_number_stops_with_the_phase_and_the_step():
    broken = data(64)
    broken.inputs[40] = float("nan")
    with pytest.raises(ValueError, match=r"fine_tune, phase 1 of 2: .*epoch 1, step \d"):
        transfer.fine_tune(net(), broken, plan="procedure", epochs=2, batch_size=16, **PLAIN)


def test_a_checkpoint_of_another_architecture(tmp_path):
    from safetensors.torch import save_file

    save_file(zoo.get_model("resnet32").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other.safetensors do not fit CifarResNet: unknown layer1\.3"):
        zoo.get_model("resnet20", weights=tmp_path / "other.safetensors")


def test_the_procedure_transfers():
    """Two tasks that share hidden features |w x|: a body trained on the one learns the other from 40 examples."""
    draws = torch.Generator().manual_seed(0)
    hidden, source, target = (torch.randn(*shape, generator=draws) for shape in ((4, 20), (6, 4), (2, 4)))

    def task(readout: torch.Tensor, count: int) -> worlds.Dataset:
        x = torch.randn(count, 20, generator=draws)
        z = (x @ hidden.T).abs()
        return worlds.Dataset(x, ((z - z.mean()) @ readout.T).argmax(1), tuple(map(str, range(len(readout)))))

    def fresh() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 6))

    base = fresh()
    training.fit(base, task(source, 8000), epochs=8, lr=0.2, progress=False, device="cpu")
    few, many = task(target, 40), task(target, 2000)

    def accuracy(model: nn.Module) -> float:
        options = PLAIN | {"epochs": 20, "lr": 0.05, "num_classes": 2}
        return transfer.fine_tune(model, few, many, "procedure", **options).history.last.val_accuracy

    assert accuracy(base) > accuracy(fresh()) + 0.2
