"""The training loop: one, short, for every network and any batches."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tlcore import runtime
from tlcore.training.checkpoint import Checkpoint, arithmetic_of
from tlcore.training.distributed import inner, rank, summed, world
from tlcore.training.groups import training_mode
from tlcore.training.history import Epoch, History
from tlcore.training.precision import Arithmetic, fastest
from tlcore.training.schedules import SCHEDULES, Schedule
from tlcore.training.step import Gradients
from tlcore.worlds import Dataset, Loader

Batches = Iterable[tuple[Any, Any]]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def fit(
    model: nn.Module,
    train: Dataset | Batches,
    val: Dataset | Batches | None = None,
    *,
    epochs: int,
    lr: float = 0.1,
    optimizer: torch.optim.Optimizer | Callable[[Any], torch.optim.Optimizer] | None = None,
    schedule: str | Callable[[int], Schedule] = "cosine",
    weight_decay: float = 5e-4,
    momentum: float = 0.9,
    batch_size: int = 128,
    loss: Loss = cross_entropy,
    arithmetic: Arithmetic | Literal["auto"] = "auto",
    ema: float | None = None,
    clip: float | None = None,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
    each_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> History:
    """Train `model` in place and return what happened.

    >>> from tlcore import worlds
    >>> data = worlds.Gaussian(features=8, distance=4).sample(512)
    >>> net = nn.Linear(8, 2)
    >>> history = fit(net, data, epochs=3, lr=0.5, progress=False)
    >>> history.last.train_accuracy > 0.9
    True

    Parameters
    ----------
    train, val
        A dataset of tensors, or any re-iterable of batches (x, y).
    optimizer
        An optimizer over the model's parameters, or a function that makes one from them; default SGD with Nesterov
        momentum. Each of its groups keeps its own rate, scaled by the schedule.
    schedule
        constant, cosine, one_cycle, stlr or step_down, or a function from the number of steps to one of the step.
    arithmetic
        "auto" times a few steps in float32 and bfloat16, channels first and last, and takes the fastest.
    ema
        Decay of an exponential moving average of the weights (such as 0.999), which then is what is validated and kept.
    clip
        Largest norm of the gradient.
    patience
        Stop after so many epochs without a lower validation loss, and go back to the best epoch's weights.
    checkpoint
        File that keeps the whole state of the run after every epoch; if it is there, the run goes on from it.
    each_epoch
        Told each epoch when it is over.

    In processes started by ``torchrun`` and grouped (`torch.distributed`), give a `DistributedDataParallel` model; each
    process takes its share of every epoch, and `batch_size` is that of one process.

    Raises
    ------
    ValueError
        If an option is out of range, `patience` is given without `val`, the loss is no number any more (with the epoch
        and the step), or the checkpoint is of another run or another architecture.
    """
    _check(epochs, patience, val, ema, clip, schedule)
    device = runtime.device() if device is None else torch.device(device)
    runtime.seed_everything(seed + rank())
    model.to(device)
    batches, checks = _batches(train, batch_size, device, seed, True), _batches(val, batch_size, device, seed, False)
    run = {"epochs": epochs, "batch_size": batch_size, "seed": seed, "steps": _length(batches)}
    journal = Checkpoint(checkpoint, run) if checkpoint else None
    saved = journal.read() if journal else None
    if saved:
        arithmetic = arithmetic_of(saved)
    chosen = fastest(model, _first(batches, device)) if arithmetic == "auto" else arithmetic
    chosen.model(model)
    if optimizer is None:
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(trained, lr, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0)
    elif not isinstance(optimizer, torch.optim.Optimizer):
        optimizer = optimizer(model.parameters())
    steps = epochs * run["steps"]
    make = SCHEDULES[schedule] if isinstance(schedule, str) else schedule
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, make(steps))
    average = copy.deepcopy(inner(model)) if ema else None
    history = History(settings={"arithmetic": chosen, "device": str(device), "seed": seed, "batch_size": batch_size})
    kept: dict[str, torch.Tensor] | None = None
    parts: dict[str, Any] = {"optimizer": optimizer, "rates": rates}
    if journal and saved:
        kept = journal.restore(saved, model, average, history, batches, **parts)
    gradients = Gradients(model, loss, chosen, device)
    numbers = range(len(history.epochs) + 1, epochs + 1)
    for number in runtime.progress(numbers, "training", len(numbers)) if progress and rank() == 0 else numbers:
        if patience is not None and history.epochs and number - 1 - history.best.epoch >= patience:
            history.stopped = f"no lower validation loss since epoch {history.best.epoch}"
            break
        start, rate = time.perf_counter(), optimizer.param_groups[-1]["lr"]
        training_mode(model)
        sums = _Sums()
        if hasattr(getattr(batches, "sampler", None), "set_epoch"):  # of a DataLoader in several processes
            batches.sampler.set_epoch(number)
        for step, (x, y) in enumerate(batches, 1):
            x, y = chosen.images(x.to(device)), y.to(device)
            value, out = gradients(x, y)
            if not torch.isfinite(value):
                raise ValueError(_no_number(value, x, number, step, rate))
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            rates.step()
            if average is not None and ema:
                _follow(average, inner(model), ema)
            sums.add(value, out, y)
        judged = inner(model) if average is None else average
        found: tuple[float | None, float | None] = (None, None)
        if checks is not None:
            found = _evaluate(judged, checks, loss, device, chosen).means(shared=True)
        seconds = time.perf_counter() - start
        history.epochs.append(Epoch(number, rate, *sums.means(shared=True), found[0], found[1], seconds))
        each_epoch(history.last)
        if patience is not None and history.best is history.last:
            kept = {name: tensor.detach().clone() for name, tensor in judged.state_dict().items()}
        if journal:
            journal.save(model, average, kept, history, batches, **parts)
    if kept is not None or average is not None:
        inner(model).load_state_dict(kept if kept is not None else average.state_dict())  # type: ignore[union-attr]
    model.eval()
    return history


@torch.no_grad()
def evaluate(
    model: nn.Module,
    data: Dataset | Batches,
    *,
    loss: Loss = cross_entropy,
    batch_size: int = 512,
    device: torch.device | str | None = None,
    arithmetic: Arithmetic | None = None,
    shared: bool = False,
) -> tuple[float, float | None]:
    """Mean loss and accuracy of a network in evaluation mode; its mode is put back.

    The accuracy is None where targets are no class numbers (N,) or outputs no scores (N, C). With `shared`, of the data
    of all processes that train together, when each holds a part.

    >>> data = Dataset(torch.eye(3), torch.tensor([0, 1, 2]), ("a", "b", "c"))
    >>> evaluate(nn.Identity(), data, device="cpu")[1]
    1.0
    """
    where = (
        next((p.device for p in model.parameters()), torch.device("cpu")) if device is None else torch.device(device)
    )
    batches = Loader(data.to(where), batch_size, shuffle=False) if isinstance(data, Dataset) else data
    return _evaluate(model, batches, loss, where, arithmetic or Arithmetic()).means(shared=shared)


@torch.no_grad()
def _evaluate(model: nn.Module, batches: Batches, loss: Loss, where: torch.device, chosen: Arithmetic) -> _Sums:
    modes, sums = [(module, module.training) for module in model.modules()], _Sums()
    model.eval()
    for x, y in batches:
        x, y = chosen.images(x.to(where)), y.to(where)
        with chosen.context(where):
            out = model(x)
            sums.add(loss(out, y), out, y)
    for module, was in modes:
        module.training = was
    return sums


class _Sums:
    """Loss and hits over batches of different sizes; read from the device only at the end."""

    def __init__(self) -> None:
        self.loss: Any = 0.0
        self.hits: Any = 0
        self.count, self.classes = 0, True

    def add(self, loss: torch.Tensor, out: Any, y: torch.Tensor) -> None:
        self.count += len(y)
        self.loss = self.loss + loss.detach().float() * len(y)
        scores = isinstance(out, torch.Tensor) and out.ndim == 2
        self.classes = self.classes and scores and y.ndim == 1 and not y.is_floating_point()
        if self.classes:
            self.hits = self.hits + (out.detach().argmax(1) == y).sum()

    def means(self, *, shared: bool = False) -> tuple[float, float | None]:
        """Of this process's rows, or of those of all that train together."""
        loss, hits, count = float(self.loss), float(self.hits), float(self.count)
        if shared and world() > 1:
            where = self.loss.device if isinstance(self.loss, torch.Tensor) else None
            loss, hits, count = summed(torch.tensor([loss, hits, count], device=where)).tolist()
        count = max(1.0, count)
        return loss / count, hits / count if self.classes else None


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    for mine, new in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(new, 1 - decay)
        else:
            mine.copy_(new)


