"""The loop learns what can be learned, stops when told to, and keeps what was best."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tlcore import training, worlds
from tlcore.training import Arithmetic


def data(count: int = 400, seed: int = 0) -> worlds.Dataset:
    return worlds.Gaussian(features=10, distance=3).sample(count, seed=seed)


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(10, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))


def test_it_nears_the_bayes_accuracy_and_tells_the_story():
    world = worlds.Gaussian(features=10, distance=3)
    history = training.fit(
        net(), world.sample(4000), world.sample(4000, seed=1), epochs=5, progress=False, device="cpu"
    )
    assert history.last.val_accuracy == pytest.approx(world.bayes_accuracy, abs=0.015)
    assert history.column("epoch") == [1, 2, 3, 4, 5] and history.column("lr")[0] == 0.1
    assert history.last.train_loss < history.epochs[0].train_loss
    assert "val accuracy" in repr(history) and history.as_dict()["epochs"][0]["epoch"] == 1
    assert history.plot(what="accuracy").get_ylabel() == "accuracy"


def test_the_same_seed_gives_the_same_bits():
    def weights(seed):
        torch.manual_seed(0)
        model = net()
        training.fit(model, data(), epochs=2, seed=seed, progress=False, device="cpu")
        return torch.cat([p.flatten() for p in model.parameters()])

    assert torch.equal(weights(3), weights(3)) and not torch.equal(weights(3), weights(4))


def test_it_takes_any_batches_and_any_loss():
    batches = [(torch.randn(8, 3), torch.randn(8, 3)) for _ in range(4)]
    model = nn.Linear(3, 3)
    history = training.fit(
        model, batches, batches, epochs=3, loss=nn.functional.mse_loss, progress=False, device="cpu", lr=0.01
    )
    assert history.last.train_accuracy is None and history.last.val_loss < history.epochs[0].val_loss


def test_early_stopping_goes_back_to_the_best_epoch():
    torch.manual_seed(0)
    model, train, val = nn.Sequential(nn.Linear(10, 256), nn.ReLU(), nn.Linear(256, 2)), data(20), data(2000, seed=1)
    history = training.fit(
        model,
        train,
        val,
        epochs=200,
        lr=0.5,
        patience=3,
        weight_decay=0,
        schedule="constant",
        progress=False,
        device="cpu",
    )
    assert len(history.epochs) < 200 and f"since epoch {history.best.epoch}" in history.stopped
    assert training.evaluate(model, val, device="cpu")[0] == pytest.approx(history.best.val_loss, abs=1e-5)


def test_the_moving_average_is_what_is_kept():
    torch.manual_seed(0)
    model, seen = net(), []
    start = {k: t.clone() for k, t in model.state_dict().items()}

    class Watched(torch.optim.SGD):
        def step(self, *args, **kwargs):
            super().step(*args, **kwargs)
            seen.append([p.detach().clone() for p in self.param_groups[0]["params"]])

    training.fit(model, data(), epochs=2, ema=0.9, optimizer=lambda p: Watched(p, lr=0.1), progress=False, device="cpu")
    average = start["0.weight"]
    for parameters in seen:
        average = 0.9 * average + 0.1 * parameters[0]
    torch.testing.assert_close(model[0].weight.detach(), average)


def test_clipping_bounds_a_step():
    torch.manual_seed(0)
    model = nn.Linear(10, 2)
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    training.fit(
        model,
        data(64),
        epochs=1,
        batch_size=64,
        lr=1.0,
        clip=0.01,
        momentum=0,
        weight_decay=0,
        schedule="constant",
        progress=False,
        device="cpu",
    )
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert float((after - before).norm()) <= 0.01 + 1e-6


def test_frozen_layers_and_their_statistics_stay():
    model = net()
    training.freeze_to(model, -1)
    before = {k: t.clone() for k, t in model.state_dict().items()}
    training.fit(model, data(), epochs=2, progress=False, device="cpu")
    after = model.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in before if not k.startswith("3."))
    assert not torch.equal(before["3.weight"], after["3.weight"])


def test_bad_options_get_a_sentence():
    for options, text in (
        ({"epochs": 0}, "from 1 on"),
        ({"epochs": 1, "patience": 2}, "only with validation data"),
        ({"epochs": 1, "ema": 1.5}, "between 0 and 1"),
        ({"epochs": 1, "clip": 0}, "above 0"),
        ({"epochs": 1, "schedule": "cos"}, "accepted are constant, cosine"),
    ):
        with pytest.raises(ValueError, match=text):
            training.fit(net(), data(), progress=False, **options)
    with pytest.raises(ValueError, match="try a smaller lr"):
        training.fit(
            nn.Linear(10, 2), data(), epochs=20, lr=1e30, momentum=0, weight_decay=1.0, progress=False, device="cpu"
        )


def test_arithmetic_is_measured_and_changes_results_little():
    images, net4 = (
        torch.rand(16, 3, 16, 16),
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 14 * 14, 2)),
    )
    assert isinstance(training.fastest(net4, images), Arithmetic)
    plain, low = Arithmetic(), Arithmetic(bf16=True, channels_last=True)
    with torch.no_grad(), low.context(torch.device("cpu")):
        half = low.model(net4)(low.images(images))
    with torch.no_grad():
        torch.testing.assert_close(half.float(), net4(plain.images(images)), atol=0.05, rtol=0.05)


def test_schedules():
    total = 200
    reference = []
    for t in range(total + 1):  # Howard, Ruder 2018, eq. 3, written out
        cut = math.floor(total * 0.1)
        p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / 0.1 - 1))
        reference.append((1 + p * 31) / 32)
    assert [training.stlr(total)(t) for t in range(total + 1)] == pytest.approx(reference)
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    ours = training.cosine(total)
    for t in range(total):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(ours(t), abs=1e-9)
        optimizer.step()
        theirs.step()
    assert max(training.one_cycle(total)(t) for t in range(total)) == pytest.approx(1.0)
    assert [training.step_down(100)(t) for t in (0, 49, 50, 75)] == pytest.approx([1, 1, 0.1, 0.01])
    with pytest.raises(ValueError, match="cut_frac"):
        training.stlr(10, cut_frac=0)


def test_groups_cover_every_parameter_once():
    from tlcore import zoo

    for name in ("resnet20", "vgg_a", "densenet40_k12", "mobilenet_v1", "googlenet", "lenet5"):
        with torch.device("meta"):
            model = zoo.get_model(name)
        groups = training.parameter_groups(model, 0.1, factor=2.6, weight_decay=1e-4)
        ids = [id(p) for group in groups for p in group["params"]]
        assert sorted(ids) == sorted(id(p) for p in model.parameters())
        rates = [group["lr"] for group in groups]
        assert rates == sorted(rates) and rates[-1] == 0.1
        assert all(p.ndim == 1 for group in groups if group["weight_decay"] == 0 for p in group["params"])


def test_freeze_to():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    for n, free in ((0, [1, 1, 1]), (1, [0, 1, 1]), (-1, [0, 0, 1]), (3, [0, 0, 0])):
        training.freeze_to(model, n)
        assert [int(all(p.requires_grad for p in part.parameters())) for part in model] == free
        assert model[1].training == bool(free[1]) and model.training
    with pytest.raises(ValueError, match="3 groups"):
        training.freeze_to(model, 4)


def _run(path, epochs=4, stop_after=None, **more):
    data = worlds.Gaussian(features=6, distance=2).sample(200)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))

    class Killed(Exception):
        pass

    def told(epoch):
        if epoch.epoch == stop_after:
            raise Killed

    try:
        history = training.fit(
            net,
            data,
            data,
            epochs=epochs,
            batch_size=32,
            checkpoint=path,
            progress=False,
            device="cpu",
            each_epoch=told,
            **more,
        )
    except Killed:
        return None
    return net.state_dict(), history


@pytest.mark.parametrize("more", [{}, {"ema": 0.9}, {"patience": 2}])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tmp_path, more):
    wanted, history = _run(None, **more)
    path = tmp_path / "runs" / "net.checkpoint"
    assert _run(path, stop_after=3, **more) is None  # killed in epoch 3, before it was saved
    found, again = _run(path, **more)
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert [e[:-1] for e in again.epochs] == [e[:-1] for e in history.epochs]  # all but the seconds
    assert not list(path.parent.glob("*.part"))


def test_a_checkpoint_of_another_run_or_network_gets_a_sentence(tmp_path):
    path = tmp_path / "net.checkpoint"
    _run(path)
    with pytest.raises(ValueError, match="epochs 4 there and 5 here"):
        _run(path, epochs=5)
    data = worlds.Gaussian(features=6, distance=2).sample(200)
    with pytest.raises(ValueError, match=r"do not fit Sequential: .*missing"):
        training.fit(
            nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 2)),
            data, epochs=4, batch_size=32, checkpoint=path, progress=False, device="cpu",
        )  # fmt: skip
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="no whole checkpoint"):
        _run(path)


class Cramped(nn.Linear):
    """Memory for eight rows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and len(x) > 8:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(x)


