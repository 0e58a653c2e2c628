"""Training on labelled source images and unlabelled target images together: DAN, Deep CORAL and DANN.

Each is the training loop of `training.fit` on batches that hold as many images of one domain as of the other. The loss
is the source's cross-entropy plus a distance of the two domains' features.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tlcore import runtime, training
from tlcore.training import Arithmetic, Epoch, History
from tlcore.training.schedules import Schedule
from tlcore.transfer.adversarial import DomainAdversary, dann_strength
from tlcore.transfer.domain_losses import coral_loss, mk_mmd
from tlcore.transfer.given import same_names
from tlcore.transfer.taps import Tap, tapped, taps, vectors
from tlcore.worlds import Dataset, Loader

Batches = Iterable[tuple[Any, Any]]
Source = Dataset | Batches
Target = Dataset | torch.Tensor | Batches
Distance = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Weight = float | Callable[[float], float]


def inverse_decay(steps: int, *, alpha: float = 10.0, beta: float = 0.75) -> Schedule:
    """Rates that fall as 1 / (1 + alpha p)^beta with the progress p (Ganin et al. 2016, section 5.2.2).

    >>> [round(inverse_decay(10)(t), 3) for t in (0, 5, 10)]
    [1.0, 0.261, 0.166]
    """
    return lambda t: (1 + alpha * t / max(1, steps)) ** -beta


def adapt(
    model: nn.Module,
    source: Source,
    target: Target,
    distance: Distance | nn.Module,
    *,
    layers: Sequence[str] = ("neck",),
    weight: Weight = 1.0,
    epochs: int,
    lr: float = 0.01,
    val: Dataset | Batches | None = None,
    schedule: str | Callable[[int], Schedule] = inverse_decay,
    optimizer: Callable[[Any], torch.optim.Optimizer] | None = None,
    momentum: float = 0.9,
    weight_decay: float = 5e-4,
    batch_size: int = 64,
    arithmetic: Arithmetic | Literal["auto"] = "auto",
    clip: float | None = None,
    patience: int | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
    each_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> History:
    """Train `model` in place on source labels, and bring its features of both domains together by any distance.

    >>> from tlcore import worlds
    >>> world = worlds.Gaussian(features=4, distance=4)
    >>> net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> source, target = world.sample(256), world.but(shift=2.0).sample(256, seed=1)
    >>> def means(s: torch.Tensor, t: torch.Tensor) -> torch.Tensor:  # features (N, F), (M, F)
    ...     return (s.mean(0) - t.mean(0)).square().sum()
    >>> history = adapt(net, source, target.inputs, means, epochs=3, lr=0.05, progress=False)
    >>> history.last.epoch, history.settings["layers"]
    (3, ('neck',))

    Setting: transductive. Knowledge: feature representation. Labels: source only; those of a target `Dataset` are never
    read.

    Parameters
    ----------
    model
        Any network with a head (see `find_head`) of as many outputs as there are classes.
    source
        Labelled: a dataset of tensors, or a re-iterable of batches (x, y) such as a `Loader` that augments.
    target
        The same, or a tensor of inputs. Both sides give batches of one size; an epoch passes once over the larger side.
    distance
        A function of source and target features (n, F), (n, F), or a module whose parameters then learn as well.
    layers
        Where: "neck", "logits" or module paths; maps are averaged over all places. Distances of several are added.
    weight
        Of the distance in the loss, or a function of the progress from 0 to 1.
    val
        Labelled *source* data. Choosing anything by the target's labels would use what is not there.
    schedule, optimizer, arithmetic, clip, patience, seed, each_epoch
        As in `training.fit`. Of the history, `train_loss` holds both parts, and `val_loss` the cross-entropy alone.

    Raises
    ------
    ValueError, TypeError
        Inputs of different shape, a class that only one side has, a source without labels, fewer images than one batch
        (the number needed is said), a head with another number of outputs, an unknown layer, a negative weight, or a
        loss that is no number any more.
    """
    return _train(
        "adapt", model, source, target, distance, layers=layers, weight=weight, epochs=epochs, lr=lr, val=val,
        schedule=schedule, optimizer=optimizer, momentum=momentum, weight_decay=weight_decay, batch_size=batch_size,
        arithmetic=arithmetic, clip=clip, patience=patience, device=device, seed=seed, progress=progress,
        each_epoch=each_epoch,
    )  # fmt: skip


def dan(
    model: nn.Module,
    source: Source,
    target: Target,
    *,
    layers: Sequence[str] = ("neck", "logits"),
    weight: Weight = 1.0,
    **options: Any,
) -> History:
    """Deep adaptation network: the distance is a multi-kernel MMD.

    >>> from tlcore import worlds
    >>> world = worlds.Gaussian(features=4, distance=4)
    >>> net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> dan(net, world.sample(128), world.sample(128, seed=1), epochs=2, progress=False).last.epoch
    2

    Setting: transductive. Knowledge: feature representation. Labels: source only.

    Long et al. 2015 (arXiv:1502.02791) apply it to the last three linear layers; a network with one has its neck and
    its logits. The distance is `mk_mmd`; options are those of `adapt`.
    """
    return _train("dan", model, source, target, mk_mmd, layers=layers, weight=weight, **options)


def deep_coral(
    model: nn.Module,
    source: Source,
    target: Target,
    *,
    layers: Sequence[str] = ("logits",),
    weight: Weight = 1.0,
    **options: Any,
) -> History:
    """Deep CORAL: the distance is that of the covariances.

    >>> from tlcore import worlds
    >>> world = worlds.Gaussian(features=4, distance=4)
    >>> net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> deep_coral(net, world.sample(128), world.sample(128, seed=1), epochs=2, progress=False).last.epoch
    2

    Setting: transductive. Knowledge: feature representation. Labels: source only.

    Sun & Saenko 2016 (arXiv:1607.01719) apply it to the logits, with a weight such that both losses end about equally
    large. The distance is `coral_loss`; options are those of `adapt`.
    """
    return _train("deep_coral", model, source, target, coral_loss, layers=layers, weight=weight, **options)


def dann(
    model: nn.Module,
    source: Source,
    target: Target,
    *,
    layers: Sequence[str] = ("neck",),
    strength: Weight = dann_strength,
    hidden: int = 100,
    seed: int = 0,
    **options: Any,
) -> History:
    """Domain-adversarial training: the features are to be such that no classifier tells the domains apart.

    >>> from tlcore import worlds
    >>> world = worlds.Gaussian(features=4, distance=4)
    >>> net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> dann(net, world.sample(128), world.sample(128, seed=1), epochs=2, progress=False).last.epoch
    2

    Setting: transductive. Knowledge: feature representation. Labels: source only.

    Parameters
    ----------
    strength
        Of the reversed gradient, or a function of the progress; default `dann_strength`, the paper's.
    hidden
        Units of the adversary, a `DomainAdversary` on each of `layers`; it learns at full strength throughout.
    options
        Those of `adapt`.

    Ganin et al. 2016 (arXiv:1505.07818), algorithm 1 and section 5.2.2.
    """
    places = taps(model, layers, "dann")
    widths = _widths("dann", model, source, places)
    adversary = _Adversaries([DomainAdversary(width, hidden=hidden, seed=seed + n) for n, width in enumerate(widths)])
    return _train("dann", model, source, target, adversary, layers=layers, weight=strength, seed=seed, **options)


class _Adversaries(nn.ModuleList):
    """One adversary for each layer."""


class _Pairs:
    """Batches of pairs: x (n, 2, ...) holds a source and a target image in each row, y (n,) the source's labels."""

    def __init__(self, source: Any, target: Any, total: int) -> None:
        self.source, self.target, self.total, self.step = source, target, total, 0

    def __len__(self) -> int:
        return max(_length(self.source), _length(self.target))

    @property
    def progress(self) -> float:
        """Share of all steps that is behind us."""
        return self.step / max(1, self.total)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        both = zip(_again(self.source), _again(self.target))
        for (x, y), (z, *_) in itertools.islice(both, len(self)):
            n = min(len(x), len(z))
            if n > 1:  # one row has no covariance, and batch normalisation cannot learn from it
                yield torch.stack([x[:n], z[:n].to(x)], 1), y[:n]
            self.step += 1


