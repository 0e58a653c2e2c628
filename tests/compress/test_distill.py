from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from tlcore import training, worlds
from tlcore.compress.distill import SoftTargets, distill, distillation_loss

PLAIN = {"device": "cpu", "arithmetic": training.Arithmetic(), "progress": False}


def logits(seed: int, rows: int = 5, classes: int = 4) -> torch.Tensor:
    return 3 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), t=st.floats(0.5, 20), alpha=st.floats(0, 1))
def test_loss_and_gradient_by_hand(seed: int, t: float, alpha: float):
    z, v, y = logits(seed).requires_grad_(), logits(seed + 1), torch.arange(5) % 4
    p, q = (v / t).exp(), (z / t).exp()
    p, q = p / p.sum(1, keepdim=True), q / q.sum(1, keepdim=True)
    soft = (p * (p / q).log()).sum(1).mean()
    value = distillation_loss(z, v, y, temperature=t, alpha=alpha)
    assert value.item() == pytest.approx((alpha * t**2 * soft + (1 - alpha) * cross_entropy(z, y)).item(), rel=1e-4)
    # section 2.1, eq. 2: the cross-entropy's gradient is (q - p) / T, here times T² and over N rows
    expected = alpha * t * (q - p) / 5 + (1 - alpha) * torch.autograd.grad(cross_entropy(z, y), z)[0]
    assert torch.allclose(torch.autograd.grad(value, z)[0], expected, atol=1e-5)


def test_gradient_limit_for_high_temperature_is_matching_of_logits():
    z, v = logits(0).requires_grad_(), logits(1)
    limit = ((z - z.mean(1, keepdim=True)) - (v - v.mean(1, keepdim=True))).detach() / (4 * 5)  # eq. 4: K = 4, N = 5
    far = []
    for t in (10, 100, 1000):
        gradient = torch.autograd.grad(distillation_loss(z, v, temperature=t, alpha=1), z)[0]
        far.append((gradient - limit).abs().max().item())
    assert far[0] > 5 * far[1] and far[1] < 0.03 * limit.abs().max() and far[2] < 0.01 * limit.abs().max()
    low = torch.autograd.grad(distillation_loss(z, v, temperature=0.5, alpha=1), z)[0]
    assert (low - limit).abs().max() > 0.3 * limit.abs().max()  # elsewhere it is not


def test_ensembles():
    a, b = logits(0), logits(1)
    one, other = lambda x: a, lambda x: b
    arithmetic = SoftTargets([one, other], temperature=2)(a).exp()
    assert torch.allclose(arithmetic, (((a / 2).softmax(1) + (b / 2).softmax(1)) / 2).float(), atol=1e-6)
    geometric = SoftTargets([one, other], temperature=2, mean="geometric")(a).exp()
    expected = ((a / 2).softmax(1) * (b / 2).softmax(1)).sqrt()
    assert torch.allclose(geometric, (expected / expected.sum(1, keepdim=True)).float(), atol=1e-6)


