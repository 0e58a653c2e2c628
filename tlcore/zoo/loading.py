"""Weights from elsewhere into a network of the zoo: all tensors, or none and a sentence that says which do not fit."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tlcore import weights as checkpoints
from tlcore.zoo.net import Net

# Which of torchvision's networks is which of ours; its weights are then loaded by `translate`.
TORCHVISION = {
    "alexnet_torchvision": "alexnet",
    "vgg_a": "vgg11", "vgg_b": "vgg13", "vgg_d": "vgg16", "vgg_e": "vgg19",
    "googlenet_torchvision": "googlenet",
    "efficientnet_b0": "efficientnet_b0",
    **{name: name for name in (
        "inception_v3", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2",
        "wide_resnet101_2", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d",
        "densenet121", "densenet161", "densenet169", "densenet201",
    )},
}  # fmt: skip
_KERAS = re.compile(r"^(?P<layer>conv1|conv_preds|conv_(?P<kind>dw|pw)_(?P<number>\d+))(?P<norm>_bn)?\.")
_COUNTER = "num_batches_tracked"  # of batch normalisation; many files leave it out, and prediction ignores it
_MOST = 4


def translate(state: Mapping[str, torch.Tensor], net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Rename the tensors of another implementation of `net`: first those of the same name, the others in their order.

    torchvision's and timm's networks list their layers in the order of ours, for all variants both have. Keras'
    MobileNet is known by its names; a 1x1 convolution may stand for a linear layer.

    >>> theirs = {"stem.weight": torch.ones(4, 3, 3, 3), "head.weight": torch.ones(2, 4), "head.bias": torch.ones(2)}
    >>> ours = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.Flatten(), torch.nn.Linear(4, 2))
    >>> list(translate(theirs, ours))
    ['0.weight', '2.weight', '2.bias']

    Raises
    ------
    ValueError
        Naming the first tensor whose place or shape does not fit.
    """
    mine = {name: t for name, t in net.state_dict().items() if not name.endswith(_COUNTER)}
    theirs = {name: t for name, t in state.items() if not name.endswith(_COUNTER)}
    if "conv_dw_1.weight" in theirs:
        theirs = {_from_keras(name): t for name, t in theirs.items()}
    theirs = {name: _as_linear(t, mine.get(name)) for name, t in theirs.items()}
    if len(mine) != len(theirs):
        raise ValueError(f"translate: {len(theirs)} tensors were given, the network has {len(mine)}")
    others = iter([name for name in theirs if name not in mine])
    names = {own: own if own in theirs else next(others) for own in mine}
    for own, other in names.items():
        if mine[own].shape != theirs[other].shape:
            shapes = f"{tuple(theirs[other].shape)} where {own!r} is {tuple(mine[own].shape)}"
            raise ValueError(f"translate: {other!r} is {shapes}: it is another network, or another variant")
    return {own: theirs[other] for own, other in names.items()}


def _from_keras(name: str) -> str:
    """Our name of a tensor of Keras' MobileNet.

    >>> _from_keras("conv_dw_13_bn.running_var"), _from_keras("conv_preds.bias")
    ('body.12.depthwise.bn.running_var', 'classifier.bias')
    """

    def ours(found: re.Match[str]) -> str:
        if found["layer"] == "conv_preds":
            return "classifier."
        pair = {"dw": "depthwise", "pw": "pointwise"}.get(found["kind"] or "")
        place = f"body.{int(found['number']) - 1}.{pair}" if pair else "stem"
        return f"{place}.{'bn' if found['norm'] else 'conv'}."

    return _KERAS.sub(ours, name)


def _as_linear(theirs: torch.Tensor, mine: torch.Tensor | None) -> torch.Tensor:
    matrix = mine is not None and mine.ndim == 2 and theirs.shape == (*mine.shape, 1, 1)
    return theirs.flatten(1) if matrix else theirs


def load(net: torch.nn.Module, state: Mapping[str, torch.Tensor], origin: str) -> None:
    """Copy `state` into `net` if every tensor has its place and its shape; else leave `net` as it is.

    Raises
    ------
    ValueError
        Naming the tensors that are missing, unknown or of another shape.
    """
    mine = {name: t for name, t in net.state_dict().items() if not name.endswith(_COUNTER)}
    theirs = {name: t for name, t in state.items() if not name.endswith(_COUNTER)}
    both = [name for name in mine if name in theirs]
    shaped = [n for n in both if mine[n].shape != theirs[n].shape]
    faults = [
        _listed("missing", [n for n in mine if n not in theirs]),
        _listed("unknown", [n for n in theirs if n not in mine]),
        _listed("of another shape", [f"{n} {tuple(theirs[n].shape)} for {tuple(mine[n].shape)}" for n in shaped]),
    ]
    if any(faults):
        raise ValueError(f"weights {origin} do not fit {type(net).__name__}: {'; '.join(filter(None, faults))}")
    net.load_state_dict(theirs, strict=False)


def _listed(what: str, names: list[str]) -> str:
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f"{what} {', '.join(names[:_MOST])}{more}" if names else ""


def find(name: str, weights: str | Path) -> tuple[str, str]:
    """Tell what `weights` means for the network `name`: ("file", path), ("torchvision", their name).

    Raises
    ------
    ValueError
        Listing what there is.
    """
    if str(weights).endswith(".safetensors") or isinstance(weights, Path):
        return "file", str(weights)
    if weights == "imagenet" and name in TORCHVISION:
        return "torchvision", TORCHVISION[name]
    if f"{name}-{weights}" in checkpoints.shipped():
        return "file", str(checkpoints.FOLDER / f"{name}-{weights}.safetensors")
    known = [s.removeprefix(f"{name}-") for s in checkpoints.shipped() if s.startswith(f"{name}-")]
    known += ["imagenet"] if name in TORCHVISION else []
    there = f"there are {', '.join(map(repr, known))}" if known else "none are known"
    raise ValueError(
        f"get_model({name!r}, weights={weights!r}): {there}; a path of a .safetensors file is accepted too"
    )


def classes(kind: str, what: str) -> int | None:
    """How many classes weights were trained for, if they have a card beside them."""
    card = Path(what).with_suffix(".json")
    return len(json.loads(card.read_text(encoding="utf-8"))["classes"]) if kind == "file" and card.is_file() else None


def fill(net: Net, kind: str, what: str) -> None:
    """Load what `find` found."""
    if kind == "file":
        load(net, checkpoints.read(what), Path(what).name)
        return
    state = _from_torchvision(what)
    if not getattr(net, "aux_logits", False):
        state = {key: tensor for key, tensor in state.items() if not key.lower().startswith("aux")}
    load(net, translate(state, net), f"of torchvision's {what}")


def _from_torchvision(name: str) -> dict[str, Any]:
    """Torchvision's first ImageNet weights of a network: from its cache, else over the network."""
    from torchvision.models import get_model_weights

    weights: Any = get_model_weights(name)["IMAGENET1K_V1"]
    try:
        state: dict[str, Any] = weights.get_state_dict(progress=False, check_hash=True)
    except OSError as error:
        raise ValueError(f"get_model(weights='imagenet'): torchvision could not fetch {name}: {error}") from None
    return state
