"""Checkpoints: those shipped with the package, and reading any safetensors file without trusting it.

>>> from tlcore import weights
>>> isinstance(weights.shipped(), list)
True
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

FOLDER = Path(__file__).parent


def shipped() -> list[str]:
    """Names of the checkpoints that come with the package, such as ``resnet20-cifar10``."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def read(path: str | Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file; nothing else is accepted, since other formats can run code.

    Raises
    ------
    ValueError
        If there is no such file, or it is no safetensors file or a damaged one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"weights: there is no file {path}")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"weights: {path.name} is no whole safetensors file: {error}") from None
