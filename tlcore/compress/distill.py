"""Soft targets: a small network learns the probabilities that a large one gives.

Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network" (arXiv:1503.02531); the lecture's "soft
targets": where an image is truly ambiguous, the teacher's probabilities say so and the label cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from tlcore import runtime, training
from tlcore.anatomy.untouched import untouched
from tlcore.compress.given import check_share
from tlcore.training import History
from tlcore.worlds import Dataset, Loader

Batches = Iterable[tuple[Any, Any]]
Logits = Callable[[torch.Tensor], torch.Tensor]
Mean = Literal["arithmetic", "geometric"]


def distillation_loss(
    logits: torch.Tensor,
    teacher_logits: torch.Tensor,
    labels: torch.Tensor | None = None,
    *,
    temperature: float = 4.0,
    alpha: float = 0.9,
) -> torch.Tensor:
    """alpha T² KL(teacher's softmax at T || student's softmax at T) + (1 - alpha) cross-entropy with the labels.

    >>> z = torch.tensor([[2.0, 0.0, -2.0]])  # (N, K)
    >>> distillation_loss(z, z, temperature=3, alpha=1).item()
    0.0

    Parameters
    ----------
    logits, teacher_logits
        (N, K) each; gradients go to the first only.
    labels
        (N,), needed for alpha below 1.
    temperature
        T; logits are divided by it. The gradient of the soft part shrinks as 1 / T², which T² undoes.
    alpha
        Share of the soft part.

    Notes
    -----
    Section 2. Hinton's objective is the cross-entropy with the soft targets; KL is that less the teacher's entropy, so
    gradients are the same and it is 0 where both agree. For large T the soft part's gradient in a logit z_k tends to
    (z_k - mean z - v_k + mean v) / (N K), v the teacher's logits (eq. 4): matching of logits.
    """
    _options("distillation_loss", temperature, alpha)
    if logits.shape != teacher_logits.shape:
        raise ValueError(
            f"distillation_loss: logits {tuple(logits.shape)} and the teacher's {tuple(teacher_logits.shape)}; "
            "equal shapes (N, K), over the same classes, are accepted"
        )
    if labels is None and alpha < 1:
        raise ValueError(f"distillation_loss(alpha={alpha}): below 1 labels are needed; without labels alpha=1")
    targets = F.log_softmax(teacher_logits.detach().float() / temperature, 1)
    return _mixed(logits, targets, labels, temperature, alpha)


def _mixed(
    logits: torch.Tensor, targets: torch.Tensor, labels: torch.Tensor | None, temperature: float, alpha: float
) -> torch.Tensor:
    own = F.log_softmax(logits.float() / temperature, 1)
    soft = F.kl_div(own, targets, reduction="batchmean", log_target=True) * temperature**2
    return (
        alpha * soft + (1 - alpha) * F.cross_entropy(logits, labels)
        if labels is not None and alpha < 1
        else alpha * soft
    )


class SoftTargets:
    """Log-probabilities (N, K) of a teacher, or of an ensemble of teachers, at a temperature.

    >>> teachers = [lambda x: x, lambda x: -x]
    >>> SoftTargets(teachers, temperature=2)(torch.tensor([[3.0, 0.0]])).exp().tolist()
    [[0.5, 0.5]]

    Parameters
    ----------
    teachers
        A network or function that gives logits (N, K), or several.
    mean
        Of an ensemble: "arithmetic" averages the probabilities, "geometric" the logits. Section 2 names both.
    """

    def __init__(
        self, teachers: Logits | Sequence[Logits], *, temperature: float = 4.0, mean: Mean = "arithmetic"
    ) -> None:
        several = isinstance(teachers, (list, tuple, nn.ModuleList))
        self.teachers: list[Logits] = list(teachers) if several else [teachers]  # type: ignore[arg-type, list-item]
        if not self.teachers:
            raise ValueError("distill(teacher=[]): at least one teacher is needed")
        if mean not in ("arithmetic", "geometric"):
            raise ValueError(f"distill(mean={mean!r}): {runtime.nearest(str(mean), ['arithmetic', 'geometric'])}")
        self.temperature, self.mean = temperature, mean

    @torch.no_grad()
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self.mean == "geometric":
            logits = torch.stack([teacher(x).float() for teacher in self.teachers]).mean(0)
            return F.log_softmax(logits / self.temperature, 1)
        each = torch.stack([F.log_softmax(teacher(x).float() / self.temperature, 1) for teacher in self.teachers])
        return each.logsumexp(0) - torch.tensor(len(self.teachers)).log()


def distill(
    student: nn.Module,
    teacher: Logits | Sequence[Logits],
    train: Dataset | Batches,
    val: Dataset | Batches | None = None,
    *,
    epochs: int,
    temperature: float = 4.0,
    alpha: float = 0.9,
    mean: Mean = "arithmetic",
    teacher_classes: Sequence[str] | None = None,
    device: torch.device | str | None = None,
    **options: Any,
) -> History:
    """Train `student` in place on a teacher's soft targets, and return what happened.

    >>> from tlcore import worlds
    >>> data = worlds.Gaussian(features=4, distance=4).sample(256)
    >>> teacher = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2))
    >>> _ = training.fit(teacher, data, epochs=3, progress=False)
    >>> distill(nn.Linear(4, 2), teacher, data, epochs=3, progress=False).last.train_accuracy > 0.8
    True

    Parameters
    ----------
    teacher
        A network or any function that gives logits (N, K), or several of them: an ensemble. It sees the same images as
        the student, crops and flips included, in evaluation mode, and is left as it was.
    train
        A dataset, or batches (x, y) such as a `Loader` that augments. With alpha=1 the labels are not learned from.
    temperature, alpha
        See `distillation_loss`.
    mean
        Of an ensemble, see `SoftTargets`.
    teacher_classes
        Names of the teacher's classes, to be compared with those of `train`.
    options
        Of `training.fit`. Of the history, `train_loss` is the mixed loss and `val_loss` the cross-entropy alone.

    Raises
    ------
    ValueError
        If teacher, student and data do not have the same classes, the temperature is not above 0, or alpha is outside
        [0, 1].
    """
    _options("distill", temperature, alpha)
    if "loss" in options:
        raise TypeError("distill(loss=…): the loss is the distillation's; temperature= and alpha= are accepted")
    soft = SoftTargets(teacher, temperature=temperature, mean=mean)
    where = runtime.device() if device is None else torch.device(device)
    networks = [net for net in soft.teachers if isinstance(net, nn.Module)]
    modes = [(module, module.training) for net in networks for module in net.modules()]
    places = [next((p.device for p in net.parameters()), where) for net in networks]
    for net in networks:
        net.to(where).eval()
    student.to(where)
    seen: list[torch.Tensor] = []

    def look(module: nn.Module, given: tuple[Any, ...]) -> None:
        if module is student:  # copies of it keep the hook
            seen[:] = [given[0]]

    def loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return F.cross_entropy(out, y)
        with torch.autocast(out.device.type, enabled=False):  # the student's arithmetic is not the teacher's
            targets = soft(seen[0].float())
        return _mixed(out, targets, y, temperature, alpha)

    handle = None
    try:
        _same_classes(student, soft, train, val, teacher_classes, where)
        handle = student.register_forward_pre_hook(look)
        history = training.fit(student, train, val, epochs=epochs, loss=loss, device=where, **options)
    finally:
        if handle is not None:
            handle.remove()
        for net, place in zip(networks, places, strict=True):
            net.to(place)
        for module, was in modes:
            module.training = was
    history.settings |= {"temperature": temperature, "alpha": alpha, "teachers": len(soft.teachers)}
    return history


@torch.no_grad()
def _same_classes(
    student: nn.Module, soft: SoftTargets, train: Any, val: Any, names: Sequence[str] | None, where: torch.device
) -> None:
    """One row is enough to see how many classes each side has."""
    known = train.data if isinstance(train, Loader) else train  # a loader itself would give one of its orders away
    probe = Loader(known, 1, shuffle=False) if isinstance(known, Dataset) else known
    x = next(iter(probe))[0][:1].to(where)
    with untouched(student):
        mine = student.eval()(x).shape[-1]
    theirs = [teacher(x).shape[-1] for teacher in soft.teachers]
    wrong = [count for count in theirs if count != mine]
    if wrong:
        raise ValueError(
            f"distill: the teacher has {wrong[0]} classes and the student {mine}; soft targets need the same classes "
            "in the same order on both sides"
        )
    for name, data in (("train", train), ("val", val)):
        data = data.data if isinstance(data, Loader) else data
        classes = data.classes if isinstance(data, Dataset) else ()
        if classes and len(classes) != mine:
            raise ValueError(
                f"distill: {name} has {len(classes)} classes, student and teacher {mine}; equal is accepted"
            )
        if classes and names is not None and tuple(names) != tuple(classes):
            extra = [one for one in names if one not in classes] or [one for one in classes if one not in names]
            told = f"only one of them has {extra[0]!r}" if extra else "the same in another order"
            raise ValueError(
                f"distill: the teacher's classes are not those of {name}, {told}; the same in the same order are "
                "accepted, such as after subset(classes=…)"
            )
    if names is not None and len(names) != mine:
        raise ValueError(f"distill(teacher_classes=…): {len(names)} names for {mine} classes; one for each is accepted")


def _options(function: str, temperature: float, alpha: float) -> None:
    if not 0 < temperature < float("inf"):
        raise ValueError(f"{function}(temperature={temperature!r}): a number above 0 is accepted, such as 4")
    check_share(function, "alpha", alpha)