def _again(batches: Any) -> Iterator[Any]:
    """Batches without end: pass after pass."""
    while True:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise ValueError("fit: batches that can be iterated again are accepted; these gave none the second time")


def _length(batches: Any) -> int:
    try:
        return len(batches)
    except TypeError:
        return sum(1 for _ in batches)


class _Both(nn.Module):
    """A network that in training takes pairs, answers for the source, and remembers how far the domains are apart."""

    def __init__(self, model: nn.Module, distance: Any, places: dict[str, Tap], pairs: _Pairs, weight: Weight) -> None:
        super().__init__()
        self.model = model
        self.distance = distance if isinstance(distance, nn.Module) else None
        self.measure, self.places, self.pairs, self.weight = distance, places, pairs, weight
        self.images: Callable[[torch.Tensor], torch.Tensor] = lambda x: x
        self.apart: torch.Tensor | float = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return self.model(x)  # type: ignore[no-any-return]
        n = len(x)
        out, seen = tapped(self.model, self.places, self.images(torch.cat([x[:, 0], x[:, 1]])))
        features = [vectors(seen[name]) for name in self.places]
        self.apart = self._apart([(part[:n], part[n:]) for part in features])
        return out[:n]

    def _apart(self, features: list[tuple[torch.Tensor, torch.Tensor]]) -> Any:
        share = self.weight(self.pairs.progress) if callable(self.weight) else self.weight
        if isinstance(self.measure, _Adversaries):
            return sum(one(*part, strength=share) for one, part in zip(self.measure, features))
        return share * sum(self.measure(*part) for part in features) if share else 0.0


