"""Pretrained models and transfer learning: the package behind the course.

Submodules load on first use, so ``import tlcore`` costs milliseconds:

>>> import tlcore
>>> tlcore.anatomy.__name__
'tlcore.anatomy'
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"
_ROOMS = (
    "anatomy", "compress", "grading", "multitask", "plots", "runtime", "shift", "text", "training", "transfer",
    "weights", "worlds", "zoo",
)  # fmt: skip

__all__ = ["__version__", "device", *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"tlcore.{name}")
    if name == "device":
        return importlib.import_module("tlcore.runtime").device
    raise AttributeError(f"module 'tlcore' has no attribute {name!r}; it has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