def test_a_batch_too_large_is_taken_in_parts_and_trains_the_same():
    data = worlds.Gaussian(features=6, distance=2).sample(100)
    nets = []
    for kind in (nn.Linear, Cramped):
        torch.manual_seed(0)
        nets.append(kind(6, 2))
    training.fit(nets[0], data, epochs=2, batch_size=32, progress=False, device="cpu")
    with pytest.warns(UserWarning, match="8 rows at a time"):
        training.fit(nets[1], data, epochs=2, batch_size=32, progress=False, device="cpu")
    assert torch.allclose(nets[0].weight, nets[1].weight, atol=1e-6)


def test_what_is_no_number_is_said_with_its_step():
    data = worlds.Gaussian(features=6, distance=2).sample(100)
    data.inputs[70, 2] = float("nan")
    with pytest.raises(ValueError, match=r"epoch 1, step \d: rows \d+ of that batch hold inputs"):
        training.fit(nn.Linear(6, 2), data, epochs=2, batch_size=32, progress=False, device="cpu")
    good = worlds.Gaussian(features=6, distance=2).sample(100)
    with pytest.raises(ValueError, match=r"step \d; try a smaller lr"):
        training.fit(nn.Linear(6, 2), good, epochs=50, lr=1e30, batch_size=32, progress=False, device="cpu")


