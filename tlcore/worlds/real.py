"""Real datasets by name: from a folder of yours first, else (only if asked) fetched and checked.

`load` never hands out other data than what was asked for. Where data is absent it says where it looked; a fallback must
be named by the caller, and the origin line of what comes back tells which it was.
"""

from __future__ import annotations

import gzip
import io
import itertools
import lzma
import os
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Literal

import numpy as np
import torch

from tlcore.runtime import nearest
from tlcore.worlds.dataset import Dataset
from tlcore.worlds.shapes import Shapes

Split = Literal["train", "test", "valid"]
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_DIGITS = tuple("0123456789")
_PACS = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
_PACS_DOMAINS = ("photo", "art_painting", "cartoon", "sketch")
_OPINIONS = ("negative", "positive")
_TREC = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")


class _Absent(Exception):
    """The files of a dataset are not in a folder."""


# What readers of archives, pictures and numbers raise when a file ends early or is not what its name says.
_BROKEN = (OSError, EOFError, RuntimeError, KeyError, struct.error, zipfile.BadZipFile, lzma.LZMAError, zlib.error)


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """What goes wrong in making sense of a file is told with the file's name."""
    try:
        yield
    except (*_BROKEN, ValueError, IndexError) as error:
        raise OSError(f"{path.name}: {_first_line(error)}") from None


def folders(root: str | Path | None = None) -> list[Path]:
    """Where data is looked for: `root` alone if given, else ``$TLCORE_DATA`` and the user's cache."""
    if root is not None:
        return [Path(root)]
    import pooch

    given = os.environ.get("TLCORE_DATA")
    return [*([Path(given)] if given else []), Path(pooch.os_cache("tlcore"))]


def load(
    name: str,
    *,
    split: Split = "train",
    root: str | Path | None = None,
    download: bool = False,
    fallback: str | None = None,
) -> Dataset:
    """Load a dataset, images as uint8 (N, C, H, W), texts as strings.

    >>> load("digits", split="test")
    Dataset of 360, inputs (360, 1, 8, 8) uint8, 10 classes (0, 1, 2, 3, 4, 5, …): scikit-learn's bundled digits, test

    Parameters
    ----------
    name
        cifar10 (also cifar10-jpeg, cifar10-lossless), cifar100, mnist, usps, pacs (or pacs-photo, pacs-art_painting,
        pacs-cartoon, pacs-sketch), imagenet (folders of classes; imagenet-20 takes 20 photos of each),
        imagenet-sample, wikitext2, trec6, imdb, sst2, mr, or digits, which comes with scikit-learn.
    root
        Folder to look in; default ``$TLCORE_DATA``, then the user's cache.
    download
        Fetch what is absent (only cifar10, cifar100, mnist and usps, through torchvision, checksums verified).
    fallback
        "shapes" or "digits": what to take in place of data that is absent. The origin line tells.

    Raises
    ------
    ValueError
        For an unknown name or split, with the nearest; for absent data, with where it was looked for and what to do.
    """
    known = _readers()
    variants = ["cifar10-jpeg", "cifar10-lossless", *(f"pacs-{domain}" for domain in _PACS_DOMAINS), "imagenet-20"]
    if name not in [*known, *variants] and not re.fullmatch("imagenet-[1-9][0-9]*", name):
        raise ValueError(f"worlds.load({name!r}): {nearest(name, [*known, *variants])}")
    family = name if name in known else name.partition("-")[0]
    if split not in ("train", "test", "valid"):
        raise ValueError(f"worlds.load(split={split!r}): accepted are 'train', 'test' and 'valid'")
    looked = folders(root)
    for folder in looked:
        try:
            return known[family](folder, name, split)
        except _Absent:
            continue
        except _BROKEN as error:
            if download and name in _TORCHVISION and folder == looked[-1]:
                break  # fetched anew, in place of what is there
            raise ValueError(
                f"worlds.load({name!r}): what is in {folder} is broken or incomplete ({_first_line(error)}); "
                "remove it there, or put whole files in its place"
            ) from None
    if download and name in _TORCHVISION:
        return _fetch(name, looked[-1], split)
    if fallback is not None:
        return _instead(fallback, name, split)
    where = " and ".join(map(str, looked))
    advice = "pass download=True, or set" if name in _TORCHVISION else "set"
    if download:
        advice = f"it cannot be fetched, only {', '.join(_TORCHVISION)} can; set"
    raise ValueError(f"worlds.load({name!r}): not in {where}; {advice} $TLCORE_DATA to a folder that holds it")