def ambiguous() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Inputs whose class is a matter of chance, P(1|x) = sigmoid(2 x)."""
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(300, 1, generator=draws)
    truth = torch.sigmoid(2 * x[:, 0])
    return x, (torch.rand(300, generator=draws) < truth).long(), truth


def test_soft_targets_teach_what_labels_do_not_tell():
    x, y, truth = ambiguous()
    data = worlds.Dataset(x[:20], y[:20], ("a", "b"))
    teacher = lambda x: torch.cat([torch.zeros_like(x), 2 * x], 1)  # noqa: E731
    far = {}
    for name, alpha in (("labels", 0.0), ("soft", 1.0)):
        torch.manual_seed(0)
        student = nn.Sequential(nn.Linear(1, 32), nn.ReLU(), nn.Linear(32, 2))
        history = distill(
            student, teacher, data, data, epochs=150, lr=0.1, batch_size=20, temperature=1.0, alpha=alpha, **PLAIN
        )
        with torch.no_grad():
            far[name] = (student(x).softmax(1)[:, 1] - truth).abs().mean().item()
    assert far["soft"] < 0.05 < far["labels"]
    assert history.settings["alpha"] == 1.0 and history.settings["teachers"] == 1
    with torch.no_grad():
        assert history.last.val_loss == pytest.approx(cross_entropy(student(x[:20]), y[:20]).item(), abs=1e-5)


def test_alpha_zero_is_training_on_labels_and_the_teacher_is_left_as_it_was():
    data = worlds.Gaussian(features=4, distance=3).sample(64)
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.ReLU(), nn.Linear(8, 2)).train()
    teacher[1].eval()
    was, modes = copy.deepcopy(teacher.state_dict()), [m.training for m in teacher.modules()]
    one = nn.Linear(4, 2)
    other = copy.deepcopy(one)
    distill(one, teacher, data, epochs=2, alpha=0.0, **PLAIN)
    training.fit(other, data, epochs=2, **PLAIN)
    assert torch.allclose(one.weight, other.weight, atol=1e-7)
    assert all(torch.equal(t, was[n]) for n, t in teacher.state_dict().items())
    assert [m.training for m in teacher.modules()] == modes
    assert not one._forward_pre_hooks and all(p.grad is None for p in teacher.parameters())


def test_the_teacher_sees_the_images_the_student_sees():
    data = worlds.Shapes(shapes=("circle", "star"), size=16).sample(32)
    loader = worlds.Loader(data, 16, augment=("flip", "crop"))
    met: dict[str, list[torch.Tensor]] = {"student": [], "teacher": []}

    class Student(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            met["student"].append(x.clone())
            return super().forward(x)

    def teacher(x: torch.Tensor) -> torch.Tensor:
        met["teacher"].append(x.clone())
        return x.mean((2, 3))[:, :2]

    distill(Student(nn.Flatten(), nn.Linear(768, 2)), [teacher, teacher], loader, epochs=2, alpha=1.0, **PLAIN)
    assert len(met["student"]) == 1 + 4 and len(met["teacher"]) == 2 + 8  # one row each to count classes
    for number, x in enumerate(met["student"][1:]):
        assert torch.equal(met["teacher"][2 + 2 * number], x) and torch.equal(met["teacher"][3 + 2 * number], x)


def test_refusals():
    data = worlds.Gaussian(features=4, distance=3).sample(16)
    with pytest.raises(ValueError, match="the teacher has 6 classes and the student 2"):
        distill(nn.Linear(4, 2), nn.Linear(4, 6), data, epochs=1)
    with pytest.raises(ValueError, match="the teacher has 3 classes and the student 2"):
        distill(nn.Linear(4, 2), [nn.Linear(4, 2), nn.Linear(4, 3)], data, epochs=1)
    with pytest.raises(ValueError, match="train has 2 classes, student and teacher 5"):
        distill(nn.Linear(4, 5), nn.Linear(4, 5), data, epochs=1)
    with pytest.raises(ValueError, match="not those of train, only one of them has 'cat'"):
        distill(nn.Linear(4, 2), nn.Linear(4, 2), data, epochs=1, teacher_classes=("cat", data.classes[0]))
    with pytest.raises(ValueError, match="the same in another order"):
        distill(nn.Linear(4, 2), nn.Linear(4, 2), data, epochs=1, teacher_classes=data.classes[::-1])
    for wrong, told in (
        ({"temperature": 0}, "temperature=0"),
        ({"alpha": 1.5}, "alpha=1.5"),
        ({"mean": "avg"}, "mean='avg'"),
    ):
        with pytest.raises(ValueError, match=told):
            distill(nn.Linear(4, 2), nn.Linear(4, 2), data, epochs=1, **wrong)
    with pytest.raises(ValueError, match="at least one teacher"):
        distill(nn.Linear(4, 2), [], data, epochs=1)
    with pytest.raises(ValueError, match="over the same classes"):
        distillation_loss(torch.ones(2, 3), torch.ones(2, 4), alpha=1)
    with pytest.raises(ValueError, match="labels are needed"):
        distillation_loss(torch.ones(2, 3), torch.ones(2, 3))


def test_the_check_of_classes_takes_no_order_of_the_loader_away():
    data = worlds.Gaussian(features=4, distance=3).sample(64)
    nets = []
    for way in ("distil", "fit"):
        torch.manual_seed(0)
        net, batches = nn.Linear(4, 2), worlds.Loader(data, 16, seed=1)
        options = {"epochs": 2, "lr": 0.1, "progress": False, "device": "cpu"}
        if way == "distil":
            distill(net, nn.Linear(4, 2), batches, alpha=0, **options)
        else:
            training.fit(net, batches, **options)
        nets.append(net)
    assert torch.allclose(nets[0].weight, nets[1].weight, atol=1e-6)
