"""What a network is pre-trained on, and what it is tested on afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tlcore import runtime, worlds
from tlcore.training.distributed import rank, world
from tlcore.worlds.real import folders

Tests = Iterator[tuple[str, Any]]
LOSSLESS = 3  # how often the few exact CIFAR images are repeated beside the many that went through JPEG


@dataclass
class Source:
    """Batches to train on (in processes: this one's share), and datasets to test on."""

    train: Any
    probe: torch.Tensor
    classes: tuple[str, ...]
    channels: int
    count: int
    origin: str
    augment: tuple[str, ...] = ()
    held_back: list[tuple[str, Any]] = field(default_factory=list)

    def tests(self) -> Tests:
        """Names and data that training never saw."""
        yield from self.held_back


def source(
    data: str,
    root: str | Path | None,
    classes: Sequence[str],
    size: int,
    batch_size: int,
    seed: int,
    device: torch.device,
) -> Source:
    """Find the data of a recipe.

    >>> found = source("shapes", None, ("circle", "star"), 64, 16, 0, torch.device("cpu"))
    >>> found.classes, found.probe.shape, [name for name, _ in found.tests()]
    (('circle', 'star'), torch.Size([16, 3, 32, 32]), ['shapes, 2 classes'])
    """
    if data == "shapes":
        return _shapes(classes, size, batch_size, seed, device)
    if data == "imagenet":
        return _folders(root, classes, batch_size)
    return _images(data, root, classes, batch_size, seed, device)


def _shapes(classes: Sequence[str], size: int, batch_size: int, seed: int, device: torch.device) -> Source:
    shapes = worlds.Shapes(shapes=tuple(classes) or worlds.Shapes().shapes)
    train = shapes.sample(size, seed=seed + 1000, device=device)
    test = shapes.sample(4000, seed=seed + 2000, device=device)
    name = f"shapes, {len(shapes.shapes)} classes"
    return _in_memory(worlds.Dataset(train.inputs, train.targets, train.classes, train.origin), batch_size, seed, (), [
        (name, test)
    ])  # fmt: skip


def _images(
    data: str, root: str | Path | None, classes: Sequence[str], batch_size: int, seed: int, device: torch.device
) -> Source:
    train = worlds.load(data, split="train", root=root)
    parts, tests = [train], [worlds.load(data, split="test", root=root)]
    if data == "cifar10" and "JPEG" in train.origin:  # learn from both forms, and be tested on both
        parts += [worlds.load("cifar10-lossless", split="train", root=root)] * LOSSLESS
        tests.append(worlds.load("cifar10-lossless", split="test", root=root))
    if classes:
        parts, tests = ([one.subset(classes=classes) for one in some] for some in (parts, tests))
    origin = parts[0].origin if len(parts) == 1 else f"{parts[0].origin}, and {parts[1].origin} {LOSSLESS} times"
    whole = worlds.Dataset(
        torch.cat([one.inputs for one in parts]),  # type: ignore[misc]
        torch.cat([one.targets for one in parts]),
        parts[0].classes,
        origin,
    )
    augment = ("crop", "flip") if whole.inputs.shape[1] == 3 else ("crop",)  # type: ignore[union-attr]
    return _in_memory(whole.to(device), batch_size, seed, augment, [(one.origin, one) for one in tests])


def _in_memory(
    data: worlds.Dataset,
    batch_size: int,
    seed: int,
    augment: tuple[str, ...],
    tests: Iterable[tuple[str, worlds.Dataset]],
) -> Source:
    loader = worlds.Loader(data, batch_size, augment=augment, seed=seed, share=(rank(), world()), drop_last=True)
    probe, _ = next(iter(worlds.Loader(data, batch_size, shuffle=False)))
    return Source(
        loader, probe, data.classes, probe.shape[1], len(data), data.origin, augment,
        [(name, worlds.Loader(one, 512, shuffle=False, share=(rank(), world()))) for name, one in tests],
    )  # fmt: skip


def _folders(root: str | Path | None, classes: Sequence[str], batch_size: int) -> Source:
    """ImageNet, or any photos in folders train/CLASS/ and val/CLASS/: read from disk while training."""
    from torch.utils.data import DataLoader, Subset
    from torch.utils.data.distributed import DistributedSampler
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    base = next((f for f in folders(root) if (f / "train").is_dir() and (f / "val").is_dir()), None)
    if base is None:
        looked = " and ".join(map(str, folders(root)))
        raise ValueError(f"pretrain imagenet: no folders train/CLASS/ and val/CLASS/ in {looked}; give --root")
    if classes:
        raise ValueError("pretrain imagenet: it takes all classes that have a folder; make a folder with some of them")
    ending = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    train = ImageFolder(base / "train", v2.Compose([v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), *ending]))
    test = ImageFolder(base / "val", v2.Compose([v2.Resize(256), v2.CenterCrop(224), *ending]))
    if train.classes != test.classes:
        raise ValueError(f"pretrain imagenet: train/ has {len(train.classes)} classes, val/ has {len(test.classes)}")
    sampler: Any = DistributedSampler(train, shuffle=True, drop_last=True) if world() > 1 else None
    workers = _workers()
    loader = DataLoader(
        train, batch_size, shuffle=sampler is None, sampler=sampler, num_workers=workers, drop_last=True,
        persistent_workers=workers > 0, pin_memory=torch.cuda.is_available(),
    )  # fmt: skip
    probe = torch.stack([train[n % len(train)][0] for n in range(min(batch_size, 32))])
    mine = Subset(test, range(rank(), len(test), world())) if world() > 1 else test
    tests = [(f"{base.name}/val", DataLoader(mine, batch_size, num_workers=workers))]
    origin = f"photos of {base.name}/train, {len(train.classes)} classes"
    return Source(
        loader, probe, tuple(train.classes), 3, len(train), origin,
        ("random resized crop", "flip"), tests,
    )  # fmt: skip


def _workers() -> int:
    """Processes that read photos, for each process that trains."""
    return max(0, runtime.cores() // world() - 1)