def _instead(fallback: str, name: str, split: Split) -> Dataset:
    if fallback == "digits":
        found = _digits(Path(), "digits", split)
    elif fallback == "shapes":
        world, seed = Shapes(), {"train": 1, "test": 2, "valid": 3}[split]
        found = world.sample(5000 if split == "train" else 1000, seed=seed)
        found = Dataset((found.inputs * 255).round().to(torch.uint8), found.targets, found.classes, found.origin)  # type: ignore[union-attr]
    else:
        raise ValueError(f"worlds.load(fallback={fallback!r}): accepted are 'shapes' and 'digits'")
    return Dataset(found.inputs, found.targets, found.classes, f"{found.origin} (in place of {name}, which is absent)")


def _digits(folder: Path, name: str, split: Split) -> Dataset:
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.tensor(found.images * (255 / 16)).round().to(torch.uint8)[:, None]
    targets = torch.tensor(found.target)
    parts = dict(zip(("train", "test", "valid"), Dataset(images, targets, _DIGITS).split(0.6, 0.2, seed=0)))
    part = parts[split]
    return Dataset(part.inputs, part.targets, _DIGITS, f"scikit-learn's bundled digits, {split}")


def _npz(path: Path, *names: str) -> list[np.ndarray]:
    if not path.is_file():
        raise _Absent
    with _whole(path):
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("it ends early or is no archive")
        with np.load(path, allow_pickle=False) as archive:
            return [archive[name] for name in names]


def _no_valid(split: Split, name: str) -> None:
    if split == "valid":
        raise ValueError(f"worlds.load({name!r}, split='valid'): it has 'train' and 'test'; split the training set")


def _cifar10(folder: Path, name: str, split: Split) -> Dataset:
    _no_valid(split, name)
    if name == "cifar10-lossless":
        (labels,) = _npz(folder / "cifar10" / "lossless_subset_labels.npz", f"{split}_labels")
        strip = folder / "cifar10" / f"lossless_subset_{split}.png"
        with _whole(strip):
            images = torch.tensor(_picture(strip.read_bytes()).reshape(-1, 32, 32, 3)).permute(0, 3, 1, 2).contiguous()
            return Dataset(images, torch.tensor(labels).long(), _CIFAR10, f"CIFAR-10, lossless subset, {split}")
    if name == "cifar10" and (folder / "cifar-10-batches-py").is_dir():
        return _from_torchvision("cifar10", folder, split, download=False)
    path = folder / "cifar10" / "cifar10_jpeg.npz"
    packed, offsets, labels = _npz(path, f"{split}_jpeg", f"{split}_offsets", f"{split}_labels")
    with _whole(path):
        data = packed.tobytes()
        pixels = np.stack([_picture(data[a:b]) for a, b in itertools.pairwise(offsets)])
        images = torch.tensor(pixels).permute(0, 3, 1, 2).contiguous()
        return Dataset(images, torch.tensor(labels).long(), _CIFAR10, f"CIFAR-10 as JPEG (lossy), {split}")


def _mnist(folder: Path, name: str, split: Split) -> Dataset:
    _no_valid(split, name)
    start = folder / "MNIST" / "raw" / ("train" if split == "train" else "t10k")
    pictures, numbers = (Path(f"{start}-{what}-ubyte") for what in ("images-idx3", "labels-idx1"))
    images, labels = _idx(pictures), _idx(numbers)
    with _whole(numbers):
        return Dataset(images[:, None], labels.long(), _DIGITS, f"MNIST, {split}")


def _idx(path: Path) -> torch.Tensor:
    """The format of MNIST's files, packed or not: big-endian sizes, then bytes."""
    packed = path.with_name(path.name + ".gz")
    found = path if path.is_file() else packed
    if not found.is_file():
        raise _Absent
    with _whole(found):
        data = found.read_bytes() if found == path else gzip.decompress(found.read_bytes())
        sizes = struct.unpack_from(f">{data[3]}I", data, 4)
        return torch.tensor(np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(sizes))


def _usps(folder: Path, name: str, split: Split) -> Dataset:
    _no_valid(split, name)
    fetched = folder / ("usps.bz2" if split == "train" else "usps.t.bz2")
    if fetched.is_file():
        with _whole(fetched):
            return _from_torchvision("usps", folder, split, download=False)
    path = folder / "usps" / "usps_16x16.npz"
    images, labels = map(torch.tensor, _npz(path, f"x_{split}", f"y_{split}"))
    with _whole(path):
        return Dataset(images[:, None], labels.long(), _DIGITS, f"USPS, 16x16, {split}")


