"""What can be seen to go wrong before fine-tuning begins, said in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tlcore.worlds import Dataset, Loader


def checked(name: str, data: Any) -> Any:
    """The data with class numbers as torch's losses want them; masks of truth values become 0 and 1."""
    if not isinstance(data, Dataset):
        return data
    if not len(data):
        raise ValueError(f"fine_tune({name}=…): the dataset is empty")
    whole = not data.targets.is_floating_point()
    return replace(data, targets=data.targets.long()) if whole else data


def known(data: Any) -> Any:
    """The dataset behind a loader."""
    return data.data if isinstance(data, Loader) else data


def check_options(val: Any, patience: Any, step_back: Any, lr: float, num_classes: Any) -> None:
    for name, value in (("patience", patience), ("step_back", step_back)):
        if value is not None and (val is None or value < 1):
            raise ValueError(f"fine_tune({name}={value}): from 1 on, and only with validation data")
    if lr <= 0:
        raise ValueError(f"fine_tune(lr={lr}): a number above 0 is accepted")
    if num_classes is not None and (type(num_classes) is not int or num_classes < 1):
        raise ValueError(f"fine_tune(num_classes={num_classes!r}): a whole number from 1 on is accepted")


def check_classes(train: Any, val: Any, num_classes: int | None) -> None:
    """A class without an example is never learned, and a shifted numbering is learned wrongly: both in silence."""
    train, val = known(train), known(val)
    if not isinstance(train, Dataset) or not train.classes:
        return
    if num_classes is not None and num_classes != len(train.classes):
        count, some = len(train.classes), ", ".join(train.classes[:4]) + (", …" if len(train.classes) > 4 else "")
        raise ValueError(
            f"fine_tune(num_classes={num_classes}): train has {count} classes ({some}); give num_classes={count}"
        )
    if isinstance(val, Dataset) and val.classes and val.classes != train.classes:
        one, other = (", ".join(data.classes[:6]) for data in (train, val))
        raise ValueError(
            f"fine_tune: train has the classes {one} and val has {other}; the same in the same order are accepted, "
            "such as both after subset(classes=…)"
        )
    if train.targets.ndim == 1 and not train.targets.is_floating_point():
        absent = [name for name, count in zip(train.classes, train.counts().tolist()) if not count]
        if absent:
            raise ValueError(
                f"fine_tune: class {', '.join(map(repr, absent))} has no example in train, so it cannot be learned; "
                "draw with subset(per_class=…), or leave it out with subset(classes=…)"
            )


@torch.no_grad()
def check_outputs(model: nn.Module, x: torch.Tensor, y: torch.Tensor, train: Any, loss: Callable[..., Any]) -> None:
    """Whether the head has as many outputs as there are classes; one image is enough to see it."""
    train = known(train)
    if loss is not cross_entropy:
        return
    model.eval()
    out = model(x[:1])
    shape = tuple(out.shape) if isinstance(out, torch.Tensor) else ()
    if len(shape) < 2:
        what = f"shape {shape}" if isinstance(out, torch.Tensor) else f"type {type(out).__name__}"
        raise ValueError(f"fine_tune: the network's output has {what}; logits (N, K) or (N, K, H, W) are accepted")
    classes = len(train.classes) if isinstance(train, Dataset) else 0
    most = int((train.targets if isinstance(train, Dataset) else y).max()) + 1 if not y.is_floating_point() else 0
    if (classes and classes != shape[1]) or most > shape[1]:
        given = classes or most
        raise ValueError(
            f"fine_tune: the head has {shape[1]} outputs and the data has {given} classes; give num_classes={given} "
            "for a new head, or call transfer.replace_head first"
        )
