"""Checkpoints: those shipped with the package, and reading any safetensors file without trusting it.

>>> from tlcore import weights
>>> isinstance(weights.shipped(), list)
True
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


def card(name: str) -> dict[str, Any]:
    """What is known about shipped weights: data, classes, recipe, command, seed, measured accuracy.

    Raises
    ------
    ValueError
        Listing what there is, if there are no such weights.
    """
    if name not in shipped():
        raise ValueError(f"weights.card({name!r}): no such weights are shipped; there are {', '.join(shipped())}")
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return found


def write(path: str | Path, state: Mapping[str, torch.Tensor], about: Mapping[str, Any]) -> None:
    """Write weights, and their card as JSON beside them; files that are there are replaced at once or not at all."""
    from safetensors.torch import save_file

    path = Path(path)
    beside = path.with_suffix(".part")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, beside)
    beside.chmod(0o644)
    os.replace(beside, path)
    beside.write_text(json.dumps(dict(about), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(beside, path.with_suffix(".json"))