def _pacs(folder: Path, name: str, split: Split) -> Dataset:
    """Photo, art, cartoon, sketch; of each class in each domain a fixed fifth is test, a tenth valid."""
    archive = folder / "domains" / "pacs_96.zip"
    if not archive.is_file():
        raise _Absent
    domain = name.partition("-")[2]
    # Split within each kind of each domain: then a domain is cut alike alone and among the others.
    cells = tuple(f"{where}/{kind}" for where in _PACS_DOMAINS for kind in _PACS)
    images, numbers = [], []
    with _whole(archive), zipfile.ZipFile(archive) as file:
        for entry in sorted(n for n in file.namelist() if n.endswith(".jpg")):
            where, kind, _ = entry.split("/")[-3:]
            if domain in ("", where):
                images.append(_picture(file.read(entry)))
                numbers.append(cells.index(f"{where}/{kind}"))
        pixels = torch.tensor(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    parts = dict(zip(("train", "test", "valid"), Dataset(pixels, torch.tensor(numbers), cells).split(0.7, 0.2, seed=0)))
    part, origin = parts[split], f"PACS{' ' + domain if domain else ''}, 96x96, {split}"
    return Dataset(part.inputs, part.targets % len(_PACS), _PACS, origin, {"domain": part.targets // len(_PACS)})


def _imagenet_sample(folder: Path, name: str, split: Split) -> Dataset:
    """One photo a class, 224x224 from the middle; there is one split."""
    archive = folder / "imagenet_sample" / "imagenet_sample_1000.zip"
    if not archive.is_file():
        raise _Absent
    if split != "test":
        raise ValueError(f"worlds.load({name!r}, split={split!r}): it has 'test' only, one photo a class")
    images, labels, names = [], [], {}
    with _whole(archive), zipfile.ZipFile(archive) as file:
        for entry in sorted(n for n in file.namelist() if n.endswith(".jpg")):
            number, _, label = Path(entry).stem.split("_", 2)
            images.append(_middle(file.read(entry)))
            labels.append(int(number))
            names[int(number)] = label
    classes = tuple(names[n] for n in sorted(names))
    return Dataset(torch.stack(images), torch.tensor(labels), classes, "ImageNet sample photos, one a class")


def _imagenet(folder: Path, name: str, split: Split) -> Dataset:
    """Class folders of photos, imagenet/train and imagenet/val, 224x224 from the middle; "imagenet-20": 20 a class."""
    top = folder / "imagenet" / ("train" if split == "train" else "val")
    if not top.is_dir():
        raise _Absent
    if split == "test":
        raise ValueError(f"worlds.load({name!r}, split='test'): the test labels were never given out; take 'valid'")
    most = name.partition("-")[2]
    classes = sorted(place.name for place in top.iterdir() if place.is_dir())
    images, labels = [], []
    for number, label in enumerate(classes):
        photos = sorted(p for p in (top / label).iterdir() if p.suffix.lower() in (".jpeg", ".jpg", ".png"))
        for path in photos[: int(most)] if most else photos:
            with _whole(path):
                images.append(_middle(path.read_bytes()))
            labels.append(number)
    if not images:
        raise ValueError(f"worlds.load({name!r}): there are no photos in {top}")
    limit = f", {most} a class" if most else ""
    return Dataset(torch.stack(images), torch.tensor(labels), tuple(classes), f"ImageNet folder, {split}{limit}")


def _text(path: Path, encoding: str = "utf-8") -> list[str]:
    if not path.is_file():
        raise _Absent
    with _whole(path):  # not splitlines(), which also splits at what stands within a line, such as U+0085
        return lzma.decompress(path.read_bytes()).decode(encoding).removesuffix("\n").split("\n")


def _trec6(folder: Path, name: str, split: Split) -> Dataset:
    _no_valid(split, name)
    path = folder / "text" / {"train": "trec_train_5500.label.xz", "test": "trec_TREC_10.label.xz"}[split]
    lines = _text(path, "latin-1")
    with _whole(path):
        labels, texts = zip(*(line.split(" ", 1) for line in lines))
        targets = torch.tensor([_TREC.index(label.partition(":")[0]) for label in labels])
    return Dataset(list(texts), targets, _TREC, f"TREC-6, {split}")


def _imdb(folder: Path, name: str, split: Split) -> Dataset:
    _no_valid(split, name)
    path = folder / "text" / f"imdb_{split}.tsv.xz"
    rows = [line.split("\t") for line in _text(path)]
    with _whole(path):
        targets, stars = (torch.tensor([int(row[n]) for row in rows]) for n in (0, 1))
        texts = [row[2] for row in rows]
    return Dataset(texts, targets, _OPINIONS, f"IMDb, {split}", {"stars": stars})


def _sst2(folder: Path, name: str, split: Split) -> Dataset:
    path = folder / "text" / f"sst2_stsa.binary.{'dev' if split == 'valid' else split}.xz"
    rows = [line.split(" ", 1) for line in _text(path)]
    with _whole(path):
        targets, texts = torch.tensor([int(label) for label, _ in rows]), [text for _, text in rows]
    return Dataset(texts, targets, _OPINIONS, f"SST-2, {split}")


def _mr(folder: Path, name: str, split: Split) -> Dataset:
    """It has no split of its own: a tenth of each class, drawn once, is the test."""
    _no_valid(split, name)
    texts: list[str] = []
    targets: list[int] = []
    for label, part in enumerate(("neg", "pos")):
        lines = [line.strip() for line in _text(folder / "text" / f"mr_rt-polarity.{part}.xz")]
        order = Random(0).sample(range(len(lines)), len(lines))
        tenth = len(lines) // 10
        chosen = [lines[n] for n in (order[tenth:] if split == "train" else order[:tenth])]
        texts, targets = texts + chosen, targets + [label] * len(chosen)
    return Dataset(texts, torch.tensor(targets), _OPINIONS, f"MR, {split}, a tenth drawn for the test")


def _wikitext2(folder: Path, name: str, split: Split) -> Dataset:
    lines = [line.strip() for line in _text(folder / "text" / f"wikitext2_{split}.txt.xz") if line.strip()]
    return Dataset(lines, torch.zeros(len(lines), dtype=torch.long), (), f"WikiText-2, {split}, one paragraph each")


def _cifar100(folder: Path, name: str, split: Split) -> Dataset:
    _no_valid(split, name)
    if not (folder / "cifar-100-python").is_dir():
        raise _Absent
    return _from_torchvision("cifar100", folder, split, download=False)


_TORCHVISION = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "mnist": "MNIST", "usps": "USPS"}


def _from_torchvision(family: str, folder: Path, split: Split, *, download: bool) -> Dataset:
    import torchvision

    found = getattr(torchvision.datasets, _TORCHVISION[family])(str(folder), train=split == "train", download=download)
    pixels = torch.as_tensor(found.data)
    images = pixels.permute(0, 3, 1, 2).contiguous() if pixels.ndim == 4 else pixels[:, None]
    classes = _DIGITS if family in ("mnist", "usps") else tuple(found.classes)
    return Dataset(
        images, torch.as_tensor(found.targets).long(), classes, f"{_TORCHVISION[family]} by torchvision, {split}"
    )


def _fetch(family: str, folder: Path, split: Split) -> Dataset:
    """Fetch into a folder beside, and move what came whole into place; what came in part is removed."""
    _no_valid(split, family)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=folder) as beside:
        try:
            found = _from_torchvision(family, Path(beside), split, download=True)
        except (*_BROKEN, AttributeError) as error:
            raise ValueError(
                f"worlds.load({family!r}, download=True): could not be fetched into {folder} ({_first_line(error)}); "
                "what came in part was removed"
            ) from None
        for made in Path(beside).iterdir():
            place = folder / made.name
            if place.is_dir():
                shutil.copytree(made, place, dirs_exist_ok=True)
            else:
                shutil.move(made, place)
    return found


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _picture(data: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def _middle(data: bytes) -> torch.Tensor:
    """The middle 224x224 of a photo whose shorter side is 256."""
    from torchvision.transforms.functional import center_crop, resize

    photo = torch.tensor(_picture(data)).permute(2, 0, 1).contiguous()
    return center_crop(resize(photo, 256, antialias=True), [224, 224])


def _readers() -> dict[str, Callable[[Path, str, Split], Dataset]]:
    return {
        "cifar10": _cifar10,
        "cifar100": _cifar100,
        "mnist": _mnist,
        "usps": _usps,
        "pacs": _pacs,
        "imagenet": _imagenet,
        "imagenet-sample": _imagenet_sample,
        "wikitext2": _wikitext2,
        "trec6": _trec6,
        "imdb": _imdb,
        "sst2": _sst2,
        "mr": _mr,
        "digits": _digits,
    }