def test_shares_of_an_epoch_are_all_of_it():
    data = worlds.Dataset(torch.arange(23.0)[:, None], torch.arange(23))
    loaders = [worlds.Loader(data, 4, seed=5, share=(n, 3)) for n in range(3)]
    for _ in range(2):
        rows = [torch.cat([y for _, y in loader]) for loader in loaders]
        assert {len(r) for r in rows} == {7} and len(torch.cat(rows).unique()) == 21
    whole = [torch.cat([y for _, y in worlds.Loader(data, 4, shuffle=False, share=(n, 3))]) for n in range(3)]
    assert torch.cat(whole).sort().values.tolist() == list(range(23))
    ahead = worlds.Loader(data, 4, seed=1)
    list(ahead)
    other = worlds.Loader(data, 4, seed=9)
    other.load_state_dict(ahead.state_dict())
    assert [y.tolist() for _, y in ahead] == [y.tolist() for _, y in other]


def test_a_regression_has_no_accuracy():
    x = torch.linspace(-1, 1, 8)[:, None]
    column = [(x, x[:, 0])]  # real numbers, one for each row, which argmax over one column might hit

    def squared(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return nn.functional.mse_loss(out[:, 0], y)

    assert training.evaluate(nn.Identity(), column, loss=squared, device="cpu") == (0.0, None)