def _batches(data: Any, size: int, device: torch.device, seed: int, shuffle: bool) -> Any:
    if not isinstance(data, Dataset):
        return data
    return Loader(data.to(device), size, shuffle=shuffle, seed=seed, share=(rank(), world()))


def _no_number(value: torch.Tensor, x: torch.Tensor, epoch: int, step: int, rate: float) -> str:
    where = f"fit: the loss is {value.item()} in epoch {epoch}, step {step}"
    broken = (~torch.isfinite(x)).flatten(1).any(1).nonzero()[:, 0].tolist() if x.is_floating_point() else []
    if broken:
        return f"{where}: rows {str(broken[:6])[1:-1]} of that batch hold inputs that are no finite numbers"
    return f"{where}; try a smaller lr than {rate:g}, or clip="


def _first(batches: Any, device: torch.device) -> torch.Tensor:
    probe = Loader(batches.data, batches.batch_size, shuffle=False) if isinstance(batches, Loader) else batches
    x, _ = next(iter(probe))
    return x.to(device)  # type: ignore[no-any-return]


def _length(batches: Any) -> int:
    try:
        return len(batches)
    except TypeError:
        return sum(1 for _ in batches)


def _check(epochs: int, patience: Any, val: Any, ema: Any, clip: Any, schedule: Any) -> None:
    if epochs < 1:
        raise ValueError(f"fit(epochs={epochs}): from 1 on is accepted")
    if patience is not None and (val is None or patience < 1):
        raise ValueError(f"fit(patience={patience}): from 1 on, and only with validation data")
    if ema is not None and not 0 < ema < 1:
        raise ValueError(f"fit(ema={ema}): a decay between 0 and 1 is accepted, such as 0.999")
    if clip is not None and clip <= 0:
        raise ValueError(f"fit(clip={clip}): a norm above 0 is accepted")
    if isinstance(schedule, str) and schedule not in SCHEDULES:
        raise ValueError(f"fit(schedule={schedule!r}): accepted are {', '.join(SCHEDULES)}")