def _train(
    what: str, model: nn.Module, source: Any, target: Any, distance: Any, *, layers: Sequence[str] = ("neck",),
    weight: Weight = 1.0, epochs: int, lr: float = 0.01, val: Any = None, schedule: Any = inverse_decay,
    batch_size: int = 64, arithmetic: Any = "auto", device: Any = None, seed: int = 0, **options: Any,
) -> History:  # fmt: skip
    if not callable(weight) and not 0 <= weight < float("inf"):
        raise ValueError(f"{what}(weight={weight!r}): from 0 on, or a function of the progress, is accepted")
    known, theirs, validation = (data.data if isinstance(data, Loader) else data for data in (source, target, val))
    same_names(what, known, theirs)
    same_names(what, known, validation, "val")
    where = runtime.device() if device is None else torch.device(device)
    places = taps(model, layers, what)
    sides = (
        _side(what, "source", source, batch_size, where, seed),
        _side(what, "target", target, batch_size, where, seed + 1),
    )
    x, y = _first(what, "source", sides[0], labelled=True)
    z, _ = _first(what, "target", sides[1], labelled=False)
    if x.shape[1:] != z.shape[1:]:
        raise ValueError(
            f"{what}: source inputs are {tuple(x.shape[1:])}, the target's {tuple(z.shape[1:])}; one shape is needed: "
            "resize one of them"
        )
    if len(x) != len(z):
        raise ValueError(f"{what}: batches of {len(x)} source and {len(z)} target inputs; of one size are accepted")
    model.to(where)
    _check_head(what, model, x[:1].to(where), y, known)
    pairs = _Pairs(*sides, 0)
    pairs.total = epochs * len(pairs)
    both = _Both(model, distance, places, pairs, weight)
    if arithmetic == "auto":
        arithmetic = training.fastest(model, torch.cat([x, z]).to(where))
    arithmetic.model(model)
    both.images = arithmetic.images

    def loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        apart, both.apart = both.apart, 0.0
        return cross_entropy(out, y) + (apart if torch.is_grad_enabled() else 0.0)

    try:
        history = training.fit(
            both, pairs, val, epochs=epochs, lr=lr, schedule=schedule, loss=loss, arithmetic=arithmetic,
            batch_size=batch_size, device=where, seed=seed, **options,
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(str(error).replace("fit", what, 1)) from error  # say what was called
    history.settings |= {"method": what, "layers": tuple(places), "lr": lr}
    return history


def _side(what: str, name: str, data: Any, size: int, where: torch.device, seed: int) -> Any:
    """Batches of one domain."""
    if isinstance(data, torch.Tensor):
        if name == "source":
            raise TypeError(f"{what}: source is a tensor without labels; a Dataset, or batches (x, y), is needed")
        data = Dataset(data, torch.zeros(len(data), dtype=torch.long))
    if not isinstance(data, Dataset):
        return data
    if not isinstance(data.inputs, torch.Tensor):
        raise TypeError(f"{what}: the inputs of {name} are texts; tensors are accepted")
    if size < 2 or len(data) < size:
        raise ValueError(
            f"{what}(batch_size={size}): {name} has {len(data)} inputs; at least {max(2, size)} are needed, "
            "a whole batch of each side, or a smaller batch_size from 2 on"
        )
    if name == "target":  # so that no label can be read by mistake
        data = Dataset(data.inputs, torch.zeros(len(data), dtype=torch.long), (), data.origin)
    elif data.targets.ndim != 1 or data.targets.is_floating_point():
        kind = f"{tuple(data.targets.shape)} of {str(data.targets.dtype)[6:]}"
        raise ValueError(f"{what}: the targets of source are {kind}; class numbers (N,) are needed")
    return Loader(data.to(where), size, seed=seed, drop_last=True)


def _first(what: str, name: str, batches: Any, *, labelled: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """One batch, without a draw from a loader's generator."""
    if isinstance(batches, Loader):
        state = batches.state_dict()
        x, y = next(iter(batches))
        batches.load_state_dict(state)
        return x, y
    for batch in batches:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2 or (labelled and batch[1] is None):
            raise ValueError(f"{what}: {name} gives a {type(batch).__name__}; batches (x, y) are accepted")
        return batch[0], batch[1]
    raise ValueError(f"{what}: there is no batch in {name}")


@torch.no_grad()
def _check_head(what: str, model: nn.Module, x: torch.Tensor, y: torch.Tensor, data: Any) -> None:
    """Whether every class has an example, and the head an output for it; one image is enough to see the latter."""
    model.eval()
    out = model(x)
    known = len(data.classes) if isinstance(data, Dataset) else 0
    if known:
        absent = [name for name, count in zip(data.classes, data.counts().tolist()) if not count]
        if absent:
            raise ValueError(
                f"{what}: class {', '.join(map(repr, absent))} has no example in source, so it cannot be learned; "
                "leave it out on both sides with subset(classes=…)"
            )
    most = max(known, int((data.targets if isinstance(data, Dataset) else y).max()) + 1)
    if out.ndim != 2 or most > out.shape[1] or (known and known != out.shape[1]):
        raise ValueError(
            f"{what}: the network's output is {tuple(out.shape)} and the source has {most} classes; (N, {most}) is "
            f"needed: call transfer.replace_head(model, {most}) first"
        )


@torch.no_grad()
def _widths(what: str, model: nn.Module, source: Any, places: dict[str, Tap]) -> list[int]:
    """Features of each layer."""
    if isinstance(source, torch.Tensor):
        raise TypeError(f"{what}: source is a tensor without labels; a Dataset, or batches (x, y), is needed")
    if isinstance(source, Dataset):
        source = Loader(source, 1, shuffle=False)
    x, _ = _first(what, "source", source, labelled=True)
    place = next((p.device for p in model.parameters()), torch.device("cpu"))
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    _, seen = tapped(model, places, x[:1].to(place))
    for module, mode in modes:
        module.training = mode
    return [vectors(seen[name]).shape[1] for name in places]
