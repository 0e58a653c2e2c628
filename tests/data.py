"""Real data for tests that have it: `$TLCORE_DATA`, or a folder shared/data beside the repository."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

DATA = Path(os.environ.get("TLCORE_DATA") or Path(__file__).parents[2] / "shared" / "data")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"real data is not at {DATA}; set TLCORE_DATA")


def lossless_cifar10(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The lossless subset of CIFAR-10: images (N, 3, 32, 32) in [0, 1] and labels."""
    from PIL import Image

    labels = np.load(DATA / "cifar10" / "lossless_subset_labels.npz")[f"{split}_labels"]
    sheet = np.asarray(Image.open(DATA / "cifar10" / f"lossless_subset_{split}.png").convert("RGB"))
    pixels = sheet.reshape(-1, 32, 32, 3) if sheet.shape[1] == 32 else _cut(sheet)
    images = torch.tensor(pixels[: len(labels)]).permute(0, 3, 1, 2) / 255
    return images, torch.tensor(labels, dtype=torch.int64)


def _cut(sheet: np.ndarray) -> np.ndarray:
    rows, columns = sheet.shape[0] // 32, sheet.shape[1] // 32
    return sheet.reshape(rows, 32, columns, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)


def sample_photos(count: int, batch: int = 50) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """ImageNet-like photos, cropped to 224x224, in [0, 1], evenly spread over the classes."""
    from PIL import Image
    from torchvision.transforms.functional import center_crop, pil_to_tensor, resize

    with zipfile.ZipFile(DATA / "imagenet_sample" / "imagenet_sample_1000.zip") as archive:
        names = sorted(n for n in archive.namelist() if n.endswith(".jpg"))[:: 1000 // count]
        for start in range(0, count, batch):
            chosen = names[start : start + batch]
            photos = [Image.open(io.BytesIO(archive.read(n))).convert("RGB") for n in chosen]
            images = torch.stack(
                [center_crop(resize(pil_to_tensor(p), 256, antialias=True), [224, 224]) for p in photos]
            )
            yield images / 255, torch.tensor([int(Path(n).name[:4]) for n in chosen])
