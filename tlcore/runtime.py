"""Which device, which seed, how much work, and how far along."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    import torch

Budget = Literal["quick", "standard", "full"]
_BUDGETS: tuple[Budget, ...] = ("quick", "standard", "full")
Item = TypeVar("Item")
Choice = TypeVar("Choice")


def device() -> torch.device:
    """Best device of this machine: a CUDA GPU, Apple's GPU, or the CPU.

    >>> import tlcore
    >>> tlcore.device().type in ("cuda", "mps", "cpu")
    True
    """
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def cores() -> int:
    """Processor cores that this process may use; containers and job schedulers often allow less than there are.

    >>> cores() >= 1
    True
    """
    import joblib

    return int(joblib.cpu_count())


@contextmanager
def same_draws_after(device: torch.device) -> Iterator[None]:
    """What is drawn meanwhile changes nothing for what torch draws afterwards, on the CPU and on `device`."""
    import torch

    devices = [torch.cuda.current_device() if device.index is None else device.index] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield


def seed_everything(seed: int) -> torch.Generator:
    """Seed Python, NumPy and torch (all devices); return a fresh CPU generator with the same seed.

    >>> import torch
    >>> _ = seed_everything(3); a = torch.rand(2)  # (2,)
    >>> _ = seed_everything(3); torch.equal(a, torch.rand(2))
    True
    """
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def budget() -> Budget:
    """How much work to do: ``$TLCORE_BUDGET``, else "quick" while nbgrader runs the notebook, else "standard".

    >>> budget() in ("quick", "standard", "full")
    True

    Raises
    ------
    ValueError
        If ``$TLCORE_BUDGET`` is none of the three.
    """
    graded = "NBGRADER_EXECUTION" in os.environ
    given = os.environ.get("TLCORE_BUDGET") or ("quick" if graded else "standard")
    for known in _BUDGETS:
        if given == known:
            return known
    raise ValueError(f"TLCORE_BUDGET={given!r}: choose one of {', '.join(_BUDGETS)}")


def scaled(quick: Choice, standard: Choice, full: Choice) -> Choice:
    """Pick by budget.

    >>> steps = scaled(quick=20, standard=200, full=2000)
    >>> steps in (20, 200, 2000)
    True
    """
    return {"quick": quick, "standard": standard, "full": full}[budget()]


def nearest(name: str, known: Iterable[str]) -> str:
    """The tail of an error message: which known names come closest.

    >>> nearest("tset", ["train", "test"])
    "nearest: 'test'"
    """
    import difflib

    names = list(known)
    near = difflib.get_close_matches(name, names, 3, 0.4) or names[:6]
    return f"nearest: {', '.join(map(repr, near))}" if near else "there are none"


def progress(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Iterate with a progress bar on stdout that removes itself when done.

    >>> sum(progress(range(4), "adding"))
    6
    """
    import sys

    from tqdm import tqdm

    ipython = sys.modules.get("IPython")
    seen = sys.stdout.isatty() or (ipython is not None and ipython.get_ipython() is not None)
    quiet = not seen or "NBGRADER_EXECUTION" in os.environ
    yield from tqdm(items, desc=label, total=total, leave=False, file=sys.stdout, disable=quiet)
